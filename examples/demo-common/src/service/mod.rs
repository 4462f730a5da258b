//! Errors, bodies and responses of a service behind scopes: every rejection is a problem (RFC 9457) in the form of
//! `agentwrit-tower`'s own.

mod error;
mod extract;
mod response;
mod running;

pub use self::{
    error::ServiceError,
    extract::Object,
    response::{finish, method_not_allowed, unknown_path},
    running::RunningService,
};

/// Limit of a request body in bytes: a page of text.
pub const MAX_BODY: usize = 16 * 1024;

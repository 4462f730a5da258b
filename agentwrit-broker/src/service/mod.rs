//! What the broker decides. Each file shows an operation first, then the rule behind it as a pure function: facts in,
//! decision out, no HTTP and no SQL.

pub(crate) mod admin_auth;
pub(crate) mod app_auth;
pub(crate) mod apps;
mod error;
pub(crate) mod launch_tokens;
pub(crate) mod registration;

pub(crate) use error::Error;

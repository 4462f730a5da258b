#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(feature = "axum", doc = include_str!("../README.md"))]
//!
//! # Rules
//!
//! 1. A rejected request never reaches the inner service. Its body is drained unread, within limits, so that a client
//!    which is still sending receives the rejection ([`LingeringBody`]).
//! 2. An omission opens nothing: a [`RequireScope`] that has no verifier and finds no [`Verified`] claims responds 500
//!    and logs the missing layer.
//! 3. Nested requirements add up: every [`RequireScope`] around a route must be satisfied.
//! 4. A layer with a verifier of its own verifies the token even when an outer layer already did.
//! 5. A path parameter that fills a scope is one identifier or is rejected; it is decoded once, as the handler sees it.
//! 6. The client learns that its token was rejected, not why. The reason is in the log and, as a [`Rejection`] in the
//!    extensions of the response, available to outer layers.
//!
//! # Deployment caveat
//!
//! A CORS preflight carries no token: put the CORS layer outside of these. A proxy in front must forward the
//! `Authorization` header unchanged. axum puts a layer around the routes and methods that exist already: a route added
//! after `.layer(…)` is open, unless its handler takes [`Verified`], which then responds 500.

mod access_policy;
mod at_least;
mod authenticate;
mod bearer;
mod body;
mod challenge;
mod client_key;
#[cfg(feature = "long-responses")]
mod end_with_token;
mod error_response;
#[cfg(feature = "axum")]
mod extract;
mod forwarded;
mod granted_identifiers;
mod grpc;
mod lingering;
mod observe;
mod path;
#[cfg(feature = "axum")]
mod permits;
mod proof_options;
mod readiness;
mod rejection;
mod rejection_options;
mod require_scope;
mod requirement;
mod sender;
mod service;
#[cfg(feature = "testing")]
pub mod testing;
mod token_source;
mod verified;

pub use agentwrit_protocol as protocol;
pub use agentwrit_verify as verify;
pub use agentwrit_verify::scope;

pub use self::at_least::{AwaitRevocations, AwaitRevocationsFuture, AwaitRevocationsService};
pub use self::authenticate::{Authenticate, AuthenticateService};
pub use self::body::ResponseBody;
pub use self::challenge::{ChallengeParameterError, ChallengeParameters};
pub use self::client_key::ClientKey;
#[cfg(feature = "rustls")]
pub use self::client_key::{ClientKeyError, ClientKeyVerifier};
#[cfg(feature = "long-responses")]
pub use self::end_with_token::{
    EndWithToken, EndWithTokenBody, EndWithTokenError, EndWithTokenFuture, EndWithTokenService, TokenEnd,
};
#[cfg(feature = "axum")]
pub use self::extract::{Agent, RejectionResponse};
pub use self::forwarded::{PeerAddress, ProxyNetworkError};
pub use self::granted_identifiers::{GrantedIdentifiers, Identifiers};
pub use self::lingering::LingeringBody;
pub use self::path::PathPatternError;
#[cfg(feature = "axum")]
pub use self::permits::Permits;
pub use self::readiness::Readiness;
pub use self::rejection::{BadRequest, CredentialsError, IdentifierError, Misconfiguration, MissingScope, Rejection};
pub use self::require_scope::{RequireScope, RequireScopeService};
pub use self::requirement::RequirementError;
pub use self::sender::ProofSettingsError;
pub use self::service::ResponseFuture;
pub use self::token_source::TokenSource;
pub use self::verified::Verified;

#![cfg_attr(feature = "remote", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "remote"), doc = "Offline verification of `AgentWrit` credentials, without I/O.")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod admission;
pub mod audit;
mod builder;
mod cache;
pub mod claims;
pub mod clock;
pub mod confirmation;
mod confirmation_evidence;
pub mod delegation;
mod delegation_record;
pub mod error;
pub mod feed;
mod feed_cursor;
#[cfg(feature = "http-client")]
pub mod http_client;
pub mod identity;
pub mod inspection;
#[cfg(feature = "issue")]
pub mod issue;
mod issued_claims;
mod jws;
mod key_announcement;
mod key_table;
pub mod keys;
mod permit;
pub mod proof;
mod recent_tokens;
#[cfg(feature = "remote")]
pub mod remote;
pub mod report;
pub mod revocation;
mod revocation_key;
mod revocation_table;
mod rules;
pub mod scope;
mod scope_literal;
mod scope_template;
mod staleness;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod thread_number;
mod thumbprint;
pub mod token;
mod trusted;
mod until_reached;
mod verified_token;
pub mod verifier;
mod verifiers;
mod waiting;

pub use admission::Admission;
pub use builder::{IssuerMismatchError, VerifierBuilder, WantsIssuer, WantsKeys, WantsOptions, WantsRevocations};
pub use claims::{ClaimSet, Claims};
pub use clock::{Clock, SystemClock, TimeError, UnixTime};
#[cfg(feature = "issue")]
pub use delegation::Delegation;
pub use delegation::{DelegationChainError, DelegationRecord};
pub use error::{TokenFormatError, VerifyError};
pub use feed::{ClockReading, Feed, FeedCursor, FeedError, Staleness};
pub use identity::{AgentId, AppId, IdentityError, PathSegment, Subject, SubjectFilter, TokenId, TrustDomain};
pub use keys::{KeyId, KeySet, KeySetError, PublicKey};
pub use permit::{NotPermitted, Permit};
pub use revocation::{Level, RevocationKey, RevocationList};
pub use scope::{Scope, ScopeError, ScopeSet, ScopeSetError};
pub use scope_template::ScopeTemplate;
pub use status::{RevocationStatus, VerifierStatus};
pub use thumbprint::{SenderConstraint, Thumbprint, ThumbprintError};
pub use token::{MAX_TOKEN_LENGTH, UnverifiedToken};
pub use trusted::TrustedKeys;
pub use until_reached::UntilReached;
pub use verified_token::VerifiedToken;
pub use verifier::Verifier;
pub use verifiers::{Verifiers, VerifiersError};

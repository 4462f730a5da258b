//! Reasons to reject a change of the signing keys.

use agentwrit_verify::{KeySet, UnixTime};

use crate::domain::KeyState;

/// Rejection of an operation on signing keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("no such signing key")]
    Unknown,
    #[error("{} signing keys are published, more are not possible", KeySet::MAX_KEYS)]
    TooMany,
    #[error("the key is {}", state.as_str())]
    NotPublished { state: KeyState },
    #[error("the private half of the key does not open: {cause}")]
    Unusable { cause: String },
    #[error("the key is active")]
    Active,
    #[error("verifiers may not have the key before {}", from.to_rfc3339())]
    TooEarly { from: UnixTime },
    #[error("{count} instances of verifiers lack the key: {named}")]
    NotEverywhere { count: usize, named: String },
    #[error("instances of verifiers may be unknown before {}", from.to_rfc3339())]
    InstancesUnknown { from: UnixTime },
    #[error("tokens of the key may be valid before {}", until.to_rfc3339())]
    TokensAlive { until: UnixTime },
}

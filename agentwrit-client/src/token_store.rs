//! Storage of a session's token between processes.

use std::fmt;

use agentwrit_protocol::Secret;
use agentwrit_verify::UnixTime;

/// Token of a session, with its expiry.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The token. It has the session's rights until it expires or is released.
    pub token: Secret,
    /// Its expiry, by this machine's clock.
    pub expires_at: UnixTime,
}

/// Store of an operator's token between processes, so that not every process authenticates.
///
/// The secret is not stored. A stored token that has expired or that the broker rejects leads to one authentication. A
/// store that fails to load or save has no token: that costs an authentication, not the request.
///
/// The stored token must be readable by its owner only, and separate for each broker and each identity.
pub trait TokenStore: fmt::Debug + Send + Sync + 'static {
    /// Returns the stored token, if there is one.
    fn load(&self) -> Option<StoredToken>;

    /// Replaces the stored token.
    fn save(&self, token: &StoredToken);

    /// Claims the right to authenticate, until the value is dropped; `None` while another process has it.
    fn try_claim(&self) -> Option<Box<dyn Send>>;
}

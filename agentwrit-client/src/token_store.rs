//! A session's token, kept beyond the process that it was issued to.

use std::fmt;

use agentwrit_protocol::Secret;
use agentwrit_verify::UnixTime;

/// A session's token and when it expires.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// The token. It is worth what the session may do, until it expires or is released.
    pub token: Secret,
    /// When it expires, by the clock of this machine.
    pub expires_at: UnixTime,
}

/// Where an operator's session keeps its token between processes, so that not every process authenticates.
///
/// The secret is not stored. A stored token that the broker refuses leads to one authentication, as one that expired does.
/// A store that fails to load or save is a store without a token: it costs an authentication, not the call.
///
/// What is stored must be readable by its owner only, and must be kept apart by broker and by identity.
pub trait TokenStore: fmt::Debug + Send + Sync + 'static {
    /// The stored token, if there is one.
    fn load(&self) -> Option<StoredToken>;

    /// Stores a token in place of the one before it.
    fn save(&self, token: &StoredToken);

    /// Claims the right to authenticate, until the response is dropped; `None` while another process has it.
    fn try_claim(&self) -> Option<Box<dyn Send>>;
}

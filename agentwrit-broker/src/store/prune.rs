//! Deletion of expired rows.

/// Largest number of rows of a table that one call deletes, so that other jobs wait briefly.
pub(super) const LIMIT: u64 = 500;

/// Numbers of deleted rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Spent nonces that would have expired.
    pub nonces: u64,
    /// Launch tokens that expired, used or not.
    pub launch_tokens: u64,
    /// Agents whose latest token expired.
    pub agents: u64,
    /// Tokens that expired.
    pub tokens: u64,
    /// Used assertions that expired.
    pub assertions: u64,
    /// Revocations that no longer affect a token.
    pub revocations: u64,
}

impl Pruned {
    /// Returns true if more rows may be deletable.
    #[must_use]
    pub fn reached_limit(&self) -> bool {
        let Self { nonces, launch_tokens, agents, tokens, assertions, revocations } = *self;
        [nonces, launch_tokens, agents, tokens, assertions, revocations].contains(&LIMIT)
    }
}

//! Tokens that were issued, and their end before they expire.

use agentwrit_verify::{Level, TokenId, UnixTime};

use super::StoreError;
use crate::domain::IssuedToken;

/// Result of ending tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedTokens {
    /// True if the store has a token of the target, ended or not.
    pub known: bool,
    /// Number of valid tokens that were ended.
    pub count: u64,
    /// Latest expiry of the target's tokens; none if all have expired for certain.
    pub last_expiry: Option<UnixTime>,
    /// Those tokens that are dated after the second of the revocation, with their expiry: a not-before mark of that second
    /// does not revoke them. There are some after the clock was set back, and right after an earlier mark.
    pub ahead: Vec<(TokenId, UnixTime)>,
}

/// Reads of tokens.
pub trait ReadTokens {
    /// Returns a token, ended or not; tokens are deleted some time after they expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn token(&self, jti: &TokenId) -> Result<Option<IssuedToken>, StoreError>;

    /// Returns true for a token that was released, renewed or revoked; none for an unknown one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn has_ended(&self, jti: &TokenId) -> Result<Option<bool>, StoreError>;
}

/// Changes to tokens.
pub trait WriteTokens {
    /// Adds a token, before it leaves the broker.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for a jti that exists, and for a delegator without a session.
    fn insert_token(&mut self, token: &IssuedToken) -> Result<(), StoreError>;

    /// Ends one token. Returns false for a token that is unknown or has ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn end_token(&mut self, jti: &TokenId, at: UnixTime) -> Result<bool, StoreError>;

    /// Ends a session and every token that was delegated from it. Tokens that expired until `past` have for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn end_session(&mut self, sid: &TokenId, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError>;

    /// Ends the tokens of a subject, task or root delegator. Tokens that expired until `past` have for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn end_tokens_of(
        &mut self,
        level: Level,
        target: &str,
        at: UnixTime,
        past: UnixTime,
    ) -> Result<EndedTokens, StoreError>;

    /// Ends every token. Returns those that are dated after the second of `at` and have not expired, with their expiry.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn end_all_tokens(&mut self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError>;
}

/// Rejects a delegated token without a root, or without a session for each delegator.
pub(super) fn check_delegation(token: &IssuedToken) -> Result<(), StoreError> {
    if token.delegators.len() != token.delegator_sids.len() || token.root.as_ref() != token.delegators.first() {
        return Err(StoreError::internal("a delegated token has a root, and a session for each delegator"));
    }
    Ok(())
}

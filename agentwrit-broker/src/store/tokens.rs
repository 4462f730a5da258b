//! Reads of issued tokens.

use agentwrit_verify::{Level, TokenId, UnixTime};

use super::{
    StoreError,
    codec::signed,
    facts::{ReadFacts, lookup},
    filter::TokenFilter,
    value::Value,
    wants::Wants,
};
use crate::domain::{IssuedToken, ListedToken};

/// Result of ending tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedTokens {
    /// True if the store has a token of the target, ended or not.
    pub known: bool,
    /// Number of valid tokens that were ended.
    pub count: u64,
    /// Number of agents that hold one of these.
    pub agents: u64,
    /// Number of tasks that these were issued for.
    pub tasks: u64,
    /// Latest expiry of the target's tokens; none if all have expired for certain.
    pub last_expiry: Option<UnixTime>,
    /// Those tokens that are dated after the second of the revocation, with their expiry: a not-before mark of that second
    /// does not revoke them. There are some after the clock was set back, and right after an earlier mark.
    pub ahead: Vec<(TokenId, UnixTime)>,
}

/// Tokens that a revocation ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokensOf {
    /// A session and every token that was delegated from it.
    Session(TokenId),
    /// Tokens of a subject, task or root delegator, by the number of its name.
    Named(Level, i64),
}

/// A page of the list of tokens, in the order of issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPage {
    /// Largest number of tokens.
    pub limit: u64,
    /// Number of tokens to skip.
    pub offset: u64,
    /// Time of issue and id of the token before the page.
    pub after: Option<(UnixTime, TokenId)>,
}

impl TokenPage {
    /// Returns the values of the page in a statement.
    pub(super) fn values(&self) -> [Value<'static>; 4] {
        let (issued_at, jti) = self.after.unwrap_or((UnixTime::default(), TokenId::from_bytes([0; 16])));
        [issued_at.into(), (*jti.as_bytes()).into(), signed(self.limit).into(), signed(self.offset).into()]
    }
}

/// Reads of tokens.
pub trait ReadTokens: ReadFacts {
    /// Returns a token, ended or not; tokens are deleted some time after they expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn token(&self, jti: &TokenId) -> Result<Option<IssuedToken>, StoreError> {
        lookup(
            self,
            || Wants::none().token(jti),
            |facts| Some(facts.tokens.find(jti)?.map(|known| known.token.clone())),
        )
    }

    /// Returns true for a token that was released, renewed or revoked; none for an unknown one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn has_ended(&self, jti: &TokenId) -> Result<Option<bool>, StoreError> {
        lookup(self, || Wants::none().token(jti), |facts| Some(facts.tokens.find(jti)?.map(|known| known.ended)))
    }

    /// Returns a page of the tokens that match, in the order of issue, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn tokens(&self, filter: &TokenFilter, page: &TokenPage) -> Result<(Vec<ListedToken>, u64), StoreError>;

    /// Returns the latest expiry of all tokens; none if there is no token.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn last_expiry_of_tokens(&self) -> Result<Option<UnixTime>, StoreError>;
}

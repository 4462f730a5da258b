//! Issued tokens.

use agentwrit_verify::{Level, TokenId, UnixTime};

use super::Tx;
use crate::{
    domain::{IssuedToken, ListedToken},
    store::{
        StoreError,
        facts::KnownToken,
        filter::TokenFilter,
        names::ReadNames,
        pending::{DelegatorRow, TokenEnd, TokenRow},
        tokens::{EndedTokens, ReadTokens, TokenPage, TokensOf},
    },
};

impl ReadTokens for Tx<'_> {
    fn tokens(&self, filter: &TokenFilter, page: &TokenPage) -> Result<(Vec<ListedToken>, u64), StoreError> {
        self.flushed()?.tokens(filter, page)
    }

    fn last_expiry_of_tokens(&self) -> Result<Option<UnixTime>, StoreError> {
        self.flushed()?.last_expiry_of_tokens()
    }
}

impl Tx<'_> {
    /// Adds a token, before it leaves the broker.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for a jti that exists, and for a delegator without a session.
    pub fn insert_token(&mut self, token: &IssuedToken) -> Result<(), StoreError> {
        self.note_failure(check_delegation(token))?;
        self.check_new(&token.jti, self.batch.borrow().facts.tokens.get(&token.jti))?;
        let subject = self.intern(&token.subject.to_string())?.id;
        let app = self.intern_app(token.app_id.as_ref())?;
        let task = token.task_id.as_ref().map(|task| self.intern(task.as_str())).transpose()?.map(|name| name.id);
        let root = token.root.as_ref().map(|root| self.intern(root.as_str())).transpose()?.map(|name| name.id);
        let mut delegators = Vec::with_capacity(token.delegators.len());
        for (hop, (agent, sid)) in (0_i64..).zip(token.delegators.iter().zip(&token.delegator_sids)) {
            let agent = self.intern(agent.as_str())?.id;
            delegators.push(DelegatorRow { jti: token.jti, hop, agent, sid: *sid });
        }
        let batch = &mut self.batch.borrow_mut();
        batch.facts.tokens.set(token.jti, Some(KnownToken { token: token.clone(), ended: false }));
        batch.pending.tokens.push(TokenRow { subject, app, task, root, token: token.clone() });
        batch.pending.delegators.append(&mut delegators);
        Ok(())
    }

    /// Ends one token. Returns false for a token that is unknown or has ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_token(&mut self, jti: &TokenId, at: UnixTime) -> Result<bool, StoreError> {
        let Some(token) = self.token(jti)? else { return Ok(false) };
        if self.has_ended(jti)? != Some(false) {
            return Ok(false);
        }
        let batch = &mut self.batch.borrow_mut();
        batch.facts.tokens.set(*jti, Some(KnownToken { token, ended: true }));
        batch.pending.token_ends.push(TokenEnd { jti: *jti, at });
        Ok(true)
    }

    /// Ends a session and every token that was delegated from it. Tokens that expired until `past` have for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_session(&mut self, sid: &TokenId, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        self.end_tokens(TokensOf::Session(*sid), at, past)
    }

    /// Ends the tokens of a subject, task or root delegator. Tokens that expired until `past` have for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_tokens_of(
        &mut self,
        level: Level,
        target: &str,
        at: UnixTime,
        past: UnixTime,
    ) -> Result<EndedTokens, StoreError> {
        match self.name(target)? {
            Some(name) => self.end_tokens(TokensOf::Named(level, name.id), at, past),
            None => Ok(EndedTokens::default()),
        }
    }

    /// Ends every token. Returns those that are dated after the second of `at` and have not expired, with their expiry.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_all_tokens(&mut self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        let ahead = self.change(|rows| rows.end_all_tokens(at))?;
        self.batch.borrow_mut().facts.tokens.forget();
        Ok(ahead)
    }

    fn end_tokens(&self, of: TokensOf, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        let ended = self.change(|rows| rows.end_tokens(of, at, past))?;
        self.batch.borrow_mut().facts.tokens.forget();
        Ok(ended)
    }
}

/// Rejects a delegated token without a root, or without a session for each delegator.
fn check_delegation(token: &IssuedToken) -> Result<(), StoreError> {
    if token.delegators.len() != token.delegator_sids.len() || token.root.as_ref() != token.delegators.first() {
        return Err(StoreError::internal("a delegated token has a root, and a session for each delegator"));
    }
    Ok(())
}

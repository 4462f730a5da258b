//! Launch tokens.

use agentwrit_verify::{Subject, TokenId, UnixTime};

use super::Tx;
use crate::{
    domain::{LaunchToken, LaunchTokenId},
    store::{
        Page, StoreError,
        facts::lookup,
        launch_tokens::{LaunchTokensOf, ReadLaunchTokens},
        pending::{LaunchTokenDeletion, LaunchTokenRow, LaunchTokenUse},
        wants::Wants,
    },
};

impl ReadLaunchTokens for Tx<'_> {
    fn launch_tokens(&self, now: UnixTime, page: &Page) -> Result<(Vec<(u64, LaunchToken)>, u64), StoreError> {
        self.flushed()?.launch_tokens(now, page)
    }
}

impl Tx<'_> {
    /// Adds a launch token.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an id or digest that exists.
    pub fn insert_launch_token(&mut self, token: &LaunchToken) -> Result<(), StoreError> {
        self.check_new(&token.id, self.batch.borrow().facts.launch_tokens.get(&token.id))?;
        self.check_new(&token.id, self.batch.borrow().facts.launch_digests.get(token.digest.as_bytes()))?;
        // Deletions are written last, and one of them may be of this id.
        let deleted = !self.batch.borrow().pending.launch_token_deletions.is_empty();
        if deleted {
            self.flushed()?;
        }
        let batch = &mut self.batch.borrow_mut();
        let seq = batch.head.next_launch();
        batch.facts.launch_digests.set(*token.digest.as_bytes(), Some(token.id));
        batch.facts.launch_tokens.set(token.id, Some(token.clone()));
        batch.pending.launch_tokens.push(LaunchTokenRow { seq, token: token.clone() });
        Ok(())
    }

    /// Uses a launch token. Returns false for an unknown one, and for a single-use one that was used.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn consume_launch_token(&mut self, id: LaunchTokenId, at: UnixTime) -> Result<bool, StoreError> {
        let Some(token) = self.launch_token(id)?.filter(|token| token.consumed_at.is_none()) else { return Ok(false) };
        if token.single_use {
            let batch = &mut self.batch.borrow_mut();
            batch.facts.launch_tokens.set(id, Some(LaunchToken { consumed_at: Some(at), ..token }));
            batch.pending.launch_token_uses.push(LaunchTokenUse { id, at });
        }
        Ok(true)
    }

    /// Deletes a launch token, used or not. Returns false for an unknown one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_launch_token(&mut self, id: LaunchTokenId) -> Result<bool, StoreError> {
        let Some(token) = self.launch_token(id)? else { return Ok(false) };
        let batch = &mut self.batch.borrow_mut();
        batch.facts.launch_digests.set(*token.digest.as_bytes(), None);
        batch.facts.launch_tokens.set(id, None);
        batch.pending.launch_token_deletions.push(LaunchTokenDeletion(id));
        Ok(true)
    }

    /// Deletes the usable launch tokens of an app or the operator. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_unused_launch_tokens_by(&mut self, creator: &Subject) -> Result<u64, StoreError> {
        self.delete_unused(LaunchTokensOf::Creator(creator))
    }

    /// Deletes the usable launch tokens that were minted in a session. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_unused_launch_tokens_of_session(&mut self, sid: &TokenId) -> Result<u64, StoreError> {
        self.delete_unused(LaunchTokensOf::Session(sid))
    }

    /// Deletes every launch token, used or not. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_launch_tokens(&mut self) -> Result<u64, StoreError> {
        let deleted = self.change(|rows| rows.delete_launch_tokens())?;
        self.forget_launch_tokens();
        Ok(deleted)
    }

    pub(super) fn forget_launch_tokens(&self) {
        let facts = &mut self.batch.borrow_mut().facts;
        facts.launch_digests.forget();
        facts.launch_tokens.forget();
    }

    fn delete_unused(&self, of: LaunchTokensOf<'_>) -> Result<u64, StoreError> {
        let deleted = self.change(|rows| rows.delete_unused_launch_tokens(of))?;
        self.forget_launch_tokens();
        Ok(deleted)
    }

    /// Returns true if there is a launch token with this id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn has_launch_token(&self, id: LaunchTokenId) -> Result<bool, StoreError> {
        Ok(self.launch_token(id)?.is_some())
    }

    fn launch_token(&self, id: LaunchTokenId) -> Result<Option<LaunchToken>, StoreError> {
        lookup(self, || Wants::none().launch_token(id), |facts| Some(facts.launch_tokens.find(&id)?.cloned()))
    }
}

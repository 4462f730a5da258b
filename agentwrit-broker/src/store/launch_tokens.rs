//! Launch tokens.

use agentwrit_verify::{Subject, TokenId, UnixTime};

use super::{Page, StoreError};
use crate::domain::{Digest, LaunchToken, LaunchTokenId};

/// Reads of launch tokens.
pub trait ReadLaunchTokens {
    /// The launch token with this digest, consumed, expired or not.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn launch_token_by_digest(&self, digest: &Digest) -> Result<Option<LaunchToken>, StoreError>;

    /// Returns a page of the launch tokens that have not expired, used or not, each with its cursor, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn launch_tokens(&self, now: UnixTime, page: &Page) -> Result<(Vec<(u64, LaunchToken)>, u64), StoreError>;
}

/// Changes to launch tokens.
pub trait WriteLaunchTokens {
    /// Adds a launch token.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an id or digest that exists.
    fn insert_launch_token(&mut self, token: &LaunchToken) -> Result<(), StoreError>;

    /// Uses a launch token. Returns false for an unknown one, and for a single-use one that was used.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn consume_launch_token(&mut self, id: LaunchTokenId, at: UnixTime) -> Result<bool, StoreError>;

    /// Deletes a launch token, used or not. Returns false for an unknown one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn delete_launch_token(&mut self, id: LaunchTokenId) -> Result<bool, StoreError>;

    /// Deletes the usable launch tokens of an app or the operator. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn delete_unused_launch_tokens_by(&mut self, creator: &Subject) -> Result<u64, StoreError>;

    /// Deletes the usable launch tokens that were minted in a session. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn delete_unused_launch_tokens_of_session(&mut self, sid: &TokenId) -> Result<u64, StoreError>;

    /// Deletes every launch token, used or not. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn delete_launch_tokens(&mut self) -> Result<u64, StoreError>;
}

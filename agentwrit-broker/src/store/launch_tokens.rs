//! Reads of launch tokens.

use agentwrit_verify::{Subject, TokenId, UnixTime};

use super::{
    Page, StoreError,
    facts::{ReadFacts, lookup},
    wants::Wants,
};
use crate::domain::{Digest, LaunchToken};

/// Launch tokens that end together.
#[derive(Clone, Copy, Debug)]
pub(super) enum LaunchTokensOf<'a> {
    /// Those of an app or the operator.
    Creator(&'a Subject),
    /// Those that were minted in a session.
    Session(&'a TokenId),
}

/// Reads of launch tokens.
pub trait ReadLaunchTokens: ReadFacts {
    /// The launch token with this digest, consumed, expired or not.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn launch_token_by_digest(&self, digest: &Digest) -> Result<Option<LaunchToken>, StoreError> {
        lookup(
            self,
            || Wants::none().launch_digest(digest),
            |facts| match facts.launch_digests.find(digest.as_bytes())? {
                Some(id) => Some(facts.launch_tokens.find(id)?.cloned()),
                None => Some(None),
            },
        )
    }

    /// Returns a page of the launch tokens that have not expired, used or not, each with its cursor, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn launch_tokens(&self, now: UnixTime, page: &Page) -> Result<(Vec<(u64, LaunchToken)>, u64), StoreError>;
}

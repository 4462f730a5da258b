//! Waiting until a revocation list has reached a cursor.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{feed_cursor::FeedCursor, staleness::Freshness, verifier::Verifier};

/// Future that [`Verifiers::until_reached`](crate::Verifiers::until_reached) returns.
#[must_use = "futures do nothing unless polled"]
pub struct UntilReached {
    cursor: FeedCursor,
    lists: Vec<(Verifier, Option<u64>)>,
}

impl UntilReached {
    pub(crate) fn new<'v>(verifiers: impl Iterator<Item = &'v Verifier>, cursor: FeedCursor) -> Self {
        Self { cursor, lists: verifiers.map(|verifier| (verifier.clone(), None)).collect() }
    }
}

impl Future for UntilReached {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let Self { cursor, lists } = &mut *self;
        for (verifier, id) in lists.iter_mut() {
            // Before the check, so that no change in between is missed.
            if let Some(freshness) = freshness(verifier) {
                *id = Some(freshness.waiters().register(*id, context.waker()));
            }
        }
        if lists.iter().any(|(verifier, _)| verifier.has_reached(cursor)) {
            Poll::Ready(true)
        } else if lists.iter().any(|(verifier, _)| verifier.may_reach(cursor)) {
            Poll::Pending
        } else {
            Poll::Ready(false)
        }
    }
}

impl Drop for UntilReached {
    fn drop(&mut self) {
        for (verifier, id) in &self.lists {
            if let (Some(freshness), Some(id)) = (freshness(verifier), id) {
                freshness.waiters().remove(*id);
            }
        }
    }
}

impl fmt::Debug for UntilReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilReached").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

fn freshness(verifier: &Verifier) -> Option<&Freshness> {
    verifier.revocations()?.freshness()
}

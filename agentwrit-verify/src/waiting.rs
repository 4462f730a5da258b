//! Waiting until a revocation list has reached a cursor.

use std::{
    collections::BTreeMap,
    fmt, mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{feed_cursor::FeedCursor, staleness::Freshness, verifier::Verifier};

/// Tasks that wait for a change of a list.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Waiters {
    /// Wakes every task, each once: a task that waits on registers again.
    pub(crate) fn wake(&self) {
        let wakers = mem::take(&mut self.registry().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Registers the waker of a task, in the place of its earlier one. Returns the id of the task.
    fn register(&self, id: Option<u64>, waker: &Waker) -> u64 {
        let mut registry = self.registry();
        let id = id.unwrap_or(registry.next);
        registry.next = registry.next.max(id.saturating_add(1));
        registry.wakers.insert(id, waker.clone());
        id
    }

    fn remove(&self, id: u64) {
        self.registry().wakers.remove(&id);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

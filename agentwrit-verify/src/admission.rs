//! Count of admitted requests that have not ended, by the cursor that was applied when they were admitted.
//!
//! 1. There are two generations of counters. A request counts in the current one from before its check begins until its
//!    guard is dropped. A drain makes the other generation the current one and waits until the old one is empty: every
//!    request that was admitted before has ended then.
//! 2. A drain begins only when the one before is complete, so that the generation which becomes the current one is
//!    empty.
//! 3. A request counts first, then checks that the generation is still the current one, else it starts again. The
//!    fences order this against a drain, which changes the generation first and reads the counters then: one of the two
//!    sees the other.
//! 4. The counters are the reference counts of [`Arc`]s, one for each processor, each in a cache line of its own: a
//!    request writes to no memory that requests of other threads write to.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use crate::{
    feed_cursor::FeedCursor,
    thread_number::{processors, thread_number},
};

/// A request that was admitted and has not ended. A clone counts as well.
#[derive(Clone)]
pub struct Admission {
    /// Its reference count counts the request.
    _slot: Arc<Slot>,
}

/// Counter of a processor, apart from others by the length of the lines that processors fetch at once.
#[derive(Default)]
#[repr(align(128))]
struct Slot;

/// Counts the requests that verifiers of one list admit.
pub(crate) struct Admissions {
    generation: AtomicU64,
    slots: [Box<[Arc<Slot>]>; 2],
    drain: Mutex<Drain>,
}

#[derive(Default)]
struct Drain {
    /// Cursor that was applied when the drain began; `None` when none is under way.
    under_way: Option<FeedCursor>,
    completed: Option<FeedCursor>,
}

impl Admissions {
    pub(crate) fn new() -> Self {
        let slots = || (0..processors()).map(|_| Arc::default()).collect();
        Self { generation: AtomicU64::new(0), slots: [slots(), slots()], drain: Mutex::default() }
    }

    /// Counts a request, before its check begins. `None` never happens.
    pub(crate) fn admit(&self) -> Option<Admission> {
        let thread = thread_number();
        loop {
            let generation = self.generation.load(Ordering::Acquire);
            let slots = self.slots_of(generation);
            let slot = slots.get(thread.checked_rem(slots.len()).unwrap_or_default())?;
            let admission = Admission { _slot: Arc::clone(slot) };
            fence(Ordering::SeqCst);
            if self.generation.load(Ordering::Acquire) == generation {
                return Some(admission);
            }
        }
    }

    fn slots_of(&self, generation: u64) -> &[Arc<Slot>] {
        let [even, odd] = &self.slots;
        if generation.is_multiple_of(2) { even } else { odd }
    }

    /// Completes the drain that is under way, if its requests have ended, and begins the next one unless the latest is of
    /// `applied`. Returns true when a drain was completed.
    pub(crate) fn advance(&self, applied: &FeedCursor) -> bool {
        let mut drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        let completes = drain.under_way.is_some() && self.previous_generation_is_empty();
        if completes {
            drain.completed = drain.under_way.take();
        }
        if drain.under_way.is_none() && drain.completed.as_ref() != Some(applied) {
            drain.under_way = Some(applied.clone());
            self.generation.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if self.previous_generation_is_empty() {
                drain.completed = drain.under_way.take();
                return true;
            }
        }
        completes
    }

    /// Returns true while a drain is under way.
    #[cfg(any(feature = "remote", test))]
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner).under_way.is_some()
    }

    /// Returns the cursor of the latest complete drain.
    pub(crate) fn drained(&self) -> Option<FeedCursor> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner).completed.clone()
    }

    fn previous_generation_is_empty(&self) -> bool {
        let current = self.generation.load(Ordering::Acquire);
        let empty = self.slots_of(current.wrapping_add(1)).iter().all(|slot| Arc::strong_count(slot) == 1);
        // Everything that the ended requests did happened before.
        fence(Ordering::Acquire);
        empty
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl fmt::Debug for Admissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admissions").field("drained", &self.drained()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    fn cursor(position: u64) -> FeedCursor {
        FeedCursor::new("e", position).unwrap()
    }

    #[test]
    fn drains_when_requests_admitted_before_have_ended() {
        let admissions = Admissions::new();
        let first = admissions.admit().unwrap();
        let body = first.clone();
        assert!(!admissions.advance(&cursor(1)) && admissions.is_draining());
        let later = admissions.admit().unwrap();
        drop(first);
        assert!(!admissions.advance(&cursor(1)), "its response has not ended");
        drop(body);
        assert!(admissions.advance(&cursor(1)) && !admissions.is_draining());
        assert_eq!(admissions.drained(), Some(cursor(1)));
        assert!(!admissions.advance(&cursor(2)), "the later request was admitted before cursor 2");
        drop(later);
        assert!(admissions.advance(&cursor(2)));
    }

    #[test]
    fn drains_at_once_without_requests_and_once_for_each_cursor() {
        let admissions = Admissions::new();
        assert!(admissions.advance(&cursor(1)) && !admissions.advance(&cursor(1)));
        assert_eq!(admissions.drained(), Some(cursor(1)));
    }

    /// A request reads the published cursor after it was admitted: no drain of a later cursor may miss it.
    #[test]
    fn never_completes_while_earlier_request_is_open_in_another_thread() {
        let admissions = Admissions::new();
        let (applied, oldest, stop) = (AtomicU64::new(1), AtomicU64::new(u64::MAX), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let admission = admissions.admit();
                    oldest.store(applied.load(Ordering::SeqCst), Ordering::SeqCst);
                    oldest.store(u64::MAX, Ordering::SeqCst);
                    drop(admission);
                }
            });
            for position in 2..5_000 {
                applied.store(position, Ordering::SeqCst);
                while !admissions.advance(&cursor(position)) {
                    std::hint::spin_loop();
                }
                let open = oldest.load(Ordering::SeqCst);
                assert!(open >= position, "drained {position} while a request of {open} was open");
            }
            stop.store(true, Ordering::SeqCst);
        });
    }
}

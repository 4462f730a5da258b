//! End of the audit trail in the writer's memory: what the next event is linked to and numbered after.
//!
//! 1. Each event carries its *ordinal*, its number among those of its kind, in each of its [lists](List). The writer is the
//!    only one that appends, so the ordinals that it has read or given stay true.
//! 2. A job that is undone, or a commit that fails, takes its events' ordinals back ([`Trail::return_to`]).

use std::collections::HashMap;

use super::audit_lists::List;
use crate::audit::{ChainHead, Timestamp};

/// Number of ordinals that are kept after a commit.
const KEPT_ORDINALS: usize = 8192;

/// Last event of the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailHead {
    pub(super) chain: ChainHead,
    /// Time of the last event.
    pub(super) at: Timestamp,
}

impl Default for TrailHead {
    fn default() -> Self {
        Self { chain: ChainHead::GENESIS, at: Timestamp(0) }
    }
}

/// The events of one kind in a list.
type OrdinalKey = (List, i64);

/// End of the trail, with the ordinals of its last events.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) head: TrailHead,
    ordinals: HashMap<OrdinalKey, u64>,
    /// Ordinals as they were before each change since the last commit.
    replaced: Vec<(OrdinalKey, Option<u64>)>,
}

/// A state of the trail that a later one can be returned to until the next commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrailMark {
    head: TrailHead,
    replaced: usize,
}

impl Trail {
    pub(super) fn new(head: TrailHead) -> Self {
        Self { head, ..Self::default() }
    }

    /// Returns the ordinal of the last event of a kind in a list, if it is known.
    pub(super) fn ordinal(&self, list: List, kind: i64) -> Option<u64> {
        self.ordinals.get(&(list, kind)).copied()
    }

    pub(super) fn set_ordinal(&mut self, list: List, kind: i64, ordinal: u64) {
        let before = self.ordinals.insert((list, kind), ordinal);
        self.replaced.push(((list, kind), before));
    }

    pub(super) fn mark(&self) -> TrailMark {
        TrailMark { head: self.head, replaced: self.replaced.len() }
    }

    /// Undoes all changes since `mark`.
    pub(super) fn return_to(&mut self, mark: TrailMark) {
        self.head = mark.head;
        for (key, before) in self.replaced.drain(mark.replaced..).rev() {
            match before {
                Some(ordinal) => self.ordinals.insert(key, ordinal),
                None => self.ordinals.remove(&key),
            };
        }
    }

    /// Makes the changes since the last commit final.
    pub(super) fn commit(&mut self) {
        self.replaced.clear();
        if self.ordinals.len() > KEPT_ORDINALS {
            self.ordinals.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_to_mark_restores_head_and_ordinals() {
        let mut trail = Trail::default();
        trail.set_ordinal(List::All, 1, 7);
        trail.commit();
        let batch = trail.mark();
        trail.set_ordinal(List::All, 1, 8);
        let job = trail.mark();
        trail.head.chain.sequence = 1;
        trail.set_ordinal(List::All, 1, 9);
        trail.set_ordinal(List::Agent(1), 1, 1);
        trail.return_to(job);
        assert_eq!((trail.ordinal(List::All, 1), trail.ordinal(List::Agent(1), 1)), (Some(8), None));
        assert_eq!(trail.head, TrailHead::default());
        trail.return_to(batch);
        assert_eq!(trail.ordinal(List::All, 1), Some(7));
    }
}

//! End of the audit trail in the writer's memory: what the next event is linked to and numbered after.
//!
//! 1. Each event carries its *ordinal*, its number among those of its kind, in each of its [lists](List). The ordinals that the
//!    writer has read or given stay true as long as no other broker appends.
//! 2. A job that is undone takes its events' ordinals back ([`KnownOrdinals::return_to`]).

use std::collections::HashMap;

use foldhash::quality::RandomState;

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
pub(super) type OrdinalKey = (List, i64);

/// Ordinals of the last events of lists.
#[derive(Debug, Default)]
pub(super) struct KnownOrdinals {
    ordinals: HashMap<OrdinalKey, u64, RandomState>,
    /// Ordinals as they were before each change since the last commit.
    replaced: Vec<(OrdinalKey, Option<u64>)>,
}

impl KnownOrdinals {
    /// Returns the ordinal of the last event of a kind in a list, if it is known.
    pub(super) fn last(&self, key: &OrdinalKey) -> Option<u64> {
        self.ordinals.get(key).copied()
    }

    pub(super) fn set(&mut self, key: OrdinalKey, ordinal: u64) {
        let before = self.ordinals.insert(key, ordinal);
        self.replaced.push((key, before));
    }

    pub(super) fn mark(&self) -> usize {
        self.replaced.len()
    }

    /// Undoes all changes since `mark`.
    pub(super) fn return_to(&mut self, mark: usize) {
        for (key, before) in self.replaced.drain(mark.min(self.replaced.len())..).rev() {
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
    fn return_to_mark_restores_ordinals() {
        let (all, agent) = ((List::All, 1), (List::Agent(1), 1));
        let mut known = KnownOrdinals::default();
        known.set(all, 7);
        known.commit();
        let batch = known.mark();
        known.set(all, 8);
        let job = known.mark();
        known.set(all, 9);
        known.set(agent, 1);
        known.return_to(job);
        assert_eq!((known.last(&all), known.last(&agent)), (Some(8), None));
        known.return_to(batch);
        assert_eq!(known.last(&all), Some(7));
    }
}

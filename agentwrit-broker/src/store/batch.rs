//! State of a batch of jobs: what they know, have written and go on from.

use std::collections::BTreeSet;

use super::{
    audit_lists::{List, Lists},
    facts::{Facts, FactsMark},
    head::Head,
    pending::{Pending, PendingMark},
    trail::{KnownOrdinals, OrdinalKey},
    wants::{WantedEvent, Wants},
};

/// State of a batch of jobs. Between batches, what the next one may rely on.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) head: Head,
    pub(super) facts: Facts,
    pub(super) ordinals: KnownOrdinals,
    pub(super) pending: Pending,
    /// Ids of the signing keys that jobs withdrew.
    pub(super) withdrawn_keys: Vec<String>,
    /// The last name before the batch: lists of later ones are empty in the store.
    pub(super) last_name: i64,
    /// True if a job that is kept has written.
    pub(super) wrote: bool,
}

/// A state that later changes are undone to.
#[derive(Clone, Debug)]
pub(super) struct BatchMark {
    pub(super) head: Head,
    pub(super) pending: PendingMark,
    facts: FactsMark,
    ordinals: usize,
    withdrawn_keys: usize,
}

impl Batch {
    /// Begins with the head that the store has. Ordinals are forgotten if another broker has appended since the last commit.
    /// Everything is, names included, if commits were lost: their ids may be given to others.
    pub(super) fn begin(&mut self, head: Head) {
        let went_back = head.trail.chain.sequence < self.head.trail.chain.sequence;
        if went_back || head.epoch != self.head.epoch {
            self.facts = Facts::default();
        }
        if head.trail != self.head.trail {
            self.ordinals = KnownOrdinals::default();
        }
        self.last_name = head.last_name;
        self.head = head;
    }

    pub(super) fn mark(&self) -> BatchMark {
        let Self { head, facts, ordinals, pending, withdrawn_keys, .. } = self;
        BatchMark {
            head: head.clone(),
            pending: pending.mark(),
            facts: facts.mark(),
            ordinals: ordinals.mark(),
            withdrawn_keys: withdrawn_keys.len(),
        }
    }

    /// Undoes all changes since `mark`.
    pub(super) fn return_to(&mut self, mark: BatchMark) {
        self.facts.return_to(&mark.facts);
        self.ordinals.return_to(mark.ordinals);
        drop(self.pending.split_off(&mark.pending));
        self.withdrawn_keys.truncate(mark.withdrawn_keys);
        self.head = mark.head;
    }

    /// Keeps what stays true after the commit, if the store is `shared` or not. The ordinals do until another broker appends.
    pub(super) fn commit(&mut self, shared: bool) {
        self.facts.commit(shared);
        self.ordinals.commit();
        self.pending.clear();
        self.withdrawn_keys.clear();
        self.last_name = self.head.last_name;
        self.wrote = false;
    }

    /// Returns the ordinal of the last event of a kind in a list, if it is known.
    pub(super) fn last_ordinal(&self, key: &OrdinalKey) -> Option<u64> {
        let is_new = |id: i64| id > self.last_name;
        self.ordinals.last(key).or_else(|| key.0.names().into_iter().flatten().any(is_new).then_some(0))
    }

    /// Returns the lists of wanted events whose names are known, and whose ordinals are not.
    pub(super) fn wanted_ordinals(&self, events: &[WantedEvent]) -> Vec<OrdinalKey> {
        let mut keys = self.all_ordinals(events);
        keys.retain(|key| self.last_ordinal(key).is_none());
        keys
    }

    /// Returns the lists of wanted events whose names are known.
    pub(super) fn all_ordinals(&self, events: &[WantedEvent]) -> Vec<OrdinalKey> {
        let keys = events.iter().flat_map(|event| self.lists_of(event).map(|list| (list, event.kind)));
        let keys: BTreeSet<OrdinalKey> = keys.collect();
        keys.into_iter().collect()
    }

    /// Lists of an event, as far as its names are known.
    fn lists_of(&self, event: &WantedEvent) -> impl Iterator<Item = List> {
        let id = |name: &String| self.facts.names.get(name).map(|name| name.id);
        let actor = self.facts.names.get(&event.actor);
        let task = event.task.as_ref().and_then(id);
        let app = actor.map_or_else(|| event.app.as_ref().and_then(id), |actor| actor.app);
        Lists::of(actor.map(|actor| actor.id), task, app).all()
    }

    /// Returns the keys of `wants` whose rows are not known, without its events.
    pub(super) fn unknown(&self, wants: &Wants) -> Wants {
        let mut unknown = self.facts.unknown(Wants { events: Vec::new(), ..wants.clone() });
        unknown.deduplicate();
        unknown
    }
}

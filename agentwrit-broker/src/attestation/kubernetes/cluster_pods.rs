//! Pods of the cluster, as its watch knows them.
//!
//! 1. A pod's token outlives it. Tokens of deleted pods are rejected from the moment at which the watch learns of the deletion,
//!    so that no agent registers behind the revocation.
//! 2. A pod that the last list lacks, and that was not added since, is deleted if its token was issued before that list: a token
//!    is issued while its pod exists. So deletions that no watch saw count too, also those before a restart.
//! 3. Before the first list nothing is known.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use agentwrit_verify::UnixTime;

/// Largest number of deleted pods; then the earliest is dropped, which rule 2 still finds after the next list.
const MAX_DELETED: usize = 65_536;

/// Pods that exist, and pods that were deleted lately, by uid.
#[derive(Debug, Default)]
pub(crate) struct ClusterPods(Mutex<Pods>);

#[derive(Debug, Default)]
struct Pods {
    deleted: HashSet<String>,
    /// In the order of their deletion.
    order: VecDeque<String>,
    /// Pods of the last list, with the changes since.
    present: HashSet<String>,
    /// Time at which the last list was requested.
    listed_at: Option<UnixTime>,
}

/// State of a pod whose token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::attestation) enum PodState {
    /// Listed, or added since.
    Present,
    /// Seen deleted.
    Deleted,
    /// Deleted, if it is of this cluster: see rule 2.
    Missing,
    /// The token was issued after the last list.
    New,
    /// There was no list so far.
    Unlisted,
}

impl ClusterPods {
    /// Notes the pods of a list that was requested at `requested_at`. Those of the list before are deleted if this one lacks them.
    pub(super) fn listed(&self, present: HashSet<String>, requested_at: UnixTime) {
        let mut pods = self.locked();
        let before = std::mem::replace(&mut pods.present, present);
        for uid in before {
            if !pods.present.contains(&uid) {
                pods.delete(&uid);
            }
        }
        pods.listed_at = Some(requested_at);
    }

    /// Notes a pod that was added or changed.
    pub(super) fn add(&self, uid: String) {
        self.locked().present.insert(uid);
    }

    /// Notes a deleted pod.
    pub(super) fn delete(&self, uid: &str) {
        self.locked().delete(uid);
    }

    /// Returns whether a pod is known to be deleted.
    pub(in crate::attestation) fn is_deleted(&self, uid: &str) -> bool {
        self.locked().deleted.contains(uid)
    }

    /// Returns the state of a pod whose token was issued at this time.
    pub(in crate::attestation) fn state(&self, uid: &str, issued_at: Option<UnixTime>) -> PodState {
        let pods = self.locked();
        if pods.deleted.contains(uid) {
            return PodState::Deleted;
        }
        if pods.present.contains(uid) {
            return PodState::Present;
        }
        let Some(listed_at) = pods.listed_at else { return PodState::Unlisted };
        // Tokens name whole seconds. One of the list's own second may be of a pod that was made after the list.
        let is_newer = issued_at.is_some_and(|time| time.seconds() >= listed_at.seconds());
        if is_newer { PodState::New } else { PodState::Missing }
    }

    fn locked(&self) -> MutexGuard<'_, Pods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pods {
    fn delete(&mut self, uid: &str) {
        self.present.remove(uid);
        if !self.deleted.insert(uid.to_owned()) {
            return;
        }
        self.order.push_back(uid.to_owned());
        if self.order.len() > MAX_DELETED
            && let Some(earliest) = self.order.pop_front()
        {
            self.deleted.remove(&earliest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn uids<const N: usize>(uids: [&str; N]) -> HashSet<String> {
        uids.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn forgets_earliest_pod_when_full() {
        let pods = ClusterPods::default();
        for number in 0..=MAX_DELETED {
            pods.delete(&number.to_string());
            pods.delete(&number.to_string());
        }
        assert!(!pods.is_deleted("0") && pods.is_deleted("1") && pods.is_deleted(&MAX_DELETED.to_string()));
        let inner = pods.locked();
        assert_eq!((inner.deleted.len(), inner.order.len()), (MAX_DELETED, MAX_DELETED));
    }

    #[test]
    fn pod_that_list_lacks_is_missing_if_its_token_is_older_than_list() {
        let pods = ClusterPods::default();
        assert_eq!(pods.state("a", Some(at(100))), PodState::Unlisted);
        pods.listed(uids(["a"]), at(100));
        assert_eq!(pods.state("a", Some(at(1))), PodState::Present);
        assert_eq!(pods.state("b", Some(at(99))), PodState::Missing);
        assert_eq!(pods.state("b", None), PodState::Missing);
        assert_eq!(pods.state("b", Some(at(100))), PodState::New);
        pods.add("b".to_owned());
        assert_eq!(pods.state("b", Some(at(99))), PodState::Present);
        pods.delete("b");
        assert_eq!(pods.state("b", Some(at(101))), PodState::Deleted);
    }

    #[test]
    fn pod_that_next_list_lacks_is_deleted() {
        let pods = ClusterPods::default();
        pods.listed(uids(["a", "b"]), at(100));
        pods.add("c".to_owned());
        pods.listed(uids(["b", "d"]), at(200));
        assert!(pods.is_deleted("a") && pods.is_deleted("c") && !pods.is_deleted("b"));
        assert_eq!(pods.state("a", Some(at(300))), PodState::Deleted);
        assert_eq!(pods.state("d", Some(at(1))), PodState::Present);
    }
}

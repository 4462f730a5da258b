//! Pods that were deleted lately.
//!
//! A pod's token outlives it. While the watch runs, tokens of deleted pods are rejected from the moment at which the watch
//! learns of the deletion, so that no agent registers behind the revocation.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Largest number of pods; then the earliest is dropped. Projected tokens are valid for an hour by default: this many pods
/// are deleted in an hour by none but the largest clusters, and a rule with `token_review` does not depend on it.
const MAX_PODS: usize = 65_536;

/// Uids of pods that were deleted lately.
#[derive(Debug, Default)]
pub(crate) struct DeletedPods {
    pods: Mutex<Pods>,
}

#[derive(Debug, Default)]
struct Pods {
    uids: HashSet<String>,
    /// In the order of their deletion.
    order: VecDeque<String>,
}

impl DeletedPods {
    /// Notes a deleted pod.
    pub(super) fn add(&self, uid: &str) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if !pods.uids.insert(uid.to_owned()) {
            return;
        }
        pods.order.push_back(uid.to_owned());
        if pods.order.len() > MAX_PODS
            && let Some(earliest) = pods.order.pop_front()
        {
            pods.uids.remove(&earliest);
        }
    }

    /// Returns whether a pod is known to be deleted.
    pub(in crate::attestation) fn contains(&self, uid: &str) -> bool {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).uids.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_earliest_pod_when_full() {
        let pods = DeletedPods::default();
        for number in 0..=MAX_PODS {
            pods.add(&number.to_string());
            pods.add(&number.to_string());
        }
        assert!(!pods.contains("0") && pods.contains("1") && pods.contains(&MAX_PODS.to_string()));
        let inner = pods.pods.lock().unwrap();
        assert_eq!((inner.uids.len(), inner.order.len()), (MAX_PODS, MAX_PODS));
    }
}

//! Ids of the requests to which their clients gave none.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

use agentwrit_protocol::RequestId;

/// Source of request ids: a counter under a keyed hash whose key the standard library draws at the start.
///
/// They are as seldom equal as random ones, between brokers too. They are no secrets, and need no system call each.
#[derive(Debug, Default)]
pub(super) struct RequestIds {
    key: RandomState,
    issued: AtomicU64,
}

impl RequestIds {
    /// Makes the id of another request.
    pub(super) fn next(&self) -> RequestId {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        RequestId::from_bytes(self.key.hash_one(number).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_repeats_in_one_source_or_in_another() {
        let sources = [RequestIds::default(), RequestIds::default()];
        let ids: HashSet<_> =
            sources.iter().flat_map(|source| (0..10_000).map(|_| source.next().as_str().to_owned())).collect();
        assert_eq!(ids.len(), 20_000);
        assert!(ids.iter().all(|id| RequestId::parse(id).is_some() && id.len() == 16));
    }
}

//! Assertions that were sent to the broker, which accepts each once.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use agentwrit_protocol::Secret;
use sha2::{Digest as _, Sha256};

/// Number of assertions that are kept: a source repeats its latest, or none.
const CAPACITY: usize = 64;

/// Digests of the assertions that were sent last and may be used up.
#[derive(Debug, Default)]
pub(crate) struct UsedAssertions(Mutex<VecDeque<[u8; 32]>>);

/// Mark of an assertion that is about to be sent.
#[derive(Debug)]
pub(crate) struct Mark([u8; 32]);

impl UsedAssertions {
    /// Marks an assertion as used; `None` if it is marked.
    pub(crate) fn mark(&self, assertion: &Secret) -> Option<Mark> {
        let digest: [u8; 32] = Sha256::digest(assertion.expose()).into();
        let mut digests = self.digests();
        if digests.contains(&digest) {
            return None;
        }
        if digests.len() >= CAPACITY {
            digests.pop_front();
        }
        digests.push_back(digest);
        Some(Mark(digest))
    }

    /// Removes the mark of an assertion that was not used up.
    pub(crate) fn unmark(&self, Mark(digest): &Mark) {
        self.digests().retain(|used| used != digest);
    }

    fn digests(&self) -> MutexGuard<'_, VecDeque<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_assertion_once_until_it_is_unmarked() {
        let used = UsedAssertions::default();
        let mark = used.mark(&"a".into()).unwrap();
        assert!(used.mark(&"a".into()).is_none());
        assert!(used.mark(&"b".into()).is_some());
        used.unmark(&mark);
        assert!(used.mark(&"a".into()).is_some());
        assert!(used.mark(&"b".into()).is_none());
    }

    #[test]
    fn forgets_oldest_of_many() {
        let used = UsedAssertions::default();
        for number in 0..CAPACITY {
            assert!(used.mark(&number.to_string().into()).is_some());
        }
        assert!(used.mark(&"0".into()).is_none());
        assert!(used.mark(&"new".into()).is_some());
        assert!(used.mark(&"0".into()).is_some());
        assert_eq!(used.digests().len(), CAPACITY);
    }
}

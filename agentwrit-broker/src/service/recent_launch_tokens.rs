//! Launch tokens that this broker issued last. A registration with one of them needs no read before its transaction, which
//! decides by the store alone: an entry here is a hint, and may be out of date.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::{Digest, LaunchToken};

/// Largest number of launch tokens that are kept.
const CAPACITY: usize = 4096;
/// Largest length of the scopes of one that is kept, in bytes.
const MAX_SCOPES: usize = 512;

/// The launch tokens that this broker issued last, by digest.
#[derive(Debug, Default)]
pub(crate) struct RecentLaunchTokens {
    issued: Mutex<Issued>,
}

#[derive(Debug, Default)]
struct Issued {
    by_digest: HashMap<[u8; 32], LaunchToken>,
    /// Oldest first, also those that were taken since.
    order: VecDeque<[u8; 32]>,
}

impl RecentLaunchTokens {
    pub(super) fn insert(&self, token: &LaunchToken) {
        if token.allowed_scope.iter().map(|scope| scope.as_str().len()).sum::<usize>() > MAX_SCOPES {
            return;
        }
        let mut issued = self.issued();
        if issued.order.len() >= CAPACITY
            && let Some(oldest) = issued.order.pop_front()
        {
            issued.by_digest.remove(&oldest);
        }
        issued.order.push_back(*token.digest.as_bytes());
        issued.by_digest.insert(*token.digest.as_bytes(), token.clone());
    }

    /// Removes a launch token, for its first use.
    pub(super) fn take(&self, digest: &Digest) -> Option<LaunchToken> {
        self.issued().by_digest.remove(digest.as_bytes())
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::{ScopeSet, Subject, UnixTime};

    use super::*;
    use crate::domain::LaunchTokenId;

    fn launch_token(number: usize, scopes: ScopeSet) -> LaunchToken {
        LaunchToken {
            id: LaunchTokenId::from_bytes(number.to_be_bytes()),
            digest: Digest::of(&number.to_be_bytes()),
            agent_name: "a".into(),
            allowed_scope: scopes,
            max_ttl: 60,
            single_use: true,
            sender_constrained: false,
            created_at: UnixTime::default(),
            expires_at: UnixTime::default(),
            created_by: Subject::Admin,
            minted_in: None,
            app_id: None,
            orch_id: None,
            task_id: None,
            consumed_at: None,
        }
    }

    #[test]
    fn keeps_newest_launch_tokens_up_to_capacity() {
        let recent = RecentLaunchTokens::default();
        let tokens: Vec<_> =
            (0..=2 * CAPACITY).map(|number| launch_token(number, ScopeSet::parse(["read:data:x"]).unwrap())).collect();
        for token in &tokens {
            recent.insert(token);
        }
        let sizes = |issued: &Issued| (issued.by_digest.len(), issued.order.len());
        assert_eq!(sizes(&recent.issued()), (CAPACITY, CAPACITY));
        let taken = |number: usize| recent.take(&tokens[number].digest).is_some();
        assert_eq!([CAPACITY, CAPACITY + 1, 2 * CAPACITY, 2 * CAPACITY].map(taken), [false, true, true, false]);
    }

    #[test]
    fn keeps_no_launch_token_with_long_scopes() {
        let recent = RecentLaunchTokens::default();
        let long: Vec<String> = (0..60).map(|number| format!("read:data:{number}")).collect();
        let token = launch_token(1, ScopeSet::parse(long).unwrap());
        recent.insert(&token);
        assert_eq!(recent.take(&token.digest), None);
    }
}

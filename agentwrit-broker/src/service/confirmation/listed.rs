//! Pending instances that a response lists.

use std::collections::BTreeMap;

use agentwrit_protocol::limits::MAX_LISTED_PENDING;
use agentwrit_verify::{confirmation::PendingInstance, report::VerifierName};

/// Keeps the instances that a response lists, and returns the number of the others. Each verifier has one in the list before
/// any has a second one; those without a bound come first.
pub(super) fn limit_listed(pending: &mut Vec<PendingInstance>) -> u64 {
    let omitted = pending.len().saturating_sub(MAX_LISTED_PENDING);
    if omitted > 0 {
        let mut ranked: Vec<(usize, PendingInstance)> = Vec::with_capacity(pending.len());
        pending.sort_by_key(|one| one.fenced_at.is_some());
        let mut listed: BTreeMap<VerifierName, usize> = BTreeMap::new();
        for one in pending.drain(..) {
            let rank = listed.entry(one.verifier.clone()).or_default();
            ranked.push((*rank, one));
            *rank = rank.saturating_add(1);
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        pending.extend(ranked.into_iter().map(|(_, one)| one).take(MAX_LISTED_PENDING));
        pending.sort_by(|one, other| (&one.verifier, one.instance).cmp(&(&other.verifier, other.instance)));
    }
    u64::try_from(omitted).unwrap_or(u64::MAX)
}

//! Evidence of a confirmation: what it was decided by, with the signed reports.

use agentwrit_verify::{
    PublicKey,
    confirmation::{Commit, ConfirmationEvidence, InstanceEvidence, VerifierEvidence, fence},
};

use super::{CommitTime, Decision, VerifierService};
use crate::domain::{Enrolment, InstanceState};

/// Collects the evidence of a decision.
pub(super) fn of(
    commit: &CommitTime,
    decision: &Decision,
    issuer: &str,
    verifiers: &VerifierService,
) -> ConfirmationEvidence {
    let fleet = &decision.fleet;
    // As the decision counts them.
    let states = fleet.instances.iter().zip(&fleet.reports).filter(|(known, _)| !known.is_gone(decision.decided_at));
    let change = Commit { cursor: commit.cursor.clone(), at: commit.at };
    let verifier = |enrolment: Enrolment| VerifierEvidence {
        name: enrolment.name,
        public_key: enrolment.public_key,
        max_bound: enrolment.max_bound,
        added_at: enrolment.added_at,
    };
    let enrolments = fleet.verifiers.iter().filter_map(|known| verifiers.latest_enrolment(&known.name));
    let verifiers: Vec<VerifierEvidence> = enrolments.map(verifier).collect();
    let instances = states.map(|(_, state)| instance(state, &change, &verifiers)).collect();
    ConfirmationEvidence {
        issuer: issuer.to_owned(),
        cursor: commit.cursor.clone(),
        committed_at: commit.at,
        decided_at: decision.decided_at,
        complete_from: fleet.as_fleet(commit.at, commit.since).complete_from,
        verifiers,
        instances,
    }
}

fn instance(state: &InstanceState, change: &Commit, verifiers: &[VerifierEvidence]) -> InstanceEvidence {
    let verifier = verifiers.iter().find(|verifier| verifier.name == state.verifier);
    let has_present_key = verifier.is_some_and(|verifier| *verifier.public_key.as_bytes() == state.public_key);
    let has_confirmed = state.applied.has_reached(&change.cursor);
    let bound = state.bound.duration().filter(|_| !has_confirmed);
    InstanceEvidence {
        verifier: state.verifier.clone(),
        instance: state.instance,
        fenced_at: bound.map(|bound| fence(change, bound)),
        public_key: if has_present_key { None } else { PublicKey::from_bytes(&state.public_key).ok() },
        report: Some(&*state.signed).filter(|signed| !signed.is_empty()).map(str::to_owned),
    }
}

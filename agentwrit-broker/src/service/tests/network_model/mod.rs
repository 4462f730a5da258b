//! Verifiers that report to the real services over a network that loses, delays and repeats, in many seeded runs.
//!
//! Feed, reports, fleet and confirmations are the broker's own, on a clock that the model moves; the broker restarts while
//! revocations are pending. The operator removes verifiers, enrols them again and changes their bounds; the broker's wall clock
//! is wrong at some commits; machines of instances are suspended, so that their monotonic clocks stand still. Proxies acknowledge
//! reports without forwarding them. Checked in every step:
//!
//! 1. Once the broker has confirmed a revocation, no instance accepts what was revoked, whatever happens later.
//! 2. With bounds on all verifiers a confirmation comes within the largest bound and a second, counted from the commit or
//!    from a later start of the broker. The largest bound is that of all enrolments of the run.
//! 3. No instance accepts a token longer than its bound after the revocation, or after the withdrawal of its key.
//! 4. A good token is never rejected, also while keys rotate by themselves and caches hold the key set for five minutes: a
//!    verifier that can decide nothing is unavailable. A key that had to sign at once, because the active one was
//!    withdrawn, may be unknown for a moment.
//!
//! Often an instance is cut off right before a change, with a fresh list: the worst case of a fence.
//!
//! `AGENTWRIT_RUNS=5000` sets the number of runs, `AGENTWRIT_SEED=17` selects one.

mod chance;
mod checks;
mod enrolments;
mod forger;
mod instance;
mod operator;
mod witness;
mod world;

use std::{env, thread};

pub(super) use self::chance::Chance;
use self::{witness::Witness, world::World};
use super::*;

/// Time for which a key signs.
const ROTATION: Duration = Duration::from_secs(120);
/// Time for which a key is published before it signs: shorter than caches hold a key set.
const PREPARE_FOR: Duration = Duration::from_secs(60);

/// Kind of a run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    runs: u64,
    /// Duration of a run, in milliseconds.
    end: i64,
    longest_step: i64,
    rotates: bool,
    /// Chances for each step, in thousandths. What blocks a rotation must be rarer than rotations: a broker that restarted
    /// knows every instance after 10 minutes, and one that ended without a report counts for two and a half.
    restart: u64,
    fleet_change: u64,
    revocation: u64,
    /// Removal, enrolment or another bound of a verifier.
    enrolment_change: u64,
    /// Suspension of an instance's machine, at each time at which it would follow the feed.
    suspension: u64,
    /// Percentage of revocations while the broker's wall clock is wrong.
    wrong_clock: u64,
    /// Percentage of runs with a verifier without a bound.
    with_unbounded: u64,
    /// Percentage of instances behind a proxy that forges acceptances.
    forged: u64,
    /// Percentage of the live tokens that are tried at each time.
    tried: u64,
}

const REVOCATIONS: Plan = Plan {
    runs: 10,
    end: 150_000,
    longest_step: 1_500,
    rotates: false,
    restart: 10,
    fleet_change: 20,
    revocation: 50,
    enrolment_change: 10,
    suspension: 1,
    wrong_clock: 20,
    with_unbounded: 20,
    forged: 30,
    tried: 100,
};
const ROTATIONS: Plan = Plan {
    runs: 2,
    end: 3_000_000,
    longest_step: 5_000,
    rotates: true,
    restart: 1,
    fleet_change: 5,
    revocation: 5,
    enrolment_change: 0,
    suspension: 0,
    wrong_clock: 0,
    with_unbounded: 10,
    forged: 0,
    tried: 50,
};

/// Long enough for leases to end. Run 15 fails when a follower takes acceptances that the broker did not sign.
const ENROLMENTS: Plan = Plan {
    runs: 16,
    end: 1_200_000,
    longest_step: 8_000,
    rotates: false,
    restart: 3,
    fleet_change: 15,
    revocation: 40,
    enrolment_change: 25,
    suspension: 4,
    wrong_clock: 30,
    with_unbounded: 50,
    forged: 30,
    tried: 60,
};

#[test]
fn broker_confirms_only_what_no_instance_accepts() {
    let Some((runs, witness)) = play_all(REVOCATIONS) else { return };
    // The runs meet what they are about.
    assert!(witness.confirmed > 2 * runs && witness.with_fenced > runs / 8, "{witness:?}");
    assert!(witness.accepted > 50 * runs && witness.accepted_while_pending > runs / 2, "{witness:?}");
    assert!(witness.restarts_while_pending > runs / 8, "{witness:?}");
    assert!(witness.ended_instances > runs / 2 && witness.wrong_clocks > runs / 4, "{witness:?}");
    assert!(witness.forged_acceptances > runs, "{witness:?}");
}

#[test]
fn removed_changed_and_suspended_verifiers_accept_nothing_that_is_confirmed() {
    let Some((runs, witness)) = play_all(ENROLMENTS) else { return };
    assert!(witness.confirmed > 5 * runs && witness.with_fenced > runs, "{witness:?}");
    assert!(witness.accepted > 50 * runs && witness.accepted_while_pending > runs, "{witness:?}");
    assert!(witness.removals > runs && witness.enrolments > runs && witness.bound_changes > runs, "{witness:?}");
    assert!(witness.rejected_reports > runs && witness.suspensions > runs, "{witness:?}");
    assert!(witness.wrong_clocks > runs && witness.forgotten > 0, "{witness:?}");
    assert!(witness.forged_acceptances > 10 * runs, "{witness:?}");
    // Rarer: all but an instance without a bound must have reported.
    assert!(runs < 100 || witness.unbounded > 0, "{witness:?}");
}

#[test]
fn rotations_reject_no_good_token_and_withdrawals_end_tokens_within_bound() {
    let Some((runs, witness)) = play_all(ROTATIONS) else { return };
    assert!(witness.rotations > 8 * runs && 2 * witness.withdrawals > runs, "{witness:?}");
    assert!(witness.accepted > 250 * runs && witness.accepted_of_retiring_key > 5 * runs, "{witness:?}");
}

/// Plays all runs of a kind; `None` when the environment selects one.
fn play_all(plan: Plan) -> Option<(u64, Witness)> {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("AGENTWRIT_SEED") {
        println!("{:?}", play(plan, seed));
        return None;
    }
    let runs = number("AGENTWRIT_RUNS").unwrap_or(plan.runs);
    let witness = thread::scope(|scope| {
        let of = move |seed| play(plan, seed);
        let part = move |first: u64| (first..runs).step_by(2).map(of).fold(Witness::default(), Witness::plus);
        let workers: Vec<_> = (0..2).map(|first| scope.spawn(move || part(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Witness::default(), Witness::plus)
    });
    println!("{runs} runs: {witness:?}");
    Some((runs, witness))
}

fn play(plan: Plan, seed: u64) -> Witness {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let outcome = runtime.block_on(async { World::new(plan, seed).await.run().await });
    outcome.unwrap_or_else(|violation| panic!("AGENTWRIT_SEED={seed}: {violation}"))
}

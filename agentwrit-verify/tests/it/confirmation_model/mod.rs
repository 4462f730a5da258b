//! Verifiers that report, several brokers, and a network that loses, delays and repeats, in many seeded runs.
//!
//! Checked in every step:
//!
//! 1. Once a revocation or a withdrawal is confirmed, no instance accepts what it concerns, whatever happens later.
//! 2. With bounds on all verifiers a confirmation comes within the largest bound and a second.
//! 3. A token is never accepted longer than the bound after its revocation or the withdrawal of its key.
//! 4. A good token is never refused, through planned rotations: only a verifier that can decide nothing responds 503.
//!
//! Often an instance is cut off right before a change, with a fresh list: the worst case of a fence.
//!
//! `AGENTWRIT_RUNS=5000` sets the number of runs, `AGENTWRIT_SEED=17` selects one.

mod broker;
mod instance;
mod operator;
mod witness;

use std::{env, thread, time::Duration};

use agentwrit_verify::{
    ClaimSet, Clock as _, KeySet, VerifyError,
    confirmation::{Commit, Confirmation, ConfirmationState},
    testing::TestIssuer,
};

use self::{broker::Brokers, instance::Instance, witness::Witness};
use crate::network::Chance;

const RUNS: u64 = 20;
/// Time after a confirmation in which each of its tokens is tried, in milliseconds.
const TRIED_FOR: i64 = 10_000;
/// Time before and after a fence in which steps are short.
const NEAR_FENCE: i64 = 6_000;
/// Time for which caches hold a key set.
const CACHED_FOR: i64 = 60_000;

#[test]
fn confirms_only_what_no_instance_accepts_and_refuses_no_good_token() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("AGENTWRIT_SEED") {
        println!("{:?}", World::new(seed).run().unwrap());
        return;
    }
    let runs = number("AGENTWRIT_RUNS").unwrap_or(RUNS);
    let witness = thread::scope(|scope| {
        let part = |first: u64| (first..runs).step_by(2).map(judged).fold(Witness::default(), Witness::plus);
        let workers: Vec<_> = (0..2).map(|first| scope.spawn(move || part(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Witness::default(), Witness::plus)
    });
    println!("{witness:?}");
    // The runs meet what they are about.
    assert!(witness.confirmed > 3 * runs && witness.with_fenced > runs / 4, "{witness:?}");
    assert!(witness.accepted > 1_000 * runs && witness.accepted_while_pending > runs, "{witness:?}");
    assert!(witness.rotations > runs / 2 && witness.withdrawals > runs / 4, "{witness:?}");
    assert!(witness.unbounded > 0 && witness.broker_restarts > runs / 4 && witness.drops > runs / 2, "{witness:?}");
}

fn judged(seed: u64) -> Witness {
    World::new(seed).run().unwrap_or_else(|violation| panic!("AGENTWRIT_SEED={seed}: {violation}"))
}

struct Token {
    text: String,
    claims: ClaimSet,
    signed_by: usize,
    /// True when the key signed before verifiers could know it.
    of_unplanned_key: bool,
    /// Time of the revocation, or of the withdrawal of its key.
    dead_since: Option<i64>,
}

/// A change that is waited for.
struct Waiting {
    commit: Commit,
    at: i64,
    confirmed_at: Option<i64>,
    /// Indices of the tokens that it concerns.
    tokens: Vec<usize>,
}

/// Times are milliseconds since the start, by the brokers' clock, which is the true one.
struct World {
    chance: Chance,
    now: i64,
    issuer: TestIssuer,
    brokers: Brokers,
    instances: Vec<Instance>,
    started: u64,
    tokens: Vec<Token>,
    waiting: Vec<Waiting>,
    /// Times at which an instance that was cut off before a change must reject every token.
    fences: Vec<i64>,
    /// True when the caches in front of the key set obey `no-cache`.
    caches_revalidate: bool,
    /// Key set that the caches hold, until this time.
    cached_keys: Option<(KeySet, i64)>,
    keys: u8,
    prepared_at: Option<i64>,
    is_unplanned: bool,
    witness: Witness,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let issuer = TestIssuer::new();
        let brokers = Brokers::new(&mut chance);
        let caches_revalidate = chance.percent(60);
        let mut world = Self {
            chance,
            now: 0,
            issuer,
            brokers,
            instances: Vec::new(),
            started: 0,
            tokens: Vec::new(),
            waiting: Vec::new(),
            fences: Vec::new(),
            caches_revalidate,
            cached_keys: None,
            keys: 0,
            prepared_at: None,
            is_unplanned: false,
            witness: Witness::default(),
        };
        for _ in 0..3 {
            world.start_instance();
        }
        world
    }

    fn run(mut self) -> Result<Witness, String> {
        while self.now < 240_000 {
            let step = self.step_length();
            self.pass(step);
            self.operator_acts();
            self.fleet_changes();
            if self.chance.percent(20) {
                // Before a process that was paused hears anything.
                self.look()?;
            }
            self.network();
            self.confirm()?;
            self.look()?;
        }
        Ok(self.witness)
    }

    fn step_length(&mut self) -> i64 {
        self.fences.retain(|fence| fence + NEAR_FENCE > self.now);
        let is_near = self.fences.iter().any(|fence| self.now > fence - NEAR_FENCE);
        self.chance.between(50, if is_near { 500 } else { 1_500 })
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now += milliseconds;
        let step = Duration::from_millis(milliseconds.unsigned_abs());
        self.issuer.clock().advance(step);
        for instance in &self.instances {
            instance.pass(step);
        }
    }

    fn start_instance(&mut self) {
        self.started += 1;
        let keys = self.key_set_response();
        let verifier = self.brokers.pick_verifier(&mut self.chance);
        self.instances.push(Instance::start(&self.issuer, keys, verifier, self.started, self.now, &mut self.chance));
    }

    fn fleet_changes(&mut self) {
        if self.instances.len() < 6 && self.chance.percent(2) {
            self.start_instance();
        }
        if self.instances.len() > 1 && self.chance.percent(2) {
            let index = self.chance.pick(self.instances.len());
            let mut ended = self.instances.swap_remove(index);
            self.witness.drops += 1;
            if self.chance.percent(60) && !ended.is_paused(self.now) {
                ended.leave(self.now, &mut self.brokers, &mut self.chance);
            }
            if self.chance.percent(70) {
                self.start_instance();
            }
        }
    }

    /// Returns the key set that a fetch gets, from the broker or from a cache that ignores `no-cache`.
    fn key_set_response(&mut self) -> KeySet {
        let fresh = self.issuer.key_set();
        match &self.cached_keys {
            Some((held, until)) if self.now < *until && !self.caches_revalidate => held.clone(),
            _ => {
                self.cached_keys = Some((fresh.clone(), self.now + CACHED_FOR));
                fresh
            }
        }
    }

    fn network(&mut self) {
        for index in 0..self.instances.len() {
            if self.instances[index].is_paused(self.now) {
                continue;
            }
            if self.instances[index].wants_keys(self.now, &mut self.chance) {
                let keys = self.key_set_response();
                self.instances[index].receive_keys(keys);
            }
            self.instances[index].follow(self.now, &self.issuer, &mut self.chance);
            self.instances[index].report(self.now, &mut self.brokers, &mut self.chance);
        }
        self.brokers.deliver(self.now, self.issuer.clock().now(), &self.issuer.cursor());
    }

    /// Judges what is waited for, as a broker does.
    fn confirm(&mut self) -> Result<(), String> {
        let now = self.issuer.clock().now();
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.confirmed_at.is_none()) {
            let found = Confirmation::of(&waiting.commit, self.brokers.fleet(), now);
            match found.state {
                ConfirmationState::Confirmed => {
                    waiting.confirmed_at = Some(self.now);
                    self.witness.confirmed += 1;
                    self.witness.with_fenced += u64::from(found.fenced > 0);
                }
                ConfirmationState::Unbounded => self.witness.unbounded += 1,
                ConfirmationState::Pending => {
                    let late = self.now - waiting.at - 1_000 * self.brokers.largest_bound() - 1_000;
                    // Steps are up to 1.5 s long, and a verifier without a bound has no fence after a restart.
                    if late > 0 && self.brokers.all_are_bounded() {
                        return Err(format!("at {}: pending {late} ms too long: {found:?}", self.now));
                    }
                }
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        for index in 0..self.tokens.len() {
            let of_token = |waiting: &&Waiting| waiting.tokens.contains(&index);
            let confirmed = self.waiting.iter().filter(of_token).filter_map(|waiting| waiting.confirmed_at).min();
            let pending = self.waiting.iter().filter(of_token).any(|waiting| waiting.confirmed_at.is_none());
            let tried = match (confirmed, self.tokens[index].dead_since) {
                (Some(at), _) if self.now - at > TRIED_FOR => 15,
                (None, None) => 30,
                (Some(_) | None, _) => 100,
            };
            if !self.chance.percent(tried) {
                continue;
            }
            let token = &self.tokens[index];
            for instance in self.instances.iter_mut().filter(|instance| !instance.is_paused(self.now)) {
                let Some(verdict) = instance.verify(index, &token.text) else { continue };
                let dead_for = token.dead_since.map(|since| self.now - since);
                let context = || format!("at {}: token {index}, dead for {dead_for:?}, {instance}: ", self.now);
                match verdict {
                    Ok(_) if confirmed.is_some() => return Err(context() + "accepted after the confirmation"),
                    Ok(_) if instance.bound_ms().zip(dead_for).is_some_and(|(bound, dead)| dead > bound) => {
                        return Err(context() + "accepted beyond the bound");
                    }
                    Ok(_) => {
                        self.witness.accepted += 1;
                        self.witness.accepted_while_pending += u64::from(pending);
                    }
                    Err(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. }) => {}
                    Err(VerifyError::UnknownKey { .. }) if token.of_unplanned_key => {}
                    Err(error) if dead_for.is_none() && !error.is_unavailable() => {
                        return Err(context() + &format!("a good token was refused: {error}"));
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

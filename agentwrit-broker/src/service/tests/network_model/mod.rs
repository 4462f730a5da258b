//! Verifiers that report to the real services over a network that loses, delays and repeats, in many seeded runs.
//!
//! Feed, reports, fleet and confirmations are the broker's own, on a clock that the model moves; the broker restarts while
//! revocations are pending. Checked in every step:
//!
//! 1. Once the broker has confirmed a revocation, no instance accepts what was revoked, whatever happens later.
//! 2. With bounds on all verifiers a confirmation comes within the largest bound and a second, counted from the commit or
//!    from a later start of the broker.
//! 3. No instance accepts a token longer than its bound after the revocation, or after the withdrawal of its key.
//! 4. A good token is never rejected, also while keys rotate by themselves and caches hold the key set for five minutes: a
//!    verifier that can decide nothing is unavailable. A key that had to sign at once, because the active one was
//!    withdrawn, may be unknown for a moment.
//!
//! Often an instance is cut off right before a change, with a fresh list: the worst case of a fence.
//!
//! `AGENTWRIT_RUNS=5000` sets the number of runs, `AGENTWRIT_SEED=17` selects one.

mod instance;

use std::{collections::HashSet, env, path::Path, thread};

use agentwrit_verify::{
    Clock as _, FeedCursor, KeySet,
    confirmation::{ConfirmationState, EnrolledVerifier},
    testing::TestIssuer,
};

use self::instance::Instance;
use super::{
    key_operations::{author, kid_of},
    verifiers::{enrol, name},
    *,
};
use crate::service::keys::KeyOperation;

/// Largest number of live tokens.
const MOST_TOKENS: usize = 10;
/// Lifetime of a token, in seconds.
const LIFETIME: u64 = 300;
/// Time for which a key signs.
const ROTATION: Duration = Duration::from_secs(120);
/// Time for which a key is published before it signs: shorter than caches hold a key set.
const PREPARE_FOR: Duration = Duration::from_secs(60);
/// Time after a confirmation in which each of its tokens is tried, in milliseconds.
const TRIED_FOR: i64 = 10_000;
/// Time before and after a fence in which steps are short.
const NEAR_FENCE: i64 = 6_000;
/// Time for which caches hold a key set.
const CACHED_FOR: i64 = 300_000;

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
    /// Percentage of runs with a verifier without a bound.
    with_unbounded: u64,
    /// Percentage of the live tokens that are tried at each time.
    tried: u64,
}

const REVOCATIONS: Plan = Plan {
    runs: 24,
    end: 150_000,
    longest_step: 1_500,
    rotates: false,
    restart: 10,
    fleet_change: 20,
    revocation: 50,
    with_unbounded: 20,
    tried: 100,
};
const ROTATIONS: Plan = Plan {
    runs: 6,
    end: 6_000_000,
    longest_step: 5_000,
    rotates: true,
    restart: 1,
    fleet_change: 5,
    revocation: 5,
    with_unbounded: 10,
    tried: 50,
};

#[test]
fn broker_confirms_only_what_no_instance_accepts() {
    let Some((runs, witness)) = play_all(REVOCATIONS) else { return };
    // The runs meet what they are about.
    assert!(witness.confirmed > 2 * runs && witness.with_fenced > runs / 8, "{witness:?}");
    assert!(witness.accepted > 50 * runs && witness.accepted_while_pending > runs / 2, "{witness:?}");
    assert!(witness.restarts_while_pending > runs / 8 && witness.unbounded > 0, "{witness:?}");
    assert!(witness.ended_instances > runs / 2, "{witness:?}");
}

#[test]
fn rotations_reject_no_good_token_and_withdrawals_end_tokens_within_bound() {
    let Some((runs, witness)) = play_all(ROTATIONS) else { return };
    assert!(witness.rotations > 16 * runs && witness.withdrawals > 2 * runs, "{witness:?}");
    assert!(witness.accepted > 500 * runs && witness.accepted_of_retiring_key > 10 * runs, "{witness:?}");
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

/// Counts over all runs.
#[derive(Clone, Copy, Debug, Default)]
struct Witness {
    accepted: u64,
    accepted_while_pending: u64,
    confirmed: u64,
    with_fenced: u64,
    unbounded: u64,
    restarts_while_pending: u64,
    /// Instances that ended, with a report or without.
    ended_instances: u64,
    rotations: u64,
    withdrawals: u64,
    accepted_of_retiring_key: u64,
}

impl Witness {
    fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            accepted_while_pending: self.accepted_while_pending + other.accepted_while_pending,
            confirmed: self.confirmed + other.confirmed,
            with_fenced: self.with_fenced + other.with_fenced,
            unbounded: self.unbounded + other.unbounded,
            restarts_while_pending: self.restarts_while_pending + other.restarts_while_pending,
            ended_instances: self.ended_instances + other.ended_instances,
            rotations: self.rotations + other.rotations,
            withdrawals: self.withdrawals + other.withdrawals,
            accepted_of_retiring_key: self.accepted_of_retiring_key + other.accepted_of_retiring_key,
        }
    }
}

/// Choices of a run, determined by its seed.
struct Chance(u64);

impl Chance {
    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.next() % u64::try_from(high - low + 1).unwrap()).unwrap()
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    fn thousandths(&mut self, chance: u64) -> bool {
        self.next() % 1_000 < chance
    }

    fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.next() % length as u64).unwrap()
    }
}

struct Token {
    text: String,
    id: AgentId,
    jti: String,
    kid: String,
    /// Time from which it may have expired.
    expires: i64,
    /// Time of the revocation, or of the withdrawal of its key.
    dead_since: Option<i64>,
}

/// A revocation that is waited for.
struct Waiting {
    cursor: FeedCursor,
    /// Time of the revocation, or of a later start of the broker.
    since: i64,
    confirmed_at: Option<i64>,
    /// Indices of the tokens that it concerns.
    tokens: Vec<usize>,
}

/// Times are milliseconds since the start, by the broker's clock, which is the true one.
struct World {
    plan: Plan,
    chance: Chance,
    now: i64,
    broker: TestServices,
    /// Name and bounds of the in-memory issuer, from which followers are made.
    issuer: TestIssuer,
    enrolled: Vec<EnrolledVerifier>,
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
    active: String,
    /// Keys that had to sign at once.
    unplanned: HashSet<String>,
    witness: Witness,
}

impl World {
    async fn new(plan: Plan, seed: u64) -> Self {
        let mut chance = Chance(seed);
        // In memory where there is such a place: the fsyncs of thousands of small transactions prove nothing here.
        let (memory, builder) = (Path::new("/dev/shm"), tempfile::Builder::new());
        let directory = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
        let clock = ManualClock::new(UnixTime::since_epoch(START));
        let settings = |config: &mut Config| {
            TestIssuer::ISSUER.clone_into(&mut config.issuer);
            config.key_prepare_for = PREPARE_FOR;
            config.key_rotation = plan.rotates.then_some(ROTATION);
        };
        let broker = TestServices::open(directory.unwrap(), clock, settings).await;
        let mut enrolled: Vec<EnrolledVerifier> = (0..2)
            .map(|n| EnrolledVerifier {
                name: name(&format!("service-{n}")),
                max_bound: Some(chance.between(20, 45).unsigned_abs()),
                added_at: UnixTime::default(),
            })
            .collect();
        if chance.percent(plan.with_unbounded) {
            enrolled.push(EnrolledVerifier { name: name("service-9"), max_bound: None, added_at: UnixTime::default() });
        }
        for verifier in &enrolled {
            enrol(&broker.services, verifier.name.as_str(), 1, verifier.max_bound).await.unwrap();
        }
        let (caches_revalidate, active) = (plan.rotates && chance.percent(70), active_kid(&broker));
        let mut world = Self {
            plan,
            chance,
            now: 0,
            broker,
            issuer: TestIssuer::new(),
            enrolled,
            instances: Vec::new(),
            started: 0,
            tokens: Vec::new(),
            waiting: Vec::new(),
            fences: Vec::new(),
            caches_revalidate,
            cached_keys: None,
            active,
            unplanned: HashSet::new(),
            witness: Witness::default(),
        };
        for _ in 0..3 {
            world.start_instance();
        }
        world
    }

    async fn run(mut self) -> Result<Witness, String> {
        while self.now < self.plan.end {
            let step = self.step_length();
            self.pass(step);
            self.operator_acts().await;
            self.keys_change().await;
            self.fleet_changes().await;
            if self.chance.percent(20) {
                // Before a process that was paused hears anything.
                self.look()?;
            }
            for index in 0..self.instances.len() {
                if self.instances[index].wants_keys(self.now, &mut self.chance) {
                    let (keys, age) = self.key_set_response();
                    self.instances[index].receive_keys(keys, age);
                }
                self.instances[index].step(self.now, &self.broker.services, &mut self.chance).await;
            }
            self.confirm().await?;
            self.look()?;
        }
        Ok(self.witness)
    }

    fn step_length(&mut self) -> i64 {
        self.fences.retain(|fence| fence + NEAR_FENCE > self.now);
        let is_near = self.fences.iter().any(|fence| self.now > fence - NEAR_FENCE);
        self.chance.between(50, if is_near { 500 } else { self.plan.longest_step })
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now += milliseconds;
        let step = Duration::from_millis(milliseconds.unsigned_abs());
        self.broker.clock.advance(step);
        for instance in &self.instances {
            instance.pass(step);
        }
    }

    async fn operator_acts(&mut self) {
        let live: Vec<usize> = (0..self.tokens.len()).filter(|index| self.tokens[*index].expires > self.now).collect();
        if live.len() < MOST_TOKENS && self.chance.percent(25) {
            let Agent { id, token: text } = self.broker.enrol("task", LIFETIME).await;
            let (jti, kid) = (self.broker.bearer(&text).token_id().to_string(), kid_of(&text));
            let expires = self.now + i64::try_from(LIFETIME).unwrap() * 1_000;
            self.tokens.push(Token { text, id, jti, kid, expires, dead_since: None });
        }
        if self.chance.thousandths(self.plan.revocation) && !live.is_empty() {
            self.cut_off_instance().await;
            let index = live[self.chance.pick(live.len())];
            let token = &mut self.tokens[index];
            let outcome = match self.chance.pick(2) {
                0 => self.broker.request_revocation(Level::Token, &token.jti, false).await,
                _ => self.broker.request_revocation(Level::Agent, &token.id, false).await,
            };
            token.dead_since.get_or_insert(self.now);
            self.wait_for(outcome.cursor, vec![index]);
        }
        if self.chance.thousandths(self.plan.restart) {
            self.restart_broker().await;
        }
    }

    /// Often isolates the instance with the largest bound, with the newest list that lacks what the broker does next.
    async fn cut_off_instance(&mut self) {
        let now = self.now;
        let reachable = self.instances.iter_mut().filter(|instance| !instance.is_paused(now));
        if let Some(instance) = reachable.max_by_key(|instance| instance.bound_ms())
            && self.chance.percent(60)
        {
            let fence = instance.cut_off(now, &self.broker.services, &mut self.chance).await;
            self.fences.extend(fence);
        }
    }

    fn wait_for(&mut self, cursor: FeedCursor, tokens: Vec<usize>) {
        self.waiting.push(Waiting { cursor, since: self.now, confirmed_at: None, tokens });
    }

    /// The broker rotates by itself; the operator withdraws keys at any time.
    async fn keys_change(&mut self) {
        if !self.plan.rotates {
            return;
        }
        if self.chance.percent(30) {
            self.broker.services.keys.run_due().await.unwrap();
            let active = active_kid(&self.broker);
            if active != self.active {
                self.active = active;
                self.witness.rotations += 1;
            }
        }
        if self.chance.next().is_multiple_of(500) {
            let published: Vec<String> =
                self.broker.services.issuer.ring().published.iter().map(|key| key.id().as_str().to_owned()).collect();
            let kid = published[self.chance.pick(published.len())].clone();
            self.withdraw(kid).await;
        }
    }

    async fn withdraw(&mut self, kid: String) {
        self.cut_off_instance().await;
        let operation = KeyOperation::Withdraw { kid: kid.clone() };
        let change = self.broker.services.keys.change(operation, author(None)).await.unwrap();
        self.witness.withdrawals += 1;
        let active = active_kid(&self.broker);
        if active != self.active {
            self.unplanned.insert(active.clone());
            self.active = active;
        }
        let concerned: Vec<usize> = (0..self.tokens.len()).filter(|index| self.tokens[*index].kid == kid).collect();
        for index in &concerned {
            self.tokens[*index].dead_since.get_or_insert(self.now);
        }
        self.wait_for(change.cursor, concerned);
    }

    /// Returns the key set that a fetch gets, from the broker or from a cache.
    fn key_set_response(&mut self) -> (KeySet, Duration) {
        match &self.cached_keys {
            Some((held, until)) if self.now < *until && !self.caches_revalidate => {
                let age = self.now - (*until - CACHED_FOR);
                (held.clone(), Duration::from_millis(age.unsigned_abs()))
            }
            Some(_) | None => {
                let fresh = self.broker.services.issuer.ring().published.clone();
                self.cached_keys = Some((fresh.clone(), self.now + CACHED_FOR));
                (fresh, Duration::ZERO)
            }
        }
    }

    /// Another process on the same store.
    async fn restart_broker(&mut self) {
        let pending = |waiting: &&mut Waiting| waiting.confirmed_at.is_none();
        let is_pending = self.waiting.iter_mut().filter(pending).map(|waiting| waiting.since = self.now).count() > 0;
        self.witness.restarts_while_pending += u64::from(is_pending);
        self.broker.restart_at(self.broker.clock.now()).await;
        if self.chance.percent(50) {
            // Connections break.
            for instance in &mut self.instances {
                instance.lose_messages();
            }
        }
    }

    fn start_instance(&mut self) {
        self.started += 1;
        let verifier = self.enrolled[self.chance.pick(self.enrolled.len())].clone();
        // A process starts with what the caches hold.
        let (keys, _) = self.key_set_response();
        let clock = &self.broker.clock;
        let instance = Instance::start(&self.issuer, clock, keys, verifier, (self.started, self.now), &mut self.chance);
        self.instances.push(instance);
    }

    async fn fleet_changes(&mut self) {
        if self.instances.len() < 5 && self.chance.thousandths(self.plan.fleet_change) {
            self.start_instance();
        }
        if self.instances.len() > 1 && self.chance.thousandths(self.plan.fleet_change) {
            let index = self.chance.pick(self.instances.len());
            let mut ended = self.instances.swap_remove(index);
            self.witness.ended_instances += 1;
            if self.chance.percent(60) && !ended.is_paused(self.now) {
                ended.leave(self.now, &self.broker.services, &mut self.chance).await;
            }
            if self.chance.percent(70) {
                self.start_instance();
            }
        }
    }

    /// Requests each confirmation that is pending.
    async fn confirm(&mut self) -> Result<(), String> {
        let largest = self.enrolled.iter().filter_map(|enrolled| enrolled.max_bound).max().unwrap();
        let all_are_bounded = self.enrolled.iter().all(|enrolled| enrolled.max_bound.is_some());
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.confirmed_at.is_none()) {
            let services = &self.broker.services;
            let found =
                services.confirmations.await_confirmation(&waiting.cursor, &Subject::Admin, Duration::ZERO).await;
            let found = found.map_err(|error| format!("at {}: {error}", self.now))?.confirmation;
            match found.state {
                ConfirmationState::Confirmed => {
                    waiting.confirmed_at = Some(self.now);
                    self.witness.confirmed += 1;
                    self.witness.with_fenced += u64::from(found.fenced > 0);
                }
                ConfirmationState::Unbounded => self.witness.unbounded += 1,
                ConfirmationState::Pending => {
                    let limit = i64::try_from(largest).unwrap() * 1_000 + 1_000;
                    // After a restart a verifier without a bound has no fence before the lease of its instances has passed.
                    if self.now - waiting.since >= limit && all_are_bounded {
                        return Err(format!("at {}: pending since {}: {found:?}", self.now, waiting.since));
                    }
                }
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        for (index, token) in self.tokens.iter().enumerate().filter(|(_, token)| token.expires > self.now) {
            let of_token = |waiting: &&Waiting| waiting.tokens.contains(&index);
            let confirmed_at = self.waiting.iter().filter(of_token).filter_map(|waiting| waiting.confirmed_at).min();
            let is_confirmed = confirmed_at.is_some();
            let is_pending = self.waiting.iter().filter(of_token).any(|waiting| waiting.confirmed_at.is_none());
            // A rejected token costs a signature each time, so it is tried less often later.
            let tried = match confirmed_at {
                Some(at) if self.now - at > TRIED_FOR => 15,
                Some(_) => 100,
                None => self.plan.tried,
            };
            if !self.chance.percent(tried) {
                continue;
            }
            for instance in self.instances.iter().filter(|instance| !instance.is_paused(self.now)) {
                let dead_for = token.dead_since.map(|since| self.now - since);
                let context = || format!("at {}: token {index}, dead for {dead_for:?}, {instance}: ", self.now);
                match instance.verify(&token.text) {
                    Ok(_) if is_confirmed => return Err(context() + "accepted after the confirmation"),
                    Ok(_) if instance.bound_ms().zip(dead_for).is_some_and(|(bound, dead)| dead > bound) => {
                        return Err(context() + "accepted beyond the bound");
                    }
                    Ok(_) => {
                        self.witness.accepted += 1;
                        self.witness.accepted_while_pending += u64::from(is_pending);
                        self.witness.accepted_of_retiring_key += u64::from(token.kid != self.active);
                    }
                    Err(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. }) => {}
                    Err(VerifyError::UnknownKey { .. }) if self.unplanned.contains(&token.kid) => {}
                    Err(error) if dead_for.is_none() && !error.is_unavailable() => {
                        return Err(context() + &format!("a good token was rejected: {error}"));
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

fn active_kid(broker: &TestServices) -> String {
    broker.services.issuer.ring().active.id().as_str().to_owned()
}

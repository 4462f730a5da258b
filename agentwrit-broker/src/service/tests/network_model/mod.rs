//! Verifiers that report to the real services over a network that loses, delays and repeats, in many seeded runs.
//!
//! Feed, reports, fleet and confirmations are the broker's own, on a clock that the model moves; the broker restarts while
//! revocations are pending. Checked in every step:
//!
//! 1. Once the broker has confirmed a revocation, no instance accepts what was revoked, whatever happens later.
//! 2. With bounds on all verifiers a confirmation comes within the largest bound and a second, counted from the commit or
//!    from a later start of the broker.
//! 3. No instance accepts a token longer than its bound after the revocation.
//! 4. A good token is never rejected: a verifier that can decide nothing is unavailable.
//!
//! `AGENTWRIT_RUNS=5000` sets the number of runs, `AGENTWRIT_SEED=17` selects one.

mod instance;

use std::{env, path::Path, thread};

use agentwrit_verify::{
    Clock as _, FeedCursor,
    confirmation::{ConfirmationState, EnrolledVerifier},
    testing::TestIssuer,
};

use self::instance::Instance;
use super::{
    verifiers::{enrol, name},
    *,
};

const RUNS: u64 = 24;
/// Duration of a run, in milliseconds.
const END: i64 = 150_000;
const MOST_TOKENS: usize = 10;

#[test]
fn broker_confirms_only_what_no_instance_accepts() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("AGENTWRIT_SEED") {
        println!("{:?}", play(seed));
        return;
    }
    let runs = number("AGENTWRIT_RUNS").unwrap_or(RUNS);
    let witness = thread::scope(|scope| {
        let part = |first: u64| (first..runs).step_by(2).map(play).fold(Witness::default(), Witness::plus);
        let workers: Vec<_> = (0..2).map(|first| scope.spawn(move || part(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Witness::default(), Witness::plus)
    });
    println!("{runs} runs: {witness:?}");
    // The runs meet what they are about.
    assert!(witness.confirmed > 2 * runs && witness.with_fenced > runs / 8, "{witness:?}");
    assert!(witness.accepted > 50 * runs && witness.accepted_while_pending > runs / 2, "{witness:?}");
    assert!(witness.restarts_while_pending > runs / 8 && witness.unbounded > 0, "{witness:?}");
    assert!(witness.ended_instances > runs / 2, "{witness:?}");
}

fn play(seed: u64) -> Witness {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let outcome = runtime.block_on(async { World::new(seed).await.run().await });
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

    fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.next() % length as u64).unwrap()
    }
}

struct Token {
    text: String,
    id: AgentId,
    jti: String,
    /// Time of the revocation.
    dead_since: Option<i64>,
}

/// A revocation that is waited for.
struct Waiting {
    cursor: FeedCursor,
    /// Time of the revocation, or of a later start of the broker.
    since: i64,
    is_confirmed: bool,
    token: usize,
}

/// Times are milliseconds since the start, by the broker's clock, which is the true one.
struct World {
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
    witness: Witness,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        // In memory where there is such a place: the fsyncs of thousands of small transactions prove nothing here.
        let (memory, builder) = (Path::new("/dev/shm"), tempfile::Builder::new());
        let directory = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
        let clock = ManualClock::new(UnixTime::since_epoch(START));
        let issuer = |config: &mut Config| TestIssuer::ISSUER.clone_into(&mut config.issuer);
        let broker = TestServices::open(directory.unwrap(), clock, issuer).await;
        let mut enrolled: Vec<EnrolledVerifier> = (0..2)
            .map(|n| EnrolledVerifier {
                name: name(&format!("service-{n}")),
                max_bound: Some(chance.between(20, 45).unsigned_abs()),
                added_at: UnixTime::default(),
            })
            .collect();
        if chance.percent(20) {
            enrolled.push(EnrolledVerifier { name: name("service-9"), max_bound: None, added_at: UnixTime::default() });
        }
        for verifier in &enrolled {
            enrol(&broker.services, verifier.name.as_str(), 1, verifier.max_bound).await.unwrap();
        }
        let mut world = Self {
            chance,
            now: 0,
            broker,
            issuer: TestIssuer::new(),
            enrolled,
            instances: Vec::new(),
            started: 0,
            tokens: Vec::new(),
            waiting: Vec::new(),
            witness: Witness::default(),
        };
        for _ in 0..3 {
            world.start_instance();
        }
        world
    }

    async fn run(mut self) -> Result<Witness, String> {
        while self.now < END {
            let step = self.chance.between(50, 1_500);
            self.pass(step);
            self.operator_acts().await;
            self.fleet_changes().await;
            if self.chance.percent(20) {
                // Before a process that was paused hears anything.
                self.look()?;
            }
            for index in 0..self.instances.len() {
                self.instances[index].step(self.now, &self.broker.services, &mut self.chance).await;
            }
            self.confirm().await?;
            self.look()?;
        }
        Ok(self.witness)
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
        if self.tokens.len() < MOST_TOKENS && self.chance.percent(25) {
            let agent = self.broker.enrol("task", 300).await;
            let jti = self.broker.claims(&agent.token).token_id().to_string();
            self.tokens.push(Token { text: agent.token, id: agent.id, jti, dead_since: None });
        }
        if self.chance.percent(5) && !self.tokens.is_empty() {
            let index = self.chance.pick(self.tokens.len());
            let token = &mut self.tokens[index];
            let outcome = match self.chance.pick(2) {
                0 => self.broker.request_revocation(Level::Token, &token.jti, false).await,
                _ => self.broker.request_revocation(Level::Agent, &token.id, false).await,
            };
            token.dead_since.get_or_insert(self.now);
            let waiting = Waiting { cursor: outcome.cursor, since: self.now, is_confirmed: false, token: index };
            self.waiting.push(waiting);
        }
        if self.chance.percent(1) {
            self.restart_broker().await;
        }
    }

    /// Another process on the same store.
    async fn restart_broker(&mut self) {
        let pending = |waiting: &&mut Waiting| !waiting.is_confirmed;
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
        let keys = self.broker.services.issuer.ring().published.clone();
        let clock = &self.broker.clock;
        let instance = Instance::start(&self.issuer, clock, keys, verifier, (self.started, self.now), &mut self.chance);
        self.instances.push(instance);
    }

    async fn fleet_changes(&mut self) {
        if self.instances.len() < 5 && self.chance.percent(2) {
            self.start_instance();
        }
        if self.instances.len() > 1 && self.chance.percent(2) {
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
        for waiting in self.waiting.iter_mut().filter(|waiting| !waiting.is_confirmed) {
            let services = &self.broker.services;
            let found =
                services.confirmations.await_confirmation(&waiting.cursor, &Subject::Admin, Duration::ZERO).await;
            let found = found.map_err(|error| format!("at {}: {error}", self.now))?.confirmation;
            match found.state {
                ConfirmationState::Confirmed => {
                    waiting.is_confirmed = true;
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
        for (index, token) in self.tokens.iter().enumerate() {
            let of_token = |waiting: &&Waiting| waiting.token == index;
            let is_confirmed = self.waiting.iter().filter(of_token).any(|waiting| waiting.is_confirmed);
            let is_pending = self.waiting.iter().filter(of_token).any(|waiting| !waiting.is_confirmed);
            // A rejected token costs a signature each time, so it is tried less often.
            if is_confirmed && !self.chance.percent(15) {
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
                    }
                    Err(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. }) => {}
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

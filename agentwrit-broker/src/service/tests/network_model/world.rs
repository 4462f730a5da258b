//! State of a run, and its steps.

use std::{collections::HashSet, path::Path};

use agentwrit_verify::{FeedCursor, KeySet, report::VerifierName, testing::TestIssuer};

use super::{
    super::{
        verifiers::{enrol, name},
        *,
    },
    Chance, PREPARE_FOR, Plan, ROTATION, Witness,
    instance::Instance,
};

/// Largest number of live tokens.
pub(super) const MOST_TOKENS: usize = 10;
/// Lifetime of a token, in seconds.
pub(super) const LIFETIME: u64 = 300;
/// Time after a confirmation in which each of its tokens is tried, in milliseconds.
pub(super) const TRIED_FOR: i64 = 10_000;
/// Time before and after a fence in which steps are short.
const NEAR_FENCE: i64 = 6_000;
/// Time for which caches hold a key set.
pub(super) const CACHED_FOR: i64 = 300_000;

/// A verifier that was enrolled at the start.
#[derive(Clone, Debug)]
pub(super) struct Verifier {
    pub(super) name: VerifierName,
    pub(super) max_bound: Option<u64>,
    pub(super) is_enrolled: bool,
}

pub(super) struct Token {
    pub(super) text: String,
    pub(super) id: AgentId,
    pub(super) jti: String,
    pub(super) kid: String,
    /// Time from which it may have expired.
    pub(super) expires: i64,
    /// Time of the revocation, or of the withdrawal of its key.
    pub(super) dead_since: Option<i64>,
}

/// A revocation that is waited for.
pub(super) struct Waiting {
    pub(super) cursor: FeedCursor,
    /// Time of the revocation, or of a later start of the broker.
    pub(super) since: i64,
    pub(super) confirmed_at: Option<i64>,
    /// Indices of the tokens that it concerns.
    pub(super) tokens: Vec<usize>,
}

/// Times are milliseconds since the start, by the broker's clock, which is the true one.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) chance: Chance,
    pub(super) now: i64,
    pub(super) broker: TestServices,
    /// Name and bounds of the in-memory issuer, from which followers are made.
    pub(super) issuer: TestIssuer,
    pub(super) verifiers: Vec<Verifier>,
    /// Largest bound of any enrolment, in seconds.
    pub(super) largest_bound: u64,
    pub(super) may_be_unbounded: bool,
    pub(super) instances: Vec<Instance>,
    pub(super) started: u64,
    pub(super) tokens: Vec<Token>,
    pub(super) waiting: Vec<Waiting>,
    /// Times at which an instance that was cut off before a change must reject every token.
    pub(super) fences: Vec<i64>,
    /// True when the caches in front of the key set obey `no-cache`.
    pub(super) caches_revalidate: bool,
    /// Key set that the caches hold, until this time.
    pub(super) cached_keys: Option<(KeySet, i64)>,
    pub(super) active: String,
    /// Keys that had to sign at once.
    pub(super) unplanned: HashSet<String>,
    pub(super) witness: Witness,
}

impl World {
    pub(super) async fn new(plan: Plan, seed: u64) -> Self {
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
        let mut bounds = vec![Some(chance.between(20, 45).unsigned_abs()), Some(chance.between(20, 45).unsigned_abs())];
        bounds.extend(chance.percent(plan.with_unbounded).then_some(None));
        let largest_bound = bounds.iter().flatten().copied().max().unwrap();
        let may_be_unbounded = bounds.len() > 2;
        let with_name = |(n, max_bound)| Verifier { name: name(&format!("service-{n}")), max_bound, is_enrolled: true };
        let verifiers: Vec<Verifier> = bounds.into_iter().enumerate().map(with_name).collect();
        for verifier in &verifiers {
            enrol(&broker.services, verifier.name.as_str(), 1, verifier.max_bound).await.unwrap();
        }
        let (caches_revalidate, active) = (plan.rotates && chance.percent(70), active_kid(&broker));
        let mut world = Self {
            plan,
            chance,
            now: 0,
            broker,
            issuer: TestIssuer::new(),
            verifiers,
            largest_bound,
            may_be_unbounded,
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

    pub(super) async fn run(mut self) -> Result<Witness, String> {
        while self.now < self.plan.end {
            let step = self.step_length();
            self.pass(step);
            self.operator_acts().await;
            self.keys_change().await;
            self.fleet_changes().await;
            self.enrolments_change().await;
            if self.chance.percent(20) {
                // Before a process that was paused hears anything.
                self.look()?;
            }
            for index in 0..self.instances.len() {
                if self.instances[index].wants_keys(self.now, &mut self.chance) {
                    let (keys, age) = self.key_set_response();
                    self.instances[index].receive_keys(keys, age);
                }
                if !self.instances[index].is_paused(self.now) && self.chance.thousandths(self.plan.suspension) {
                    let until = self.now + self.chance.between(10_000, 800_000);
                    self.instances[index].suspend(until);
                    self.witness.suspensions += 1;
                }
                self.instances[index].step(self.now, &self.broker.services, &mut self.chance).await;
            }
            self.confirm().await?;
            self.look()?;
        }
        self.witness.rejected_reports += self.instances.iter().map(Instance::rejected_reports).sum::<u64>();
        self.witness.forged_acceptances += self.instances.iter().map(Instance::forged_acceptances).sum::<u64>();
        Ok(self.witness)
    }

    pub(super) fn step_length(&mut self) -> i64 {
        self.fences.retain(|fence| fence + NEAR_FENCE > self.now);
        let is_near = self.fences.iter().any(|fence| self.now > fence - NEAR_FENCE);
        self.chance.between(50, if is_near { 500 } else { self.plan.longest_step })
    }

    pub(super) fn pass(&mut self, milliseconds: i64) {
        self.now += milliseconds;
        let step = Duration::from_millis(milliseconds.unsigned_abs());
        self.broker.clock.advance(step);
        for instance in &self.instances {
            instance.pass(self.now, step);
        }
    }
}

pub(super) fn active_kid(broker: &TestServices) -> String {
    broker.services.issuer.ring().active.id().as_str().to_owned()
}

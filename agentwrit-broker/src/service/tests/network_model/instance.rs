//! An instance of a verifier: a real follower with identity behind a bad network, on a clock of its own.

mod reporting;

use std::fmt;

use agentwrit_verify::{
    Clock as _, FeedError, KeySet,
    feed::Staleness,
    report::{InstanceId, VerifierName},
    testing::{TestFollower, TestIssuer},
};

use self::reporting::{ReportResponse, SentReport};
use super::{super::*, Chance, forger::Forger, world::Verifier};

/// Largest delay of an instance's clock, in milliseconds.
const LEEWAY: i64 = 5_000;

/// A message on its way, and the time of its arrival.
type InFlight<M> = Vec<(i64, M)>;

pub(super) struct Instance {
    number: u64,
    name: VerifierName,
    id: InstanceId,
    follower: TestFollower,
    clock: ManualClock,
    bound: Option<i64>,
    responses: InFlight<String>,
    seen: Vec<String>,
    next_poll: i64,
    reports: InFlight<SentReport>,
    report_responses: InFlight<ReportResponse>,
    forger: Option<Forger>,
    rejected_reports: u64,
    next_report: i64,
    reported: Option<String>,
    wants_new_keys: bool,
    next_fetch: i64,
    paused_until: i64,
    /// Until then the machine sleeps: its monotonic clock stands still.
    suspended_until: i64,
    disconnected_until: i64,
}

impl Instance {
    pub(super) fn start(
        issuer: &TestIssuer,
        true_clock: &ManualClock,
        keys: KeySet,
        verifier: Verifier,
        (number, now): (u64, i64),
        chance: &mut Chance,
    ) -> Self {
        let skew = if chance.percent(50) { -LEEWAY } else { chance.between(-LEEWAY, 1_000) };
        let (time, step) = (true_clock.now(), Duration::from_millis(skew.unsigned_abs()));
        let clock = ManualClock::new(if skew < 0 { time.saturating_sub(step) } else { time.saturating_add(step) });
        let bound = verifier.max_bound.map(|max| {
            let max = i64::try_from(max).unwrap();
            if chance.percent(40) { max } else { chance.between(18, max) }
        });
        let staleness = match bound {
            Some(bound) => Staleness::at_most(Duration::from_secs(bound.unsigned_abs())),
            None => Staleness::default().accept_stale(),
        };
        let id = InstanceId::from_bytes(std::array::from_fn(|_| u8::try_from(chance.next() % 256).unwrap()));
        let name = verifier.name.clone();
        let follower = TestFollower::with_clock(issuer, staleness, clock.clone()).with_identity(verifier.name, id);
        follower.set_keys(keys);
        Self {
            number,
            name,
            follower,
            clock,
            bound,
            responses: Vec::new(),
            seen: Vec::new(),
            next_poll: now,
            reports: Vec::new(),
            report_responses: Vec::new(),
            forger: None,
            rejected_reports: 0,
            id,
            suspended_until: now,
            next_report: now,
            reported: None,
            wants_new_keys: false,
            next_fetch: now + 300_000,
            paused_until: now,
            disconnected_until: now,
        }
    }

    pub(super) fn pass(&self, now: i64, step: Duration) {
        if now < self.suspended_until {
            self.clock.set(self.clock.now().saturating_add(step));
        } else {
            // A process that is paused misses none of the time.
            self.clock.advance(step);
        }
    }

    /// Puts a proxy that forges acceptances between this instance and its broker.
    pub(super) fn put_behind(&mut self, forger: Forger) {
        self.forger = Some(forger);
    }

    /// Returns the number of 204s that the proxy forged.
    pub(super) fn forged_acceptances(&self) -> u64 {
        self.forger.as_ref().map_or(0, Forger::forged)
    }

    /// Suspends the machine.
    pub(super) fn suspend(&mut self, until: i64) {
        (self.suspended_until, self.paused_until) = (until, until);
    }

    pub(super) fn name_and_id(&self) -> (VerifierName, InstanceId) {
        (self.name.clone(), self.id)
    }

    pub(super) fn rejected_reports(&self) -> u64 {
        self.rejected_reports
    }

    pub(super) fn is_paused(&self, now: i64) -> bool {
        now < self.paused_until
    }

    pub(super) fn bound_ms(&self) -> Option<i64> {
        self.bound.map(|bound| bound * 1000)
    }

    pub(super) fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.follower.verifier().verify(token)
    }

    /// Returns whether a fetch of the key set is due and gets through.
    pub(super) fn wants_keys(&mut self, now: i64, chance: &mut Chance) -> bool {
        let announced = self.wants_new_keys || self.follower.misses_announced_key();
        let is_reachable = !self.is_paused(now) && now >= self.disconnected_until;
        if !is_reachable || !(announced || now >= self.next_fetch) || chance.percent(20) {
            return false;
        }
        self.next_fetch = now + 300_000;
        true
    }

    /// Takes over a key set, and how long a cache held it.
    pub(super) fn receive_keys(&mut self, keys: KeySet, age: Duration) {
        self.wants_new_keys = false;
        match self.clock.monotonic().checked_sub(age) {
            Some(as_of) => self.follower.set_keys_as_of(keys, as_of),
            None => self.follower.set_keys(keys),
        }
    }

    /// Loses what is on its way to and from the broker.
    pub(super) fn lose_messages(&mut self) {
        self.responses.clear();
        self.reports.clear();
        self.report_responses.clear();
    }

    /// Loses the connection after a last response, which may arrive late, until after its bound. Returns the time at which
    /// the list of that response is stale.
    pub(super) async fn cut_off(&mut self, now: i64, broker: &Services, chance: &mut Chance) -> Option<i64> {
        let response = broker.feed.since(self.follower.feed().since(), Duration::ZERO, CLIENT).await.unwrap();
        let longest = if chance.percent(50) { 0 } else { 15_000 };
        self.responses.push((now + chance.between(0, longest), response.document.text().clone()));
        let fence = self.bound_ms().map(|bound| now + bound);
        self.disconnected_until = fence.unwrap_or(now + 60_000) + chance.between(1_000, 10_000);
        fence
    }

    /// Follows the feed and reports, unless the process is paused. Reports that were sent arrive in any case.
    pub(super) async fn step(&mut self, now: i64, broker: &Services, chance: &mut Chance) {
        self.deliver_reports(now, broker, chance).await;
        if self.is_paused(now) {
            return;
        }
        if chance.percent(1) {
            self.paused_until = now + chance.between(1_000, 70_000);
        }
        if now >= self.disconnected_until && chance.percent(1) {
            self.disconnected_until = now + chance.between(1_000, 70_000);
        }
        self.follow(now, broker, chance).await;
        self.report(now, chance);
    }

    /// Polls the feed, and applies what arrives.
    async fn follow(&mut self, now: i64, broker: &Services, chance: &mut Chance) {
        if now >= self.next_poll && now >= self.disconnected_until {
            let wait = i64::try_from(self.follower.feed().wait().as_millis()).unwrap();
            self.next_poll = now + chance.between(100, wait);
            let response = broker.feed.since(self.follower.feed().since(), Duration::ZERO, CLIENT).await.unwrap();
            let response = response.document.text();
            self.seen.push(response.clone());
            let (lost, repeated) = (chance.percent(15), chance.percent(10));
            let response = if repeated { self.seen[chance.pick(self.seen.len())].clone() } else { response };
            if !lost {
                let longest = if chance.percent(85) { 100 } else { 30_000 };
                self.responses.push((now + chance.between(0, longest), response));
            }
        }
        for response in take_arrived(&mut self.responses, now) {
            match self.follower.deliver(&response) {
                Err(FeedError::UnknownKey { .. }) => self.wants_new_keys = true,
                Err(error) if error.needs_snapshot() => self.next_poll = now,
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Takes the messages that have arrived, in the order of their arrival.
fn take_arrived<M>(in_flight: &mut InFlight<M>, now: i64) -> Vec<M> {
    let (mut arrived, waiting): (Vec<_>, Vec<_>) = in_flight.drain(..).partition(|(arrives, _)| *arrives <= now);
    *in_flight = waiting;
    arrived.sort_by_key(|(arrives, _)| *arrives);
    arrived.into_iter().map(|(_, message)| message).collect()
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cursor = self.follower.feed().list().cursor().map(|cursor| cursor.to_string());
        write!(f, "instance {} of {} with bound {:?}, at {cursor:?}", self.number, self.name, self.bound)
    }
}

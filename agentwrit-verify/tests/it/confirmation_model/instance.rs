//! An instance of a verifier: a real follower with identity behind a bad network, on a clock of its own.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{
    Claims, Clock as _, FeedError, KeySet, UnixTime, VerifyError,
    confirmation::EnrolledVerifier,
    feed::Staleness,
    report::{InstanceId, VerifierName},
    testing::{ManualClock, TestFollower, TestIssuer},
};

use super::broker::Brokers;
use crate::network::Chance;

/// Largest delay of an instance's clock, in milliseconds.
const LEEWAY: i64 = 5_000;
/// Time between two scheduled fetches of the key set, in milliseconds.
const REFRESH: i64 = 30_000;

pub(super) struct Instance {
    number: u64,
    name: VerifierName,
    follower: TestFollower,
    clock: ManualClock,
    bound: Option<i64>,
    in_flight: Vec<(i64, String)>,
    seen: Vec<String>,
    next_poll: i64,
    next_report: i64,
    reported: Option<String>,
    /// Monotonic time of sending each report, by its number.
    sent: Vec<(u64, Instant)>,
    wants_new_keys: bool,
    next_fetch: i64,
    paused_until: i64,
    disconnected_until: i64,
    /// True when the key set can be fetched while the feed and the reports are disconnected.
    keys_stay_connected: bool,
    /// Indices of the tokens that were rejected since this instance last heard anything: time alone makes none valid.
    rejected: HashSet<usize>,
}

impl Instance {
    pub(super) fn start(
        issuer: &TestIssuer,
        keys: KeySet,
        verifier: EnrolledVerifier,
        number: u64,
        now: i64,
        chance: &mut Chance,
    ) -> Self {
        let skew = if chance.percent(50) { -LEEWAY } else { chance.between(-LEEWAY, 1_000) };
        let time = issuer.clock().now().elapsed_since_epoch();
        let step = Duration::from_millis(skew.unsigned_abs());
        let clock =
            ManualClock::new(UnixTime::since_epoch(if skew < 0 { time.saturating_sub(step) } else { time + step }));
        let bound = verifier.max_bound.map(|max| {
            let max = i64::try_from(max).unwrap();
            if chance.percent(40) { max } else { chance.between(18, max) }
        });
        let staleness = match bound {
            Some(bound) => Staleness::at_most(Duration::from_secs(bound.unsigned_abs())),
            None => Staleness::default().accept_stale(),
        };
        let instance = InstanceId::from_bytes(std::array::from_fn(|_| u8::try_from(chance.below(256)).unwrap()));
        let name = verifier.name.clone();
        let follower =
            TestFollower::with_clock(issuer, staleness, clock.clone()).with_identity(verifier.name, instance);
        follower.set_keys(keys);
        Self {
            number,
            name,
            follower,
            clock,
            bound,
            in_flight: Vec::new(),
            seen: Vec::new(),
            next_poll: now,
            next_report: now,
            reported: None,
            sent: Vec::new(),
            wants_new_keys: false,
            next_fetch: now + REFRESH,
            paused_until: now,
            disconnected_until: now,
            keys_stay_connected: false,
            rejected: HashSet::new(),
        }
    }

    pub(super) fn pass(&self, step: Duration) {
        // A process that is paused misses none of the time.
        self.clock.advance(step);
    }

    pub(super) fn is_paused(&self, now: i64) -> bool {
        now < self.paused_until
    }

    pub(super) fn bound_ms(&self) -> Option<i64> {
        self.bound.map(|bound| bound * 1000)
    }

    /// Verifies the token of this index; `None` when it was rejected already. A rejection costs a signature each time.
    pub(super) fn verify(&mut self, index: usize, token: &str) -> Option<Result<Arc<Claims>, VerifyError>> {
        if self.rejected.contains(&index) {
            return None;
        }
        let verdict = self.follower.verifier().verify(token);
        if verdict.is_err() {
            self.rejected.insert(index);
        }
        Some(verdict)
    }

    /// Returns whether a fetch of the key set is due and gets through.
    pub(super) fn wants_keys(&mut self, now: i64, chance: &mut Chance) -> bool {
        let announced = self.wants_new_keys || self.follower.misses_announced_key();
        let is_cut = now < self.disconnected_until && !self.keys_stay_connected;
        if is_cut || !(announced || now >= self.next_fetch) || chance.percent(20) {
            return false;
        }
        self.next_fetch = now + REFRESH;
        true
    }

    /// Takes over a key set, whose response has no `Age`: a cache may have it from before.
    pub(super) fn receive_keys(&mut self, keys: KeySet) {
        self.wants_new_keys = false;
        self.follower.set_keys_as_of(keys, self.clock.monotonic());
        self.rejected.clear();
    }

    /// Loses the connection after a last response, which may arrive late, until after its bound. Returns the time at which
    /// the list of that response is stale.
    pub(super) fn cut_off(&mut self, now: i64, issuer: &TestIssuer, chance: &mut Chance) -> Option<i64> {
        let longest = if chance.percent(50) { 0 } else { 15_000 };
        let response = issuer.feed_response(self.follower.feed().since());
        self.in_flight.push((now + chance.between(0, longest), response));
        let fence = self.bound_ms().map(|bound| now + bound);
        self.disconnected_until = fence.unwrap_or(now + 60_000) + chance.between(1_000, 10_000);
        self.keys_stay_connected = chance.percent(50);
        fence
    }

    /// Polls the feed, and applies what arrives.
    pub(super) fn follow(&mut self, now: i64, issuer: &TestIssuer, chance: &mut Chance) {
        if chance.percent(1) {
            self.paused_until = now + chance.between(1_000, 70_000);
        }
        if now >= self.disconnected_until && chance.percent(1) {
            self.disconnected_until = now + chance.between(1_000, 70_000);
            self.keys_stay_connected = chance.percent(50);
        }
        if now >= self.next_poll && now >= self.disconnected_until {
            let wait = i64::try_from(self.follower.feed().wait().as_millis()).unwrap();
            self.next_poll = now + chance.between(100, wait);
            let response = issuer.feed_response(self.follower.feed().since());
            self.seen.push(response.clone());
            let lost = chance.percent(15);
            let repeated = chance.percent(10);
            let response = if repeated { self.seen[chance.pick(self.seen.len())].clone() } else { response };
            if !lost {
                let longest = if chance.percent(85) { 100 } else { 30_000 };
                self.in_flight.push((now + chance.between(0, longest), response));
            }
        }
        let (mut arrived, waiting): (Vec<_>, Vec<_>) =
            self.in_flight.drain(..).partition(|(arrives, _)| *arrives <= now);
        self.in_flight = waiting;
        arrived.sort();
        for (_, response) in arrived {
            self.rejected.clear();
            match self.follower.deliver(&response) {
                Err(FeedError::UnknownKey { .. }) => self.wants_new_keys = true,
                Err(error) if error.needs_snapshot() => self.next_poll = now,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Reports after news, else from time to time, and again until a report was accepted.
    pub(super) fn report(&mut self, now: i64, brokers: &mut Brokers, chance: &mut Chance) {
        for (sequence, cursor) in brokers.take_accepted(self.number, chance) {
            if let Some((_, sent)) = self.sent.iter().find(|(number, _)| *number == sequence) {
                self.follower.report_accepted(*sent, cursor);
                self.rejected.clear();
            }
        }
        if now < self.disconnected_until {
            return;
        }
        let cursor = self.follower.feed().list().cursor().map(|cursor| cursor.to_string());
        if cursor == self.reported && now < self.next_report {
            return;
        }
        let sent = self.clock.monotonic();
        let Some(report) = self.follower.report() else { return };
        self.reported = cursor;
        self.next_report = now + chance.between(500, 5_000);
        self.sent.push((report.sequence, sent));
        brokers.send(now, self.number, &report, chance);
    }

    /// Ends with a last report.
    pub(super) fn leave(&mut self, now: i64, brokers: &mut Brokers, chance: &mut Chance) {
        self.follower.leave();
        if let Some(report) = self.follower.report() {
            brokers.send(now, self.number, &report, chance);
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "instance {} of {} with bound {:?}, at {:?}",
            self.number,
            self.name,
            self.bound,
            self.follower.feed().list().cursor().map(|cursor| cursor.to_string())
        )
    }
}

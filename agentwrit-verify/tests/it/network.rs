//! Simulated network between a broker and a verifier, thousands of runs, each determined by its seed.
//!
//! Broker: restarts, restored backups (a new epoch and an issuer-wide mark), replaced keys. Network: loss, delay,
//! reordering, duplicates, caches with old responses. Clocks: the verifier's up to the leeway behind the broker's, or
//! ahead, and jumping. The service restarts without state too. Invariants, checked in every step:
//!
//! 1. A token is never accepted more than `max_staleness` after its revocation was acknowledged, nor after its expiry,
//!    nor after it was once rejected as revoked.
//! 2. A valid token is never rejected as revoked, and never rejected at all once the network has worked for a while.
//!
//! `AGENTWRIT_RUNS=10000` sets the number of runs, `AGENTWRIT_SEED=17` selects one.

use std::{env, thread, time::Duration};

use agentwrit_verify::{
    ClaimSet, Clock as _, FeedError, Level, VerifyError,
    feed::Staleness,
    testing::{ManualClock, TestFollower, TestIssuer},
};

use crate::support::{START, at};

const RUNS: u64 = 1_000;
/// Maximum delay of the verifier's clock, in milliseconds.
const LEEWAY: i64 = 5_000;

#[test]
fn rejects_revoked_tokens_in_time_and_accepts_valid_ones() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("AGENTWRIT_SEED") {
        World::new(seed).run().unwrap();
        return;
    }
    let runs = number("AGENTWRIT_RUNS").unwrap_or(RUNS);
    let threads: u64 = 2;
    let witnesses = thread::scope(|scope| {
        let part = |first: u64| (first..runs).step_by(threads.try_into().unwrap()).map(judged).sum::<Witness>();
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<Witness>()
    });
    // The runs meet what they are about.
    println!("{witnesses:?}");
    assert!(witnesses.accepted > runs && witnesses.revoked > runs && witnesses.stale > runs, "{witnesses:?}");
    assert!(witnesses.accepted_after_revocation > runs / 10 && witnesses.epochs > runs / 10, "{witnesses:?}");
}

fn judged(seed: u64) -> Witness {
    match World::new(seed).run() {
        Ok(witness) => witness,
        Err(violation) => panic!("AGENTWRIT_SEED={seed}: {violation}"),
    }
}

/// Counts over all runs.
#[derive(Clone, Copy, Debug, Default)]
struct Witness {
    accepted: u64,
    /// Within the bound.
    accepted_after_revocation: u64,
    revoked: u64,
    stale: u64,
    epochs: u64,
}

impl std::iter::Sum for Witness {
    fn sum<I: Iterator<Item = Self>>(witnesses: I) -> Self {
        witnesses.fold(Self::default(), |sum, one| Self {
            accepted: sum.accepted + one.accepted,
            accepted_after_revocation: sum.accepted_after_revocation + one.accepted_after_revocation,
            revoked: sum.revoked + one.revoked,
            stale: sum.stale + one.stale,
            epochs: sum.epochs + one.epochs,
        })
    }
}

/// `SplitMix64`.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(u64::try_from(high - low + 1).unwrap())).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

struct Token {
    text: String,
    claims: ClaimSet,
    /// Time of the acknowledged revocation.
    dead_since: Option<i64>,
    was_refused_as_revoked: bool,
}

/// Times are milliseconds since the start, by the broker's clock, which is the true one.
struct World {
    chance: Chance,
    now: i64,
    issuer: TestIssuer,
    service: TestFollower,
    clock: ManualClock,
    skew: i64,
    max_staleness: i64,
    tokens: Vec<Token>,
    /// Responses in transit, with their times of arrival.
    in_flight: Vec<(i64, String)>,
    /// Responses that a cache may hold.
    seen: Vec<String>,
    next_poll: i64,
    down_until: i64,
    revocations: usize,
    /// Second of the latest mark that revokes everything issued in or before it.
    marked_at: u64,
    keys: u8,
    /// The network has been well since then; none while it isn't.
    well_since: Option<i64>,
    witness: Witness,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let issuer = TestIssuer::with_seed([7; 32]);
        let clock = ManualClock::new(at(START));
        let max_staleness = chance.between(18, 45);
        let staleness = Staleness::at_most(Duration::from_secs(max_staleness.unsigned_abs()));
        let service = TestFollower::with_clock(&issuer, staleness, clock.clone());
        Self {
            now: 0,
            skew: chance.between(-LEEWAY, LEEWAY),
            issuer,
            service,
            clock,
            max_staleness: max_staleness * 1000,
            tokens: Vec::new(),
            in_flight: Vec::new(),
            seen: Vec::new(),
            next_poll: 0,
            down_until: 0,
            revocations: 0,
            marked_at: 0,
            keys: 8,
            well_since: Some(0),
            witness: Witness::default(),
            chance,
        }
    }

    fn run(mut self) -> Result<Witness, String> {
        while self.now < 180_000 {
            let step = self.chance.between(100, 2_500);
            self.pass(step);
            self.weather();
            self.broker_acts();
            if self.chance.percent(1) {
                self.restart_service();
            }
            self.network();
            self.look()?;
        }
        Ok(self.witness)
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now += milliseconds;
        let step = Duration::from_millis(milliseconds.unsigned_abs());
        self.issuer.clock().advance(step);
        self.clock.advance(step);
        let shown = i64::try_from(START * 1000).unwrap() + self.now + self.skew;
        let shown = Duration::from_millis(shown.unsigned_abs());
        self.clock.set(agentwrit_verify::UnixTime::since_epoch(shown));
    }

    /// Good times and bad ones.
    fn weather(&mut self) {
        match self.well_since {
            Some(since) if self.now - since > 20_000 && self.chance.percent(4) => {
                self.well_since = None;
                self.skew = self.behind_or(30_000);
            }
            None if self.chance.percent(3) => {
                self.well_since = Some(self.now);
                self.skew = self.behind_or(2_000);
                self.down_until = self.now;
            }
            Some(_) | None => {}
        }
    }

    /// Often as far behind as is allowed for: there it matters.
    fn behind_or(&mut self, ahead: i64) -> i64 {
        if self.chance.percent(60) { -LEEWAY } else { self.chance.between(-LEEWAY, ahead) }
    }

    /// Restarts the service without state; it polls at once.
    fn restart_service(&mut self) {
        let staleness = Staleness::at_most(Duration::from_millis(self.max_staleness.unsigned_abs()));
        self.service = TestFollower::with_clock(&self.issuer, staleness, self.clock.clone());
        self.in_flight.clear();
        self.next_poll = self.now;
        self.well_since = self.well_since.map(|_| self.now);
        for token in &mut self.tokens {
            // Without a state file the service can receive a response as old as the bound.
            token.was_refused_as_revoked = false;
        }
    }

    fn is_up(&self) -> bool {
        self.now >= self.down_until
    }

    fn broker_acts(&mut self) {
        if !self.is_up() {
            return;
        }
        if self.tokens.len() < 40 && self.chance.percent(30) {
            self.issue();
        }
        if self.chance.percent(8) && !self.tokens.is_empty() {
            self.revoke();
        }
        if self.keys < 40 && self.chance.percent(2) {
            self.issuer.rotate_key([self.keys; 32]);
            self.keys += 1;
        }
        if self.well_since.is_none() && self.chance.percent(2) {
            self.down_until = self.now + self.chance.between(500, 30_000);
            if self.chance.percent(40) {
                let kept = self.chance.pick(self.revocations + 1);
                self.issuer.restore_backup(kept);
                self.revocations = kept + 1;
                self.witness.epochs += 1;
                self.marked_at = self.issuer.clock().now().seconds();
                self.kill(|_| true);
            }
        }
    }

    fn issue(&mut self) {
        let mut claims = self.issuer.claims(&["a:b:c"]);
        if self.chance.percent(50) {
            claims.exp = claims.iat + self.chance.next() % 60 + 5;
        }
        let text = self.issuer.sign(&claims);
        let dead_since = (claims.iat <= self.marked_at).then_some(self.now);
        self.tokens.push(Token { text, claims, dead_since, was_refused_as_revoked: false });
    }

    fn revoke(&mut self) {
        let victim = self.tokens[self.chance.pick(self.tokens.len())].claims.clone();
        let level = [Level::Token, Level::Session, Level::Agent, Level::Chain, Level::Task][self.chance.pick(5)];
        let target = match level {
            Level::Token => victim.jti.to_string(),
            Level::Session => victim.sid.to_string(),
            Level::Agent | Level::Chain => victim.sub.to_string(),
            Level::Task => victim.task_id.as_ref().unwrap().to_string(),
            Level::Issuer => String::new(),
        };
        // The entry lives as long as the longest-lived token that it affects, and not a second longer.
        let affected = |claims: &ClaimSet| level == Level::Task || claims.jti == victim.jti;
        let affected_now = self.tokens.iter().filter(|token| affected(&token.claims));
        let until = affected_now.map(|token| token.claims.exp).max().unwrap_or(victim.exp);
        self.issuer.revoke_until(level, &target, at(until));
        self.revocations += 1;
        if level == Level::Task {
            self.marked_at = self.issuer.clock().now().seconds();
        }
        self.kill(affected);
    }

    fn kill(&mut self, affected: impl Fn(&ClaimSet) -> bool) {
        for token in self.tokens.iter_mut().filter(|token| affected(&token.claims)) {
            token.dead_since.get_or_insert(self.now);
        }
    }

    fn network(&mut self) {
        if self.now >= self.next_poll {
            let wait = i64::try_from(self.service.feed().wait().as_millis()).unwrap();
            self.next_poll = self.now + self.chance.between(200, wait);
            self.ask();
        }
        let (arrived, on_their_way) = self.in_flight.drain(..).partition(|(arrives, _)| *arrives <= self.now);
        self.in_flight = on_their_way;
        let mut arrived: Vec<(i64, String)> = arrived;
        arrived.sort();
        for (_, response) in arrived {
            match self.service.deliver(&response) {
                Err(FeedError::UnknownKey { .. }) => {
                    self.service.fetch_keys(&self.issuer);
                    self.next_poll = self.now;
                }
                Err(error) if error.needs_snapshot() => self.next_poll = self.now,
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn ask(&mut self) {
        if !self.is_up() {
            return;
        }
        let response = self.issuer.feed_response(self.service.feed().since());
        self.seen.push(response.clone());
        if self.well_since.is_some() {
            let delay = self.chance.between(0, 100);
            self.in_flight.push((self.now + delay, response));
            return;
        }
        if self.chance.percent(40) {
            return;
        }
        let response =
            if self.chance.percent(30) { self.seen[self.chance.pick(self.seen.len())].clone() } else { response };
        for _ in 0..=u64::from(self.chance.percent(20)) {
            let longest = if self.chance.percent(50) { 300 } else { 60_000 };
            let delay = self.chance.between(0, longest);
            self.in_flight.push((self.now + delay, response.clone()));
        }
    }

    fn is_of_interest(&self, token: &Token) -> bool {
        let exp = i64::try_from((token.claims.exp - START) * 1000).unwrap();
        !token.was_refused_as_revoked && self.now < exp + LEEWAY + 2_000
    }

    fn look(&mut self) -> Result<(), String> {
        // Time for a poll, a key fetch and another poll, and a second for rounding.
        let wait = i64::try_from(self.service.feed().wait().as_millis()).unwrap();
        let well = self.well_since.is_some_and(|since| self.now - since > 2 * wait + 8_000);
        // A rejected token costs a signature each time, so it is tried rarely.
        let rarely = self.chance.percent(10);
        let of_interest: Vec<usize> =
            (0..self.tokens.len()).filter(|index| rarely || self.is_of_interest(&self.tokens[*index])).collect();
        let some = (!of_interest.is_empty()).then(|| of_interest[self.chance.pick(of_interest.len())]);
        if let Some(token) = some.and_then(|index| self.tokens.get_mut(index)) {
            let verdict = self.service.verifier().verify(&token.text);
            let (now, exp) = (self.now, i64::try_from((token.claims.exp - START) * 1000).unwrap());
            let dead_for = token.dead_since.map(|since| now - since);
            let context = || format!("at {now}, skew {}, dead for {dead_for:?}, expires at {exp}: ", self.skew);
            match verdict {
                Ok(_) if dead_for.is_some_and(|dead| dead > self.max_staleness) => {
                    return Err(context() + "accepted too long after its revocation");
                }
                Ok(_) if token.was_refused_as_revoked => return Err(context() + "accepted after it was refused"),
                Ok(_) if now >= exp + LEEWAY => return Err(context() + "accepted after its expiry"),
                Ok(_) => {
                    self.witness.accepted += 1;
                    self.witness.accepted_after_revocation += u64::from(dead_for.is_some());
                }
                Err(VerifyError::Revoked { .. }) if dead_for.is_none() => {
                    return Err(context() + "rejected as revoked without a revocation");
                }
                Err(VerifyError::Revoked { .. }) => {
                    token.was_refused_as_revoked = true;
                    self.witness.revoked += 1;
                }
                // A new key, and the first token that names it.
                Err(VerifyError::UnknownKey { .. }) => self.service.fetch_keys(&self.issuer),
                Err(error) if well && dead_for.is_none() && now.max(now + self.skew) < exp => {
                    return Err(context() + &format!("refused though it is valid and the network well: {error}"));
                }
                Err(error) => self.witness.stale += u64::from(error.is_unavailable()),
            }
        }
        Ok(())
    }
}

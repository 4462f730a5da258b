//! Instances that read the feed of one database's broker and report to the broker of another one, which was made from a copy of
//! it: both run, behind the same address.
//!
//! 1. An instance reports at least every 6 s: within its bound and a second after any commit.
//! 2. Its list was true after something that it lacks, so that no fence holds for it. The broker that receives the reports names
//!    it and confirms nothing while it may accept tokens.

use agentwrit_verify::{
    Clock as _, FeedCursor,
    confirmation::ConfirmationState::{Confirmed, Pending, Unbounded},
    feed::Staleness,
    report::{InstanceId, Report},
    testing::{TestFollower, TestIssuer},
};

use super::{
    network_model::Chance,
    verifiers::{enrol, key, name, rejected, report, send},
    *,
};
use crate::{service::verifiers::ReportRejection, store::Tx};

const SECOND: Duration = Duration::from_secs(1);

impl TestServices {
    /// Sends a report of a list that was true a second ago.
    async fn report_of(&self, applied: FeedCursor, sequence: u64) -> Result<FeedCursor, Error> {
        let true_at = Some(self.clock.now().saturating_sub(SECOND));
        let report = Report { applied, true_at, ..report(&self.services, "api", 1, sequence) };
        send(&self.services, &report, 1).await
    }

    fn cursor(&self) -> FeedCursor {
        let end = self.services.feed.end();
        FeedCursor::new(&end.epoch, end.cursor).unwrap()
    }
}

#[tokio::test]
async fn instance_whose_list_is_newer_than_commit_that_it_lacks_is_not_fenced() {
    for is_restored in [false, true] {
        let test = TestServices::new().await;
        enrol(&test.services, "api", 1, Some(60)).await.unwrap();
        test.clock.advance(Duration::from_secs(3600));
        let own = test.cursor();
        let other = if is_restored { FeedCursor::new("another", 7).unwrap() } else { own.clone() };
        test.report_of(own, 1).await.unwrap();
        let cursor = test.revoke_one().await;
        test.clock.advance(Duration::from_millis(1_500));
        if !is_restored {
            // It may just not have heard of it.
            test.report_of(other.clone(), 2).await.unwrap();
            assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(30)]));
        }
        for sequence in 3..60 {
            test.clock.advance(Duration::from_secs(8));
            let outcome = test.report_of(other.clone(), sequence).await;
            assert_eq!(rejected(outcome), ReportRejection::OtherDatabase, "{is_restored} {sequence}");
            assert_eq!(test.figures(&cursor).await, (Unbounded, 0, 0, vec![None]), "{is_restored} {sequence}");
        }
        let metrics = test.services.metrics.encode();
        let counted = "agentwrit_verifier_reports_rejected_total{reason=\"other_database\"} 57";
        assert!(metrics.contains(counted), "{metrics}");
        // It follows this database again, and another one later: no report of it was accepted for a lease.
        test.report_of(test.cursor(), 100).await.unwrap();
        assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 0, vec![]), "{is_restored}");
        let next = test.revoke_one().await;
        for sequence in 101..170 {
            assert_ne!(test.figures(&next).await.0, Confirmed, "{is_restored} {sequence}");
            test.clock.advance(Duration::from_secs(8));
            assert!(test.report_of(other.clone(), sequence).await.is_err());
        }
        test.clock.advance(Duration::from_secs(51));
        assert_eq!(test.figures(&next).await, (Confirmed, 0, 0, vec![]), "{is_restored}");
    }
}

/// A report without `true_at`, of an older verifier, and one whose list is older than what it lacks.
#[tokio::test]
async fn instance_that_may_not_have_heard_of_commit_is_fenced() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    test.clock.advance(Duration::from_secs(3600));
    let before = Some(test.clock.now());
    let applied = test.cursor();
    let cursor = test.revoke_one().await;
    for (sequence, true_at) in [(1, None), (2, before)] {
        test.clock.advance(Duration::from_secs(8));
        let lagging = Report { applied: applied.clone(), true_at, ..report(&test.services, "api", 1, sequence) };
        send(&test.services, &lagging, 1).await.unwrap();
        assert_eq!(test.figures(&cursor).await.0, Pending);
    }
    test.clock.advance(Duration::from_secs(15));
    assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 1, vec![]));
}

/// The wall clock was two hours behind at the commit.
#[tokio::test]
async fn wrong_clock_at_commit_makes_no_instance_that_of_another_database() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    test.clock.advance(Duration::from_secs(3600));
    let (right, applied) = (test.clock.now(), test.cursor());
    test.clock.set(right.saturating_sub(Duration::from_secs(7200)));
    test.revoke_one().await;
    test.clock.set(right);
    test.clock.advance(Duration::from_secs(5));
    let lagging = Report { applied, true_at: Some(right), ..report(&test.services, "api", 1, 1) };
    send(&test.services, &lagging, 1).await.unwrap();
}

/// A report on its way, or the response to one: the time of its arrival, and that of sending.
type Sent<T> = Vec<(i64, std::time::Instant, T)>;

struct Instance {
    follower: TestFollower,
    bound: i64,
    /// Time from which it reads the feed of the second database.
    moves_at: i64,
    next_poll: i64,
    next_report: i64,
    reports: Sent<String>,
    responses: Sent<Option<FeedCursor>>,
}

#[derive(Debug, Default)]
struct Witness {
    confirmed: u64,
    unbounded: u64,
    rejected: u64,
    /// Tokens that were accepted after a fence that did not count.
    accepted_beyond_bound: u64,
    accepted_after_move: u64,
}

type Token = (Agent, Option<(i64, FeedCursor)>, bool);

struct World {
    chance: Chance,
    now: i64,
    former: TestServices,
    latter: TestServices,
    instances: Vec<Instance>,
    /// Tokens of the second database: text, time of the revocation, its cursor, and whether it is confirmed.
    tokens: Vec<Token>,
    witness: Witness,
}

#[tokio::test]
async fn confirms_nothing_that_instance_of_another_database_accepts() {
    let mut total = Witness::default();
    let runs = std::env::var("AGENTWRIT_RUNS").map_or(12, |text| text.parse().unwrap());
    for seed in 0..runs {
        let witness = World::new(seed).await.run().await.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        total.confirmed += witness.confirmed;
        total.unbounded += witness.unbounded;
        total.rejected += witness.rejected;
        total.accepted_beyond_bound += witness.accepted_beyond_bound;
        total.accepted_after_move += witness.accepted_after_move;
    }
    println!("{runs} runs: {total:?}");
    // The runs meet what they are about.
    assert!(total.confirmed > runs && total.unbounded > runs && total.rejected > runs, "{total:?}");
    assert!(total.accepted_beyond_bound > runs && total.accepted_after_move > runs, "{total:?}");
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let clock = ManualClock::new(UnixTime::since_epoch(START));
        let settings = |config: &mut Config| TestIssuer::ISSUER.clone_into(&mut config.issuer);
        let former = TestServices::open(TempDir::new().unwrap(), clock.clone(), settings).await;
        let issuer = TestIssuer::new();
        let mut instances = Vec::new();
        for n in 0..3 {
            let bound = chance.between(18, 40);
            let verifier = format!("service-{n}");
            enrol(&former.services, &verifier, 1, Some(bound.unsigned_abs())).await.unwrap();
            let staleness = Staleness::at_most(Duration::from_secs(bound.unsigned_abs()));
            let follower = TestFollower::with_clock(&issuer, staleness, clock.clone())
                .with_identity(name(&verifier), InstanceId::from_bytes([n; 16]));
            follower.set_keys(former.services.issuer.ring().published.clone());
            let moves_at = if chance.percent(30) { 0 } else { chance.between(0, 200_000) };
            let (reports, responses) = (Vec::new(), Vec::new());
            instances.push(Instance { follower, bound, moves_at, next_poll: 0, next_report: 0, reports, responses });
        }
        // Every instance has a lease of the first broker.
        for instance in &mut instances {
            instance.poll(&former.services).await;
            let report = instance.follower.report().unwrap().sign(&key(1));
            let accepted = former.services.verifiers.report(&report, CLIENT).await.unwrap();
            instance.follower.report_accepted(clock.monotonic(), accepted.at_least);
        }
        let is_restored = chance.percent(60);
        let (former, latter) = split(former, clock, settings, is_restored).await;
        Self { chance, now: 0, former, latter, instances, tokens: Vec::new(), witness: Witness::default() }
    }

    async fn run(mut self) -> Result<Witness, String> {
        while self.now < 240_000 {
            let step = self.chance.between(50, 1_000);
            self.now += step;
            self.latter.clock.advance(Duration::from_millis(step.unsigned_abs()));
            self.operator_acts().await;
            for instance in &mut self.instances {
                let feed = if self.now < instance.moves_at { &self.former } else { &self.latter };
                let rejected = instance.step(self.now, &feed.services, &self.latter.services, &mut self.chance).await;
                self.witness.rejected += rejected;
            }
            self.confirm().await;
            self.look()?;
        }
        Ok(self.witness)
    }

    async fn operator_acts(&mut self) {
        if self.tokens.len() < 12 && self.chance.percent(5) {
            self.tokens.push((self.latter.enrol("task", 300).await, None, false));
        }
        let alive = self.tokens.iter_mut().find(|(_, revoked, _)| revoked.is_none());
        if self.chance.percent(4)
            && let Some((agent, revoked, _)) = alive
        {
            let outcome = self.latter.request_revocation(Level::Agent, &agent.id, false).await;
            *revoked = Some((self.now, outcome.cursor));
        }
    }

    async fn confirm(&mut self) {
        for (_, revoked, is_confirmed) in self.tokens.iter_mut().filter(|(_, _, is_confirmed)| !is_confirmed) {
            let Some((_, cursor)) = revoked else { continue };
            match self.latter.confirmation(cursor).await.confirmation.state {
                Confirmed => {
                    *is_confirmed = true;
                    self.witness.confirmed += 1;
                }
                Unbounded => self.witness.unbounded += 1,
                Pending => {}
            }
        }
    }

    fn look(&mut self) -> Result<(), String> {
        for (index, (agent, revoked, is_confirmed)) in self.tokens.iter().enumerate() {
            for instance in &self.instances {
                if instance.follower.verifier().verify(&agent.token).is_err() {
                    continue;
                }
                let dead_for = revoked.as_ref().map(|(at, _)| self.now - at);
                if *is_confirmed {
                    let Instance { bound, moves_at, .. } = instance;
                    let now = self.now;
                    return Err(format!(
                        "at {now}: token {index}, dead for {dead_for:?}, accepted with bound {bound}, moves at {moves_at}"
                    ));
                }
                let is_fenced = dead_for.is_some_and(|dead_for| dead_for > (instance.bound + 1) * 1_000);
                self.witness.accepted_beyond_bound += u64::from(is_fenced);
                self.witness.accepted_after_move += u64::from(self.now > instance.moves_at);
            }
        }
        Ok(())
    }
}

/// Copies the database and the keys, and starts a broker on each copy. With `is_restored` the second one begins another epoch.
async fn split(
    former: TestServices,
    clock: ManualClock,
    settings: impl Fn(&mut Config),
    is_restored: bool,
) -> (TestServices, TestServices) {
    let (directory, copy) = (former.directory, TempDir::new().unwrap());
    former.services.ledger.store.clone().close().await;
    for entry in std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let former = TestServices::open(directory, clock.clone(), &settings).await;
    let mut latter = TestServices::open(copy, clock, settings).await;
    if is_restored {
        let start_epoch = |tx: &mut Tx<'_>| tx.start_epoch();
        latter.services.ledger.transact(start_epoch).await.unwrap();
        latter.restart_at(latter.clock.now()).await;
    }
    (former, latter)
}

impl Instance {
    async fn poll(&mut self, broker: &Services) {
        let response = broker.feed.since(self.follower.feed().since(), Duration::ZERO, CLIENT).await.unwrap();
        if self.follower.deliver(&response.document.text()).is_err() {
            let response = broker.feed.since(None, Duration::ZERO, CLIENT).await.unwrap();
            // Within a second, one log can't be told from the other: the next response is later.
            let _is_replayed = self.follower.deliver(&response.document.text()).is_err();
        }
    }

    /// Reads the feed of one broker and reports to the other. Returns the number of reports that it rejected.
    async fn step(&mut self, now: i64, feed: &Services, broker: &Services, chance: &mut Chance) -> u64 {
        let mut rejected = 0;
        for (sent, text) in take_arrived(&mut self.reports, now) {
            let response = match broker.verifiers.report(&text, CLIENT).await {
                Ok(accepted) => Some(accepted.at_least),
                Err(Error::Report(ReportRejection::OtherDatabase)) => {
                    rejected += 1;
                    None
                }
                Err(_) => continue,
            };
            // An instance that learns of a rejection accepts no token: most do not.
            if chance.percent(if response.is_some() { 80 } else { 3 }) {
                self.responses.push((now + chance.between(0, 1_000), sent, response));
            }
        }
        for (sent, response) in take_arrived(&mut self.responses, now) {
            match response {
                Some(at_least) => self.follower.report_accepted(sent, at_least),
                None => self.follower.report_rejected(),
            }
        }
        if now >= self.next_poll {
            let wait = i64::try_from(self.follower.feed().wait().as_millis()).unwrap();
            self.next_poll = now + chance.between(100, wait);
            self.poll(feed).await;
        }
        if now >= self.next_report {
            self.next_report = now + chance.between(1_000, 4_000);
            let sent = broker.ledger.monotonic();
            let report = self.follower.report().unwrap().sign(&key(1));
            self.reports.push((now + chance.between(0, 1_000), sent, report));
        }
        rejected
    }
}

/// Takes the messages that have arrived.
fn take_arrived<T>(in_flight: &mut Sent<T>, now: i64) -> Vec<(std::time::Instant, T)> {
    let (arrived, waiting): (Vec<_>, Vec<_>) = in_flight.drain(..).partition(|(arrives, _, _)| *arrives <= now);
    *in_flight = waiting;
    arrived.into_iter().map(|(_, sent, message)| (sent, message)).collect()
}

//! Followers in this process, 200 or `AGENTWRIT_FOLLOWERS`, each with its own connection to the broker, its own revocation list and cache.
//!
//! 1. Each follower is looked at every millisecond, by a thread of its own for all of them.
//! 2. *Processor time* of a change is what broker and followers use from its request to the last refusal, or to the
//!    confirmation: what processes of their own would divide among them.
//! 3. Followers with an identity report each change. *Confirmed* is the time from the broker's 200 to its response that
//!    every instance has applied the change.
//! 4. Behind a mirror, the broker has the connections of the mirror only.
//! 5. More than 2,000 followers need several addresses, of which each gets its share of the broker's connections: as root
//!    `for i in 1 2 3 4; do ip address add 10.9.0.$i/32 dev lo; done`, then `AGENTWRIT_ADDRESSES=10.9.0.1,10.9.0.2,10.9.0.3,10.9.0.4`.
//! 6. A withdrawal ends the key that signs. With a *prepared* key, each follower has the next one already.

use std::{
    env, fs,
    time::{Duration, Instant},
};

use agentwrit_e2e::{Broker, Mirror, protected_header};
use agentwrit_verify::{KeyId, Verifier, issue::SigningKey, remote::Follower, report::VerifierName};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::sleep};

use crate::{PATIENCE, report, revoke, start, start_on_every_address, tokens};

/// Followers without `AGENTWRIT_FOLLOWERS`.
const FOLLOWERS: usize = 200;
/// Followers that are started at a time.
const STARTS: usize = 32;
const REVOCATIONS: usize = 50;
const CONFIRMATIONS: usize = 30;
const WITHDRAWALS: usize = 20;
const WITHDRAWALS_WITHOUT_PREPARED_KEY: usize = 10;
/// Time in which a follower regains the right to send the report of a change: one a second, and a few at once.
const PAUSE_PER_REPORT: Duration = Duration::from_millis(1100);
const VERIFIER: &str = "records-api";

/// Number of followers of a run.
fn number() -> usize {
    env::var("AGENTWRIT_FOLLOWERS").map_or(FOLLOWERS, |text| text.parse().unwrap())
}

/// Local addresses that followers connect to in turn, and so come from: one address gets a quarter of the broker's places.
fn addresses() -> Vec<String> {
    env::var("AGENTWRIT_ADDRESSES").map_or_else(|_| Vec::new(), |list| list.split(',').map(str::to_owned).collect())
}

pub(crate) async fn measure() {
    let mut followers = Followers::start(false, false).await;
    let changes = followers.revoke_tokens(REVOCATIONS).await;
    changes.report(&format!("{} followers, {REVOCATIONS} revocations", number()));
}

pub(crate) async fn measure_reporting() {
    let mut followers = Followers::start(true, false).await;
    let changes = followers.revoke_tokens(CONFIRMATIONS).await;
    changes.report(&format!("{} that report, {CONFIRMATIONS} revocations", number()));
    followers
        .withdraw_keys(WITHDRAWALS, true)
        .await
        .report(&format!("{} that report, {WITHDRAWALS} withdrawals", number()));
    let changes = followers.withdraw_keys(WITHDRAWALS_WITHOUT_PREPARED_KEY, false).await;
    changes.report("10 withdrawals without a prepared key");
}

/// The same revocations with Varnish between the broker and its followers.
pub(crate) async fn measure_behind_mirror() {
    let mut followers = Followers::start(false, true).await;
    let changes = followers.revoke_tokens(REVOCATIONS).await;
    changes.report(&format!("{} followers of a mirror, {REVOCATIONS} revocations", number()));
}

struct Followers {
    broker: Broker,
    _mirror: Option<Mirror>,
    members: Vec<(Follower, Verifier)>,
    reporting: bool,
}

/// Times of several changes.
#[derive(Default)]
struct Changes {
    /// Of each follower.
    each: Vec<Duration>,
    /// Of the last follower, for each change.
    last: Vec<Duration>,
    confirmed: Vec<Duration>,
    /// Processor time of the broker, and of this process.
    work: [Duration; 2],
    /// Reports that followers sent, and those of them that failed.
    reports: [u64; 2],
}

impl Followers {
    async fn start(reporting: bool, mirrored: bool) -> Self {
        let addresses = addresses();
        let broker = if addresses.is_empty() { start().await } else { start_on_every_address().await };
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        if reporting {
            let public_key = data_encoding::BASE64.encode(key.public_key().as_bytes());
            let body = json!({"name": VERIFIER, "public_key": public_key});
            change(&broker, "/v1/admin/verifiers", &broker.admin_token().await, &body).await;
        }
        let mirror = if mirrored { Some(Mirror::start(&broker.url).await) } else { None };
        let port = broker.url.rsplit_once(':').unwrap().1;
        let source = |index: usize| match (&mirror, addresses.get(index % addresses.len().max(1))) {
            (Some(mirror), _) => mirror.url.clone(),
            (None, Some(address)) => format!("http://{address}:{port}"),
            (None, None) => broker.url.clone(),
        };
        let start = |index| {
            let mut builder = Follower::builder(&source(index)).issuer("https://agentwrit.local");
            if reporting {
                builder = builder.identity(VerifierName::parse(VERIFIER).unwrap(), key.clone());
            }
            async move {
                let follower = builder.start().await.unwrap();
                let verifier = follower.verifier().build();
                (follower, verifier)
            }
        };
        let members = stream::iter(0..number()).map(start).buffer_unordered(STARTS).collect().await;
        Self { broker, _mirror: mirror, members, reporting }
    }

    async fn revoke_tokens(&mut self, count: usize) -> Changes {
        let admin = self.broker.admin_token().await;
        let mut changes = Changes::default();
        for token in tokens(&self.broker, &admin, count).await {
            self.rest(1).await;
            self.until_all(|_, verifier| verifier.verify(&token).is_ok()).await;
            let (before, reported) = (self.work(), self.reports());
            let (acknowledged, response) = revoke(&self.broker, &admin, &token).await;
            let watching = self.watch(token, acknowledged);
            if self.reporting {
                let cursor = response.get("cursor").and_then(Value::as_str).unwrap();
                changes.confirmed.push(self.confirmed(&admin, cursor, acknowledged).await);
            }
            changes.add(watching.await.unwrap(), before, self.work());
            for (total, (after, before)) in changes.reports.iter_mut().zip(self.reports().into_iter().zip(reported)) {
                *total += after - before;
            }
        }
        changes
    }

    async fn withdraw_keys(&mut self, count: usize, prepared: bool) -> Changes {
        let mut changes = Changes::default();
        for _ in 0..count {
            // The key that was withdrawn has signed the operator's token too.
            let admin = self.broker.admin_token().await;
            if prepared {
                let (_, next) = change(&self.broker, "/v1/admin/keys", &admin, &json!({})).await;
                let next = KeyId::parse(next.get("kid").and_then(Value::as_str).unwrap()).unwrap();
                self.until_all(|follower, _| follower.trusted_keys().key_set().unwrap().find(&next).is_some()).await;
            }
            let (token, _) = self.broker.agent(&admin, &["read:data:x"]).await;
            self.until_all(|_, verifier| verifier.verify(&token).is_ok()).await;
            self.rest(2).await;
            let header = protected_header(&token);
            let kid = header.get("kid").and_then(Value::as_str).unwrap();
            let before = self.work();
            let path = format!("/v1/admin/keys/{kid}/withdraw");
            let (acknowledged, _) = change(&self.broker, &path, &admin, &json!({})).await;
            let times = self.watch(token, acknowledged).await.unwrap();
            changes.add(times, before, self.work());
        }
        changes
    }

    /// Waits until followers may send this number of reports at once again.
    async fn rest(&self, reports: u32) {
        if self.reporting {
            sleep(PAUSE_PER_REPORT * reports).await;
        }
    }

    async fn until_all(&self, holds: impl Fn(&Follower, &Verifier) -> bool) {
        let begun = Instant::now();
        while !self.members.iter().all(|(follower, verifier)| holds(follower, verifier)) {
            assert!(begun.elapsed() < PATIENCE, "a follower is late");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns when each of the followers refuses the token.
    fn watch(&self, token: String, acknowledged: Instant) -> tokio::task::JoinHandle<Vec<Duration>> {
        let mut verifiers: Vec<Verifier> = self.members.iter().map(|(_, verifier)| verifier.clone()).collect();
        spawn_blocking(move || {
            let mut times = Vec::with_capacity(verifiers.len());
            while !verifiers.is_empty() {
                verifiers.retain(|verifier| {
                    let accepted = verifier.verify(&token).is_ok();
                    if !accepted {
                        times.push(acknowledged.elapsed());
                    }
                    accepted
                });
                assert!(acknowledged.elapsed() < PATIENCE, "{} still accept", verifiers.len());
                // Looking takes the processors from the followers: 200 cached tokens are about 0.1 ms.
                std::thread::sleep(Duration::from_millis(1));
            }
            times
        })
    }

    /// Returns the time at which the broker confirms a change.
    async fn confirmed(&self, admin: &str, cursor: &str, acknowledged: Instant) -> Duration {
        let path = format!("/v1/revocations/{cursor}/confirmation?wait=20");
        let response = self.broker.get(&path).bearer(admin).await.json();
        let confirmed = acknowledged.elapsed();
        let of_all = (Some(&json!("confirmed")), Some(&json!(number())));
        assert_eq!((response.get("state"), response.get("confirmed")), of_all, "{response}");
        confirmed
    }

    /// Number of reports that the followers have sent, and of those that failed.
    fn reports(&self) -> [u64; 2] {
        let counters = || self.members.iter().map(|(follower, _)| follower.status().counters);
        [counters().map(|counters| counters.reports).sum(), counters().map(|counters| counters.report_failures).sum()]
    }

    fn work(&self) -> [Duration; 2] {
        [processor_time(self.broker.pid()), processor_time(std::process::id())]
    }
}

impl Changes {
    fn add(&mut self, times: Vec<Duration>, before: [Duration; 2], after: [Duration; 2]) {
        self.last.push(times.iter().copied().max().unwrap());
        self.each.extend(times);
        for (total, (before, after)) in self.work.iter_mut().zip(before.into_iter().zip(after)) {
            *total += after.saturating_sub(before);
        }
    }

    fn report(self, what: &str) {
        let changes = self.last.len();
        let ratios = self.confirmed.iter().zip(&self.last).map(|(confirmed, last)| confirmed.div_duration_f64(*last));
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_unstable_by(f64::total_cmp);
        report(&format!("{what}: each follower"), self.each);
        report(&format!("{what}: the last one"), self.last);
        if let (Some(median), Some(most)) = (ratios.get(ratios.len() / 2), ratios.last()) {
            report(&format!("{what}: confirmed"), self.confirmed);
            println!("  confirmed / the last one, of each change: median {median:.2}, most {most:.2}");
            let [sent, failed] = self.reports;
            println!("  reports: {sent} sent, {failed} failed");
        }
        let [broker, followers] = self.work.map(|work| work.as_secs_f64() * 1000.0 / f64::from(narrow(changes)));
        println!("  processor time of a change, ms: broker {broker:.1}, followers {followers:.1}");
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

/// Sends a change; returns when the broker had answered, and its response.
async fn change(broker: &Broker, path: &str, admin: &str, body: &Value) -> (Instant, Value) {
    let response = broker.post(path).bearer(admin).json(body).await;
    let acknowledged = Instant::now();
    assert!(matches!(response.status, 200 | 201), "{path}: {}", String::from_utf8_lossy(&response.body));
    (acknowledged, response.json())
}

/// Returns the processor time of a process: that of its threads, in nanoseconds.
fn processor_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread that ends in the meantime is missed.
    let times = threads.filter_map(|thread| {
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

//! Three brokers under random load and one fault a round. After each round: every acknowledged success is in the trail exactly
//! once, or the trail records that history was lost; nothing single-use was used twice; the follower rejected nothing.
//!
//! `AGENTWRIT_ROUNDS=200 cargo test -p agentwrit-e2e --test brokers rounds -- --nocapture` runs more rounds;
//! `AGENTWRIT_SEED` repeats the choices of a failed run (the threads of all processes remain their own), `AGENTWRIT_FAULT=Promotion,Kill`
//! plays these faults only.

mod checks;
mod client;
mod fault;
mod journal;
mod trail;

use std::{collections::BTreeMap, env, sync::Arc, time::Duration};

use agentwrit_e2e::{Balancer, Brokers, Launch, Numbers, Wire};
use agentwrit_verify::remote::Follower;
use postgres_server::PostgresServer;
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::{client::Client, fault::Fault, journal::Journal, trail::Trail};

pub(crate) const COUNT: usize = 3;
const CLIENTS: usize = 6;
/// Time within which everything serves again after a fault.
const HEALED: Duration = Duration::from_secs(30);
const SETTINGS: [(&str, &str); 3] =
    [("AA_ADMIN_TOKEN_TTL", "86400"), ("AA_LOG_LEVEL", "standard"), ("AA_SESSION_BUDGET", "off")];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_operations_survive_faults_of_brokers_database_network_and_clocks() {
    let rounds = setting("AGENTWRIT_ROUNDS").unwrap_or(Fault::ALL.len() as u64);
    let seed = setting("AGENTWRIT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("AGENTWRIT_SEED={seed}");
    let mut numbers = Numbers(seed);
    let mut suite = Suite::begin().await;
    let only = env::var("AGENTWRIT_FAULT").ok();
    let mut faults: Vec<Fault> = Vec::new();
    for round in 0..rounds {
        if faults.is_empty() {
            faults = fault::shuffled(&mut numbers);
            faults.retain(|fault| {
                only.as_ref().is_none_or(|names| names.split(',').any(|name| name == format!("{fault:?}")))
            });
        }
        let fault = faults.pop().expect("AGENTWRIT_FAULT names a fault");
        println!("round {round}: {fault:?}");
        suite.round(fault, &mut numbers).await;
    }
    suite.end();
}

struct Suite {
    brokers: Brokers,
    _balancer: Balancer,
    follower: Follower,
    clocks: TempDir,
    wires: Arc<[Wire; COUNT]>,
    admin: String,
    /// Registers as often as one likes: to try nonces with.
    reusable: Launch,
    known: Journal,
    trail: Trail,
    /// Responses that the follower rejected while a promoted standby lacked commits and no broker had noticed.
    rejected: u64,
    counts: BTreeMap<&'static str, usize>,
}

impl Suite {
    async fn begin() -> Self {
        let server = Arc::new(PostgresServer::start());
        let mut brokers = Brokers::prepare(&server, COUNT, &SETTINGS).await;
        let clocks = TempDir::new().unwrap();
        for number in 0..COUNT {
            fault::set_clock(&clocks, number, 0);
            fault::follow_clock_file(&mut brokers, &clocks, number);
            brokers.start_one(number).await;
        }
        let balancer = brokers.balancer().await;
        let follower = Follower::builder(&balancer.url).issuer("https://agentwrit.local").start().await.unwrap();
        let wires = Arc::new(std::array::from_fn(|number| Wire::to(brokers.at(number))));
        let admin = brokers.at(0).admin_token().await;
        let reusable = wires[0].launch_token(&admin, false).await.unwrap();
        let (known, trail, counts) = (Journal::default(), Trail::new(), BTreeMap::new());
        Self {
            brokers,
            _balancer: balancer,
            follower,
            clocks,
            wires,
            admin,
            reusable,
            known,
            trail,
            rejected: 0,
            counts,
        }
    }

    async fn round(&mut self, fault: Fault, numbers: &mut Numbers) {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let client = Client {
                wires: Arc::clone(&self.wires),
                admin: self.admin.clone(),
                numbers: numbers.split(),
                // Some of what earlier rounds left is renewed, released and revoked in this one.
                journal: self.known.take_some(4, numbers),
                history_may_be_lost: fault == Fault::Promotion,
            };
            clients.spawn(client.run(stopped.clone()));
        }
        sleep(Duration::from_millis(100 + numbers.below(300) as u64)).await;
        fault.strike(self, numbers).await;
        sleep(Duration::from_millis(100 + numbers.below(300) as u64)).await;
        stop.send_replace(true);
        let mut heard = Journal::default();
        clients.join_all().await.into_iter().for_each(|journal| heard.append(journal));
        self.heal().await;
        *self.counts.entry(fault.name()).or_default() += 1;
        self.check(heard, numbers).await;
    }

    /// Waits until every broker serves.
    async fn heal(&self) {
        let begun = Instant::now();
        for number in 0..COUNT {
            let healthy = async {
                while self.wires[number].get("/v1/health").await.is_none_or(|(status, _)| status != 200) {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            let waited = timeout(HEALED.saturating_sub(begun.elapsed()), healthy).await;
            assert!(waited.is_ok(), "broker {number} did not recover:\n{}", self.brokers.at(number).output());
        }
    }

    fn end(&self) {
        println!("rounds: {:?}", self.counts);
        println!("{}; {} events in the trail", self.known.totals(), self.trail.length());
        println!("follower: {:?}", self.follower.status().counters);
        assert!(self.known.registrations() > 10 * self.counts.len(), "there was hardly any load");
    }
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

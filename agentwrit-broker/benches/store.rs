//! Gain of group commit: the same registrations by the same tasks on the same disk, durable both times, with one
//! commit each and with many to a commit.
//!
//! `cargo bench -p agentwrit-broker --bench store` (add `-- trail` for queries of short and long audit trails).
//! The directory is `TMPDIR`; a disk whose `fsync` returns at once shows less of a difference.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![expect(clippy::print_stdout, reason = "its output is the point")]

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentwrit_broker::{
    audit::{EventType, NewEvent, Outcome},
    domain::{Digest, IssuedToken, LaunchToken, LaunchTokenId, RegisteredAgent, RegisteredWith},
    store::{AuditQuery, Store, StoreError, StoreOptions, Tx},
};
use agentwrit_verify::{AgentId, PathSegment, ScopeSet, Subject, TokenId, TrustDomain, UnixTime};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinSet};

const IN_FLIGHT: u64 = 256;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("one fsync of an 8 KiB append: {:.0} µs (median)", fsync().as_secs_f64() * 1e6);
    group_commit(&runtime);
    if std::env::args().any(|argument| argument == "trail") {
        trail(&runtime);
    }
}

fn group_commit(runtime: &Runtime) {
    let directory = TempDir::new().unwrap();
    let (mut single, mut grouped) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (batch, rates) in [(1, &mut single), (StoreOptions::default().batch, &mut grouped)] {
            let path = directory.path().join(format!("{round}-{batch}.db"));
            rates.push(runtime.block_on(registrations_per_second(&path, batch)));
        }
    }
    let (single, grouped) = (median(single), median(grouped));
    println!("{IN_FLIGHT} registrations in flight, medians of {ROUNDS} interleaved rounds:");
    println!("  one commit each  {single:>8.0} per second");
    println!("  group commit     {grouped:>8.0} per second");
    println!("  ratio            {:>8.1}", grouped / single);
}

async fn registrations_per_second(path: &Path, batch: usize) -> f64 {
    let store = Store::open(path, StoreOptions { batch, ..StoreOptions::default() }).unwrap();
    let launch_tokens = 60_000;
    store
        .transact(move |tx| (0..launch_tokens).try_for_each(|number| tx.insert_launch_token(&launch_token(number))))
        .await
        .unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut agents = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (store, next) = (store.clone(), Arc::clone(&next));
        agents.spawn(async move {
            let mut done = 0;
            while started.elapsed() < ROUND {
                let number = next.fetch_add(1, Ordering::Relaxed);
                assert!(number < launch_tokens, "too fast for this benchmark: raise the number of launch tokens");
                let registration = Registration::new(number);
                store.transact(move |tx| registration.run(tx)).await.unwrap();
                done += 1;
            }
            done
        });
    }
    let done: u32 = agents.join_all().await.into_iter().sum();
    let rate = f64::from(done) / started.elapsed().as_secs_f64();
    store.close().await;
    rate
}

/// Input of a registration, made before it queues, as in the broker.
#[derive(Clone)]
struct Registration {
    digest: Digest,
    nonce: [u8; 32],
    agent: RegisteredAgent,
    token: IssuedToken,
}

impl Registration {
    fn new(number: u64) -> Self {
        let random = Digest::of(&[b"random".as_slice(), &number.to_be_bytes()].concat());
        let jti = TokenId::from_bytes(*random.as_bytes().first_chunk().unwrap());
        let instance = *random.as_bytes().last_chunk().unwrap();
        let (orch, task) =
            (PathSegment::parse("orch-1").unwrap(), PathSegment::parse(&format!("task-{number}")).unwrap());
        let agent_id = AgentId::new(&TrustDomain::parse("agentwrit.local").unwrap(), &orch, &task, instance);
        Self {
            digest: Digest::of(&number.to_be_bytes()),
            nonce: *Digest::of(&[b"nonce".as_slice(), &number.to_be_bytes()].concat()).as_bytes(),
            agent: RegisteredAgent {
                agent_id: agent_id.clone(),
                app_id: None,
                scope: scopes(),
                public_key: *random.as_bytes(),
                sender_constrained: false,
                registered_with: RegisteredWith::LaunchToken(LaunchTokenId::from_bytes(number.to_be_bytes())),
                registered_at: at(0),
                expires_at: at(300),
                revoked_at: None,
            },
            token: IssuedToken {
                scope: None,
                jti,
                sid: jti,
                subject: Subject::Agent(agent_id),
                app_id: None,
                task_id: Some(task),
                root: None,
                delegators: Vec::new(),
                delegator_sids: Vec::new(),
                issued_at: at(0),
                expires_at: at(300),
                original_ttl: 300,
                session_started_at: at(0),
                sender_constrained: false,
            },
        }
    }

    fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let launch_token = tx.launch_token_by_digest(&self.digest)?.unwrap();
        assert!(tx.spend_nonce(&self.nonce, at(30))?);
        assert!(tx.consume_launch_token(launch_token.id, at(1))?);
        tx.insert_agent(&self.agent)?;
        tx.insert_token(&self.token)?;
        for (event_type, detail) in
            [(EventType::AgentRegistered, "agent registered"), (EventType::TokenIssued, "token issued")]
        {
            let event = NewEvent::success(event_type, at(1), &self.agent.agent_id, detail)
                .task(self.token.task_id.clone())
                .word("launch_token", launch_token.id)
                .from([127, 0, 0, 1].into());
            tx.append(event)?;
        }
        Ok(())
    }
}

fn launch_token(number: u64) -> LaunchToken {
    LaunchToken {
        id: LaunchTokenId::from_bytes(number.to_be_bytes()),
        digest: Digest::of(&number.to_be_bytes()),
        agent_name: "bench".to_owned(),
        allowed_scope: scopes(),
        max_ttl: 300,
        single_use: true,
        sender_constrained: false,
        created_at: at(0),
        expires_at: at(3600),
        created_by: Subject::Admin,
        app_id: None,
        orch_id: None,
        task_id: None,
        consumed_at: None,
        minted_in: None,
    }
}

/// The same queries of a trail of 1,000 and of 1,000,000 events.
fn trail(runtime: &Runtime) {
    let directory = TempDir::new().unwrap();
    for events in [1_000_u64, 1_000_000] {
        let path = directory.path().join(format!("{events}.db"));
        runtime.block_on(async {
            let store = Store::open(&path, StoreOptions::default()).unwrap();
            for first in (0..events).step_by(1000) {
                store
                    .transact(move |tx| (first..first + 1000).try_for_each(|number| append(tx, number)))
                    .await
                    .unwrap();
            }
            store.close().await;
            let started = Instant::now();
            let store = Store::open(&path, StoreOptions::default()).unwrap();
            println!("{events} events: open {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
            for (name, query) in queries(events) {
                println!("  {name:<32} {:>8.0} µs", query_time(&store, &query).await.as_secs_f64() * 1e6);
            }
            store.close().await;
        });
    }
}

fn append(tx: &mut Tx<'_>, number: u64) -> Result<(), StoreError> {
    let event_type = if number.is_multiple_of(100) { EventType::TokenReleased } else { EventType::TokenIssued };
    let agent = AgentId::parse(&format!("spiffe://agentwrit.local/agent/orch/task/{:016x}", number / 10)).unwrap();
    let event = match number % 4 {
        0 => NewEvent::denied(event_type, at(number), Subject::Admin, "token"),
        _ => NewEvent::success(event_type, at(number), &agent, "token"),
    };
    tx.append(event.task(PathSegment::parse("task").unwrap())).map(|_| ())
}

fn queries(events: u64) -> Vec<(&'static str, AuditQuery)> {
    let page = AuditQuery { limit: 100, ..AuditQuery::default() };
    let admin = AuditQuery { agent_id: Some("admin".to_owned()), ..page.clone() };
    vec![
        ("first page", page.clone()),
        ("one actor", admin.clone()),
        ("one actor, deep cursor", AuditQuery { cursor: events - 200, ..admin.clone() }),
        ("one actor, deep offset", AuditQuery { offset: events / 4 - 50, ..admin }),
        ("one task", AuditQuery { task_id: Some("task".to_owned()), ..page.clone() }),
        (
            "rare type and outcome",
            AuditQuery { event_type: Some(EventType::TokenReleased), outcome: Some(Outcome::Denied), ..page.clone() },
        ),
        ("outcome", AuditQuery { outcome: Some(Outcome::Denied), ..page.clone() }),
        ("since and until", AuditQuery { since: Some(at(events / 2)), until: Some(at(events - 9)), ..page }),
    ]
}

async fn query_time(store: &Store, query: &AuditQuery) -> Duration {
    let mut times = Vec::new();
    for _ in 0..101 {
        let query = query.clone();
        let started = Instant::now();
        store.read(move |reader| reader.audit_events(&query)).await.map_err(|error: StoreError| error).unwrap();
        times.push(started.elapsed().as_secs_f64());
    }
    Duration::from_secs_f64(median(times))
}

fn fsync() -> Duration {
    let directory = TempDir::new().unwrap();
    let mut file = File::create(directory.path().join("fsync")).unwrap();
    let times = (0..200).map(|_| {
        let started = Instant::now();
        file.write_all(&[1; 8192]).unwrap();
        file.sync_data().unwrap();
        started.elapsed().as_secs_f64()
    });
    Duration::from_secs_f64(median(times.collect()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

fn scopes() -> ScopeSet {
    ScopeSet::parse(["read:data:*", "write:data:x"]).unwrap()
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(1_795_248_000 + seconds)
}

//! Tests of what is PostgreSQL's own: several brokers on one database, and connections that are lost.

mod cluster;
mod fate;
mod follow;
mod guards;
mod late_return;
mod lost_history;
mod lost_withdrawals;
mod plans;
mod proxy;
mod rejected_rows;
mod schema;

use std::thread;

use agentwrit_verify::Subject;
use tokio::task::JoinSet;

use crate::{
    audit::{EventType, NewEvent},
    store::{
        AuditQuery, Store, StoreError, StoreOptions, Tx, Wants,
        tests::{
            on_sqlite::writer::{enqueue_with, occupy},
            postgres_server::Schema,
            *,
        },
    },
};

type Fixture = FixtureOn<Schema>;

fn connect(url: &str) -> Store {
    connect_with(url, StoreOptions::default())
}

fn connect_with(url: &str, options: StoreOptions) -> Store {
    let url = url.to_owned();
    thread::spawn(move || Store::connect(&url, options).unwrap()).join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_make_one_chain_and_share_single_use() {
    let fixture = Fixture::new();
    let other = fixture.directory.open(StoreOptions::default());
    fixture.write(|tx| tx.insert_launch_token(&launch_token(1))).await;
    let mut jobs = JoinSet::new();
    for number in 0..100 {
        let store = if number % 2 == 0 { fixture.store.clone() } else { other.clone() };
        jobs.spawn(async move {
            let registered = store.transact(move |tx| register(tx, number)).await.unwrap();
            let used = store.transact(|tx| tx.consume_launch_token(launch_token(1).id, at(1))).await.unwrap();
            (registered, used)
        });
    }
    let outcomes: Vec<(bool, bool)> = jobs.join_all().await;
    assert!(outcomes.iter().all(|(registered, _)| *registered));
    assert_eq!(outcomes.iter().filter(|(_, used)| *used).count(), 1);
    assert_eq!(fixture.read(whole_trail).await, 200);
    let repeated = other.transact(|tx| tx.spend_nonce(&[0; 32], at(30))).await;
    assert_eq!(repeated, Ok::<_, StoreError>(false), "the nonce of the first registration");
    // Ordinals that a broker gave before the other appended are read anew.
    let totals = other.read(|reader| {
        let query = AuditQuery { event_type: Some(EventType::TokenIssued), limit: 1000, ..AuditQuery::default() };
        let page = reader.audit_events(&query)?;
        Ok::<_, StoreError>((page.total, page.events.len()))
    });
    assert_eq!(totals.await, Ok((100, 100)));
}

#[tokio::test]
async fn terminated_connection_fails_batch_and_next_one_succeeds() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let lost = fixture
        .store
        .transact(|tx| {
            register(tx, 2)?;
            tx.execute_batch("SELECT pg_terminate_backend(pg_backend_pid())")
        })
        .await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    assert!(fixture.write(|tx| register(tx, 2)).await);
    assert_eq!(fixture.read(whole_trail).await, 4);
}

#[tokio::test]
async fn commit_fails_when_head_row_changed_since_it_was_locked() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let stale = fixture
        .store
        .transact(|tx| {
            register(tx, 2)?;
            tx.execute_batch("UPDATE head SET generation = generation + 1")
        })
        .await;
    let Err(StoreError::Internal { cause }) = stale else { panic!("{stale:?}") };
    assert!(cause.contains("head_generation_check"), "{cause}");
    assert_eq!(fixture.read(whole_trail).await, 2);
    assert!(fixture.write(|tx| register(tx, 2)).await);
}

#[tokio::test]
async fn batch_that_only_reads_does_not_rewrite_head_row() {
    let fixture = Fixture::new();
    let version = "SELECT 1 FROM head WHERE xmin::text = current_setting('agentwrit.xmin')";
    fixture.write(|tx| register(tx, 1)).await;
    fixture.write(|tx| tx.execute_batch("SELECT set_config('agentwrit.xmin', xmin::text, false) FROM head")).await;
    fixture.write(|tx| tx.agent(&agent_id(1)).map(|_| ())).await;
    fixture.write(move |tx| tx.execute_batch(&format!("SELECT 1 / (SELECT count(*) FROM ({version}) AS same)"))).await;
}

#[tokio::test]
async fn batch_of_64_registrations_makes_two_round_trips() {
    let fixture = Fixture::new();
    let register_next = |number| {
        let job = move |tx: &mut Tx<'_>| register(tx, number).map(|_| tx.round_trips());
        fixture.store.transact_with(wants_of_registration(number), job)
    };
    // The first registrations prepare the statements.
    for number in 0..3 {
        register_next(number).await.unwrap();
    }
    let (release, running) = occupy(&fixture.store).await;
    let mut waiting = Vec::new();
    for number in 10..74 {
        let job = move |tx: &mut Tx<'_>| register(tx, number).map(|_| tx.round_trips());
        waiting.push(enqueue_with(&fixture.store, wants_of_registration(number), job).await);
    }
    drop(release);
    running.await.unwrap().unwrap();
    let mut round_trips = Vec::new();
    for job in waiting {
        round_trips.push(job.await.unwrap().unwrap());
    }
    let [first, .., last] = round_trips[..] else { panic!() };
    assert_eq!(first, last, "the jobs run without a round trip of their own");
    // The commit of the batch, and the begin of this one.
    assert_eq!(register_next(100).await.unwrap(), last + 2);
    assert_eq!(fixture.read(whole_trail).await, 2 * 68);
}

#[tokio::test]
async fn hints_read_ordinals_of_known_names_in_one_more_round_trip_per_batch() {
    let fixture = Fixture::new();
    let other = fixture.directory.open(StoreOptions::default());
    let renew = |store: Store, number: u64| async move {
        let subject = Subject::Agent(agent_id(number));
        let wants = Wants::none().event(EventType::TokenRenewed, &subject, Some(&segment("shared")), None);
        let event = NewEvent::success(EventType::TokenRenewed, at(1), &agent_id(number), "renewed");
        let job = move |tx: &mut Tx<'_>| {
            let before = tx.round_trips();
            tx.append(event.task(segment("shared")))?;
            Ok::<_, StoreError>(tx.round_trips() - before)
        };
        store.transact_with(wants, job).await.unwrap()
    };
    for number in 0..4 {
        assert_eq!(renew(fixture.store.clone(), number).await, 0, "{number}");
        assert_eq!(renew(other.clone(), number).await, 0, "{number}");
        assert_eq!(renew(fixture.store.clone(), number).await, 0, "{number}");
    }
    let query = AuditQuery { task_id: Some("shared".to_owned()), ..AuditQuery::default() };
    assert_eq!(fixture.read(move |reader| reader.audit_events(&query)).await.total, 12);
}

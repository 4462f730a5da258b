//! Tests of what is PostgreSQL's own: several brokers on one database, and connections that are lost.

mod cluster;
mod fate;
mod guards;
mod lost_history;
mod proxy;

use std::thread;

use tokio::task::JoinSet;

use crate::{
    audit::EventType,
    store::{
        AuditQuery, Store, StoreError, StoreOptions,
        tests::{postgres_server::Schema, *},
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

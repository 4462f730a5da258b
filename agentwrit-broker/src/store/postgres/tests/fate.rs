//! Connections that break at each request, and commits whose outcome is looked up.

use std::time::Duration;

use super::{
    proxy::{At, Break, Proxy},
    *,
};

#[tokio::test]
async fn commit_whose_response_is_lost_succeeds_when_its_last_event_is_in_the_trail() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(&fixture.directory);
    let store = connect(&proxy.url);
    store.transact(|tx| register(tx, 1)).await.unwrap();
    proxy.break_at(At::Commit, Break::Response);
    assert_eq!(store.transact(|tx| register(tx, 2)).await, Ok::<_, StoreError>(true));
    assert_eq!(fixture.read(whole_trail).await, 4);
    assert!(proxy.is_broken());
}

#[tokio::test]
async fn commit_that_never_arrives_fails_and_changes_nothing() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(&fixture.directory);
    let store = connect(&proxy.url);
    store.transact(|tx| register(tx, 1)).await.unwrap();
    proxy.break_at(At::Commit, Break::Request);
    let lost = store.transact(|tx| register(tx, 2)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    assert_eq!(fixture.read(whole_trail).await, 2);
    assert!(proxy.is_broken());
    assert_eq!(store.transact(|tx| register(tx, 2)).await, Ok::<_, StoreError>(true));
}

#[tokio::test]
async fn outcome_of_commit_without_event_is_unknown_unless_head_row_is_unchanged() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(&fixture.directory);
    let store = connect(&proxy.url);
    store.transact(|tx| register(tx, 1)).await.unwrap();
    proxy.break_at(At::Commit, Break::Request);
    let lost = store.transact(|tx| tx.record_certain_time(at(5))).await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    proxy.break_at(At::Commit, Break::Response);
    let lost = store.transact(|tx| tx.record_certain_time(at(6))).await;
    assert!(matches!(lost, Err(StoreError::OutcomeUnknown { .. })), "{lost:?}");
}

#[tokio::test]
async fn outcome_is_unknown_while_database_stays_away_and_is_found_by_later_transaction() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(&fixture.directory);
    let options = StoreOptions { outcome_limit: Duration::from_millis(300), ..StoreOptions::default() };
    let store = connect_with(&proxy.url, options);
    store.transact(|tx| register(tx, 1)).await.unwrap();
    for (number, how) in [(2, Break::Response), (3, Break::Request)] {
        proxy.break_for_good_at(At::Commit, how);
        let lost = store.transact(move |tx| register(tx, number)).await;
        assert!(matches!(lost, Err(StoreError::OutcomeUnknown { .. })), "{lost:?}");
        proxy.accept();
        let recorded = store.transact(move |tx| Ok::<_, StoreError>(tx.agent(&agent_id(number))?.is_some())).await;
        assert_eq!(recorded, Ok(how == Break::Response));
    }
    assert_eq!(fixture.read(whole_trail).await, 4);
}

#[tokio::test]
async fn lookup_ends_when_database_comes_back_within_the_limit() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(&fixture.directory);
    let store = connect(&proxy.url);
    store.transact(|tx| register(tx, 1)).await.unwrap();
    proxy.break_for_good_at(At::Commit, Break::Response);
    let job = tokio::spawn(async move { store.transact(|tx| register(tx, 2)).await });
    while proxy.refused() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(!job.is_finished(), "clients wait while the outcome is looked up");
    proxy.accept();
    assert_eq!(job.await.unwrap(), Ok::<_, StoreError>(true));
    assert_eq!(fixture.read(whole_trail).await, 4);
}

/// Breaks the connection at the first request of a batch, then at the second, and so on.
#[tokio::test]
async fn batch_is_acknowledged_exactly_if_it_is_in_the_trail_wherever_its_connection_breaks() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(&fixture.directory);
    let store = connect(&proxy.url);
    store.transact(|tx| register(tx, 1)).await.unwrap();
    let (mut number, mut events) = (1, 2);
    for how in [Break::Request, Break::Response, Break::Process] {
        let mut outcomes = Vec::new();
        for others in 0.. {
            number += 1;
            proxy.break_at(At::Request(others), how);
            let outcome = store.transact(move |tx| register(tx, number)).await;
            match &outcome {
                Ok(registered) => assert!(registered),
                Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{how:?} {others} {error}"),
            }
            events += if outcome.is_ok() { 2 } else { 0 };
            assert_eq!(fixture.read(whole_trail).await, events, "{how:?} at request {others}: {outcome:?}");
            if !proxy.is_broken() {
                break;
            }
            outcomes.push(outcome.is_ok());
        }
        proxy.disarm();
        assert!(outcomes.len() > 1, "{how:?}: {outcomes:?}");
        assert!(outcomes[0], "no job had run: {how:?}: {outcomes:?}");
        // A commit that does not arrive fails; one whose response is lost is looked up.
        assert!(how == Break::Response || outcomes.contains(&false), "{how:?}: {outcomes:?}");
    }
}

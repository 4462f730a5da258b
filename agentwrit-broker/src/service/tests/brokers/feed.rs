//! The feeds of all brokers are one.

use super::*;
use crate::limits::{
    document::{Document, DocumentBody},
    fair_share::Account,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_meets_another_broker_at_each_request_sees_one_feed() {
    let mut test = Brokers::start(&[0, -30, 30]).await;
    // Learns last of what the others commit.
    let slow = Link::new(LinkState::Slow(Duration::from_millis(10)));
    test.add_through(&slow).await;
    let test = Arc::new(test);
    let launch_token = test.launch_token(0, false).await;
    let acknowledged = Arc::new(Mutex::new(Vec::<String>::new()));
    let writers: Vec<_> = (0..3)
        .map(|broker| {
            let (test, acknowledged) = (Arc::clone(&test), Arc::clone(&acknowledged));
            let launch_token = Secret::new(launch_token.expose().to_owned());
            tokio::spawn(async move {
                for _ in 0..60 {
                    let token = test.register(broker, broker + 1, &launch_token).await.unwrap();
                    let claims = test.judge(broker, &token).await.unwrap();
                    test.revoke(broker, Level::Token, claims.token_id()).await;
                    acknowledged.lock().unwrap().push(token);
                }
            })
        })
        .collect();
    let keys = test.of(0).issuer.ring().published.clone();
    let mut feed = Feed::new(test.of(0).issuer.name(), Staleness::default());
    let verifier = Verifier::builder()
        .issuer(test.of(0).issuer.name())
        .keys(keys.clone())
        .revocations(feed.list().clone())
        .accept_any_audience()
        .clock(SystemClock)
        .build();
    let (mut broker, mut responses) = (0, 0);
    while responses < 40 || !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let before: Vec<String> = acknowledged.lock().unwrap().iter().rev().take(3).cloned().collect();
        // Snapshots, long polls and polls without waiting.
        let since = if responses % 7 == 0 { None } else { feed.since() };
        let wait = Duration::from_millis([0, 20][responses % 2]);
        let response = test.of(broker).feed.since(since, wait, CLIENT).await.unwrap();
        feed.apply(&response.document.text(), &keys, ClockReading::of(&SystemClock)).unwrap();
        for token in before {
            let verdict = verifier.verify(&token);
            assert!(
                matches!(verdict, Err(VerifyError::Revoked { .. })),
                "broker {broker}, since {since:?}: {verdict:?}"
            );
        }
        // The slow one after each of the others.
        broker = if broker == 3 { responses % 3 } else { 3 };
        responses += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let last = test.of(broker).feed.since(feed.since(), Duration::ZERO, CLIENT).await.unwrap();
    feed.apply(&last.document.text(), &keys, ClockReading::of(&SystemClock)).unwrap();
    assert!(feed.list().len() >= 180, "{} entries", feed.list().len());
    // The trail of all is one chain in the order of time.
    let events = test.of(0).ledger.store.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 100_000)?)).await;
    let events = events.unwrap();
    assert!(chain::verify(ChainHead::GENESIS, &events).is_ok());
    assert!(events.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_begun_by_another_broker_replaces_memory_and_wakes_followers() {
    let test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let lost = test.register(0, 0, &launch_token).await.unwrap();
    test.revoke(0, Level::Token, test.judge(0, &lost).await.unwrap().token_id()).await;
    assert!(test.judge(1, &lost).await.is_err());
    let before = read(&test.of(1).feed.since(None, Duration::ZERO, CLIENT).await.unwrap());
    let (waiting, cursor) = (Arc::clone(&test.running[1]), before["to"].as_u64().unwrap());
    let waiting =
        tokio::spawn(async move { waiting.feed.since(Some(cursor), Duration::from_secs(20), CLIENT).await.unwrap() });
    while test.of(1).feed.followers() < 1 {
        tokio::task::yield_now().await;
    }
    test.schema.execute("GRANT DELETE ON revocations TO PUBLIC");
    let marked = test.of(0).ledger.transact(|tx| {
        tx.execute_batch("DELETE FROM revocations")?;
        tx.start_epoch()?;
        let now = tx.now();
        tx.insert_revocation(&Revocation {
            level: Level::Issuer,
            target: String::new(),
            revoked_at: now,
            expires_at: now.saturating_add(Duration::from_secs(3600)),
            revoked_by: Subject::Admin,
            reason: None,
            listed: true,
        })
    });
    marked.await.unwrap();
    let woken = read(&timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap());
    assert_ne!(woken["epoch"], before["epoch"]);
    for broker in 0..2 {
        test.of(broker).ledger.confirm().await.unwrap();
        let snapshot = read(&test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await.unwrap());
        assert_eq!((&snapshot["epoch"], snapshot["entries"].as_array().unwrap().len()), (&woken["epoch"], 1));
        assert!(matches!(test.judge(broker, &lost).await, Err(VerifyError::Revoked { .. })));
    }
    // Both go on in the new log.
    assert!(test.revoke(1, Level::Task, "task").await.revoked);
    assert!(test.revoke(0, Level::Task, "task").await.revoked);
}

/// Its `iat` may be older than what the follower has from another broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_that_clients_read_does_not_stand_in_for_later_one() {
    let test = Brokers::start(&[0, 0]).await;
    let services = test.of(0);
    let feed = services.feed.clone();
    let written = services.ledger.transact(move |tx| {
        let now = tx.now();
        for target in 0..1000 {
            let revocation = Revocation {
                level: Level::Token,
                target: target.to_string(),
                revoked_at: now,
                expires_at: now.saturating_add(Duration::from_secs(3600)),
                revoked_by: Subject::Admin,
                reason: None,
                listed: false,
            };
            feed.publish(tx, revocation)?;
        }
        Ok::<_, Error>(())
    });
    written.await.unwrap();
    let snapshot = services.feed.since(None, Duration::ZERO, CLIENT).await.unwrap();
    let reading = DocumentBody::from(snapshot.document.clone());
    let room = services.pools.capacity.large_responses / 2 - snapshot.document.length();
    let others = Document::new(vec![b'x'; room].into(), &services.pools.snapshots, Account::Shared);
    let _others = DocumentBody::from(others.unwrap());
    let rejected = services.feed.since(None, Duration::ZERO, CLIENT).await;
    assert_eq!(rejected.err(), Some(FeedUnavailable::Overloaded));
    drop((reading, snapshot));
    assert_eq!(read(&services.feed.since(None, Duration::ZERO, CLIENT).await.unwrap())["to"], 1000);
}

//! The time of all brokers is the database's, and housekeeping is shared.

use super::*;

/// Replaces the server's clock in the schema by a row that tests set.
const MANUAL_CLOCK: &str = "CREATE TABLE test_clock (at timestamptz); INSERT INTO test_clock VALUES ('2027-01-15T08:00:00Z'); \
     CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM test_clock'; \
     CREATE FUNCTION transaction_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM test_clock'";

/// Returns the time that a broker signs a snapshot of the feed with.
async fn iat(test: &Brokers, broker: usize) -> u64 {
    read(&test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await.unwrap())["iat"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_of_all_brokers_is_the_databases_and_does_not_go_back_by_seconds() {
    let test = Brokers::start_with(&[-30, 30, 0], MANUAL_CLOCK).await;
    let set = |step: &str| test.schema.execute(&format!("UPDATE test_clock SET at = at + interval '{step}'"));
    let start = 1_800_000_000;
    let times = async |broker: usize| {
        let issued = test.of(broker).logins.issue_admin_token(CLIENT).await.unwrap();
        let issued_at = test.judge(broker, &issued.access_token).await.unwrap().issued_at().seconds();
        let feed = read(&test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await.unwrap());
        (issued_at - start, feed["iat"].as_u64().unwrap() - start)
    };
    let mut earliest = (0, 0);
    // The monotonic clock may add a little between two readings.
    for (step, expected) in
        [("0", 0), ("100 seconds", 100), ("-3 seconds", 100), ("-1 second", 100), ("10 seconds", 106)]
    {
        set(step);
        for broker in [0, 1, 2, 1, 0] {
            let (issued, confirmed) = times(broker).await;
            assert!(issued >= earliest.0 && confirmed >= earliest.1, "{step}: {issued} {confirmed} after {earliest:?}");
            assert!((expected..expected + 2).contains(&issued), "{step}: {issued}");
            assert!((expected..expected + 2).contains(&confirmed), "{step}: {confirmed}");
            earliest = (issued, confirmed);
        }
    }
    let offset = |broker: usize| test.of(broker).ledger.store.clock_offset();
    assert!((offset(1) - offset(0) - 60.0).abs() < 5.0, "{} {}", offset(0), offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_brokers_deletes_expired_records() {
    let test = Brokers::start(&[0, 0, 0]).await;
    let housekept = |broker: usize| {
        let ledger = Arc::clone(&test.of(broker).ledger);
        async move { ledger.transact(|tx| tx.take_housekeeping(Duration::from_secs(45))).await.unwrap() }
    };
    assert!(housekept(1).await);
    for broker in 0..3 {
        assert!(!housekept(broker).await, "broker {broker}");
        test.of(broker).housekeeping.delete_expired().await.unwrap();
    }
}

/// After lost history, every nonce issued before counts as used: uses are forgotten until after now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_starts_after_lost_history_accepts_nonces_of_the_others() {
    let mut test = Brokers::start(&[0]).await;
    let launch_token = test.launch_token(0, false).await;
    let forgotten =
        test.of(0).ledger.transact(|tx| tx.expire_nonces_until(tx.now().saturating_add(Duration::from_secs(30))));
    forgotten.await.unwrap();
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for (broker, nonces) in [(1, 0), (0, 1)] {
        test.register(broker, nonces, &launch_token).await.unwrap();
    }
}

/// The other brokers stand still at the later time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_starts_after_clock_was_set_back_signs_no_older_iat() {
    let mut test = Brokers::start_with(&[0], MANUAL_CLOCK).await;
    // Nothing is written from now on but the time that was confirmed.
    test.schema.execute("UPDATE test_clock SET at = at + interval '100 seconds'");
    let signed = iat(&test, 0).await;
    let recorded = async || test.of(0).ledger.store.confirm().await.unwrap().last_commit.seconds() >= signed;
    let recording = async { while !recorded().await {} };
    timeout(Duration::from_secs(10), recording).await.unwrap();
    test.schema.execute("UPDATE test_clock SET at = at - interval '1 second'");
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    let later = iat(&test, 1).await;
    assert!(later >= signed, "{later} after {signed}");
}

/// Server's clock that goes on from a time that tests set.
const SHIFTED_CLOCK: &str = "CREATE TABLE test_clock (at timestamptz, since timestamptz); \
     INSERT INTO test_clock VALUES ('2027-01-15T08:00:00Z', pg_catalog.clock_timestamp()); \
     CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE \
     AS 'SELECT at + (pg_catalog.clock_timestamp() - since) FROM test_clock'; \
     CREATE FUNCTION transaction_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()'";

/// A commit records times that were confirmed a second after the last one, not those before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_broker_holds_first_feed_response_until_times_that_others_did_not_record_are_over() {
    let mut test = Brokers::start_with(&[0], SHIFTED_CLOCK).await;
    let start = 1_800_000_000;
    let set = |milliseconds: u64| {
        let at = format!("to_timestamp({start} + {milliseconds} / 1000.0)");
        test.schema.execute(&format!("UPDATE test_clock SET at = {at}, since = pg_catalog.clock_timestamp()"));
    };
    let mut second = 100;
    let signed = loop {
        set(second * 1000 + 400);
        test.launch_token(0, false).await;
        set(second * 1000 + 1000);
        let signed = iat(&test, 0).await;
        let confirmed = test.of(0).ledger.store.confirm().await.unwrap();
        // Otherwise the machine was too slow, and the time is recorded.
        if confirmed.at.saturating_since(confirmed.last_commit) < Duration::from_secs(1) {
            assert!(signed > confirmed.last_commit.seconds(), "{signed} {confirmed:?}");
            break signed;
        }
        second += 10;
    };
    set(second * 1000);
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    let later = iat(&test, 1).await;
    assert!(later >= signed, "{later} after {signed}");
}

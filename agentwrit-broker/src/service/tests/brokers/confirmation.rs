//! Confirmations at another broker than the one that revoked, or that was told.

use agentwrit_verify::{
    confirmation::ConfirmationState::{Confirmed, Pending},
    report::Report,
};

use super::{
    super::{
        confirmation::{wait, waiting},
        verifiers::{enrol, report, send},
    },
    *,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_broker_confirms_what_instances_report_to_others_and_one_records_it() {
    let test = Brokers::start(&[0, -30, 30]).await;
    enrol(test.of(0), "api", 1, Some(60)).await.unwrap();
    let launch_token = test.launch_token(0, false).await;
    for round in 0..10 {
        let token = test.register(round, round, &launch_token).await.unwrap();
        let claims = test.judge(round, &token).await.unwrap();
        // Instances before the revocation: both reported to the third broker only.
        let sequence = u64::try_from(round).unwrap() + 1;
        let (first, new) = (u8::try_from(round).unwrap() + 1, u8::try_from(round).unwrap() + 101);
        for instance in [first, new] {
            send(test.of(round + 2), &report(test.of(round + 2), "api", instance, sequence), 1).await.unwrap();
        }
        let cursor = test.request_revocation(round, Level::Token, claims.token_id(), false).await.cursor;
        let found = wait(test.of(round + 1), &cursor, 0).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((found.confirmation.state, found.confirmation.pending.len()), (Pending, 2), "round {round}");
        let requests: Vec<_> = (0..3).map(|broker| waiting(&test.running[broker], &cursor)).collect();
        for (broker, instance) in [(0, first), (1, new)] {
            let applied = Report { applied: cursor.clone(), ..report(test.of(broker), "api", instance, sequence + 1) };
            send(test.of(broker), &applied, 1).await.unwrap();
        }
        let reported = Instant::now();
        for request in requests {
            let found = timeout(Duration::from_secs(10), request).await.unwrap().unwrap().unwrap();
            assert_eq!((found.confirmation.state, found.confirmation.confirmed), (Confirmed, 2), "round {round}");
        }
        assert!(reported.elapsed() < Duration::from_secs(2), "{:?}", reported.elapsed());
        for instance in [first, new] {
            let left = Report { leaving: true, ..report(test.of(0), "api", instance, sequence + 2) };
            send(test.of(0), &left, 1).await.unwrap();
        }
    }
    let events = test.of(0).ledger.store.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 100_000)?)).await;
    let confirmed: Vec<_> = events
        .unwrap()
        .into_iter()
        .filter(|event| event.event_type.as_str() == "revocation_confirmed")
        .map(|event| event.resource)
        .collect();
    let distinct: std::collections::BTreeSet<_> = confirmed.iter().collect();
    assert_eq!((confirmed.len(), distinct.len()), (10, 10));
}

/// The clock of a promoted server may be behind that of the former one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_whose_reports_a_promoted_server_lost_are_waited_for_whatever_its_clock() {
    let test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "api", 1, Some(60)).await.unwrap();
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    let claims = test.judge(0, &token).await.unwrap();
    for behind in [0, 60, 3600] {
        send(test.of(0), &report(test.of(0), "api", 1, behind + 1), 1).await.unwrap();
        test.schema.execute(&format!(
            "BEGIN; DELETE FROM verifier_instances; UPDATE report_log SET enrolments = enrolments + 1, \
             kept_since = ((extract(epoch FROM clock_timestamp()) - {behind}) * 1000000)::bigint; COMMIT"
        ));
        let cursor = test.request_revocation(0, Level::Token, claims.token_id(), false).await.cursor;
        for broker in 0..2 {
            let found = wait(test.of(broker), &cursor, 0).await.unwrap().confirmation;
            assert_eq!(found.state, Pending, "{behind} s behind, broker {broker}");
        }
    }
}

/// A broker that starts after the promotion has only the database's times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_started_after_promotion_to_late_clock_waits_for_instances_whose_reports_were_lost() {
    let mut test = Brokers::start(&[0]).await;
    enrol(test.of(0), "api", 1, Some(60)).await.unwrap();
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    let claims = test.judge(0, &token).await.unwrap();
    for late in [60, 3600] {
        send(test.of(0), &report(test.of(0), "api", 1, late), 1).await.unwrap();
        // The former server's clock was ahead by this much at the enrolment; its successor lacks the report.
        test.schema.execute(&format!(
            "BEGIN; DELETE FROM verifier_instances; UPDATE report_log SET timeline = '{late:08X}'; \
             UPDATE verifiers SET instances_since = (extract(epoch FROM clock_timestamp()) + {late}) * 1000000; COMMIT"
        ));
        let store = test.schema.open(StoreOptions::default());
        test.add(store).await;
        let started = test.running.len() - 1;
        let cursor = test.request_revocation(0, Level::Token, claims.token_id(), false).await.cursor;
        let found = wait(test.of(started), &cursor, 0).await.unwrap().confirmation;
        assert_eq!((found.state, found.pending.len()), (Pending, 1), "{late} s late");
    }
}

/// Times of the database tell nothing of how long reports have been kept: its clock was set forward after the promotion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instance_is_known_once_a_broker_has_followed_reports_for_a_lease() {
    let mut test = Brokers::start(&[]).await;
    let clock = ManualClock::new(SystemClock.now());
    let store = test.schema.open(StoreOptions { clock: Arc::new(clock.clone()), ..StoreOptions::default() });
    test.add(store).await;
    enrol(test.of(0), "api", 1, Some(60)).await.unwrap();
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(0, 0, &launch_token).await.unwrap();
    let claims = test.judge(0, &token).await.unwrap();
    test.schema.execute("UPDATE report_log SET timeline = '000000FF'");
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    test.schema.execute(
        "BEGIN; UPDATE report_log SET kept_since = kept_since - 7200000000, enrolments = enrolments + 1; \
         UPDATE verifiers SET instances_since = instances_since - 7300000000; COMMIT",
    );
    let state = async |test: &Brokers, broker: usize| {
        let cursor = test.request_revocation(broker, Level::Token, claims.token_id(), false).await.cursor;
        wait(test.of(broker), &cursor, 0).await.unwrap().confirmation.state
    };
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for broker in 0..3 {
        assert_eq!(state(&test, broker).await, Pending, "broker {broker}");
    }
    for _ in 0..7 {
        clock.advance(Duration::from_secs(100));
        // Readings go on meanwhile.
        test.of(0).verifiers.fleet().await.unwrap();
    }
    test.of(0).verifiers.fleet().await.unwrap();
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for broker in 0..4 {
        assert_eq!(state(&test, broker).await, Confirmed, "broker {broker}");
    }
}

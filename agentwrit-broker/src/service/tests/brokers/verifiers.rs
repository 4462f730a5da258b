//! Reports and enrolments count at all brokers.

use agentwrit_verify::{
    FeedCursor,
    report::{InstanceId, Report, ReportedBound},
};

use super::{
    super::{
        ended_enrolments::change_bound,
        verifiers::{enrol, name, report, send},
    },
    *,
};
use crate::service::verifiers::{ForgottenInstance, ReportRejection};

impl Brokers {
    async fn instances(&self, broker: usize) -> Vec<u64> {
        let fleet = self.of(broker).verifiers.fleet().await.unwrap();
        fleet.reports.iter().map(|state| state.sequence).collect()
    }

    /// Returns the duration until the broker knows every instance.
    async fn remaining(&self, broker: usize) -> Duration {
        let fleet = self.of(broker).verifiers.fleet().await.unwrap();
        fleet.incomplete_for(self.of(broker).ledger.monotonic())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolment_report_and_removal_at_one_broker_count_at_the_others_at_once() {
    let test = Brokers::start(&[0, -30, 30]).await;
    for round in 0..20_u8 {
        let (instance, round) = (round, usize::from(round));
        let (first, second, third) = (test.of(round), test.of(round + 1), test.of(round + 2));
        enrol(first, "api", 1, Some(60)).await.unwrap();
        send(second, &report(second, "api", instance, 1), 1).await.unwrap();
        assert_eq!(test.instances(round + 2).await.last(), Some(&1));
        let at_least = send(third, &report(third, "api", instance, 2), 1).await.unwrap();
        assert_eq!(at_least.position(), third.feed.end().cursor);
        for broker in [round, round + 1] {
            assert_eq!(test.instances(broker).await, vec![2; usize::from(instance) + 1]);
        }
        let replayed = send(first, &report(first, "api", instance, 2), 1).await;
        assert_eq!(replayed, Err(Error::Report(ReportRejection::Superseded)));
        second.verifiers.remove(None, name("api"), CLIENT).await.unwrap();
        assert_eq!(test.instances(round).await.last(), Some(&2), "it counts until its lease ends");
        let removed = send(third, &report(third, "api", instance, 3), 1).await;
        assert_eq!(removed, Err(Error::Report(ReportRejection::NotEnrolled)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_report_is_rejected_by_a_broker_whose_memory_is_behind() {
    let test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "api", 1, None).await.unwrap();
    let latest = report(test.of(0), "api", 1, 2);
    let outcomes = tokio::join!(send(test.of(0), &latest, 1), send(test.of(1), &latest, 1));
    let superseded = Err(Error::Report(ReportRejection::Superseded));
    assert!(
        (outcomes.0.is_ok() && outcomes.1 == superseded) || (outcomes.1.is_ok() && outcomes.0 == superseded),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_at_one_broker_wakes_waiting_callers_of_another_within_20_ms() {
    let test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "api", 1, None).await.unwrap();
    let mut changes = test.of(1).verifiers.changed();
    drop(test.of(1).verifiers.fleet().await.unwrap());
    let mut delays = Vec::new();
    for sequence in 1..=40 {
        let instance = u8::try_from(sequence).unwrap();
        changes.mark_unchanged();
        send(test.of(0), &report(test.of(0), "api", instance, sequence), 1).await.unwrap();
        let stored = Instant::now();
        timeout(Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
        delays.push(stored.elapsed());
    }
    delays.sort_unstable();
    assert!(delays[20] <= Duration::from_millis(20), "median {:?}", delays[20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_beyond_the_log_is_rejected_by_every_broker_and_counts_as_unbounded() {
    let test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "api", 1, None).await.unwrap();
    send(test.of(0), &report(test.of(0), "api", 1, 1), 1).await.unwrap();
    let good = report(test.of(1), "api", 1, 2);
    let beyond = FeedCursor::new(good.applied.epoch(), good.applied.position() + 5).unwrap();
    let outcome = send(test.of(1), &Report { applied: beyond, ..good }, 1).await;
    assert_eq!(outcome, Err(Error::Report(ReportRejection::Ahead)));
    let fleet = test.of(0).verifiers.fleet().await.unwrap();
    assert_eq!(fleet.instances[0].bound, ReportedBound::Unbounded);
    send(test.of(0), &report(test.of(0), "api", 1, 3), 1).await.unwrap();
    assert_eq!(test.of(1).verifiers.fleet().await.unwrap().instances[0].bound, ReportedBound::Seconds(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_broker_knows_all_instances_and_a_restarted_server_counts_reports_as_lost() {
    let mut test = Brokers::start(&[0]).await;
    enrol(test.of(0), "api", 1, None).await.unwrap();
    for instance in 1..=3 {
        send(test.of(0), &report(test.of(0), "api", instance, 1), 1).await.unwrap();
    }
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    let fleet = test.of(1).verifiers.fleet().await.unwrap();
    assert_eq!(fleet.instances.len(), 3, "reports are kept by the database");
    // As if the server had been started since.
    test.schema.execute("UPDATE report_log SET server_started = 1");
    let started = Instant::now();
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    for broker in [2, 0, 1] {
        let fleet = test.of(broker).verifiers.fleet().await.unwrap();
        let remaining = test.remaining(broker).await;
        assert!(remaining + started.elapsed() >= Report::LEASE, "broker {broker}: {remaining:?}");
        assert_eq!(fleet.instances.len(), 3);
        assert!(fleet.verifiers.iter().all(|verifier| verifier.may_have_unknown && !verifier.may_have_unbounded));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_fail_while_the_database_is_away_and_are_accepted_afterwards() {
    let mut test = Brokers::start(&[0]).await;
    let link = Link::new(LinkState::Up);
    test.add_through(&link).await;
    enrol(test.of(0), "api", 1, None).await.unwrap();
    send(test.of(1), &report(test.of(1), "api", 1, 1), 1).await.unwrap();
    link.state.send_replace(LinkState::Down);
    let outcome = send(test.of(1), &report(test.of(1), "api", 1, 2), 1).await;
    assert!(matches!(outcome, Err(Error::Store(_))), "{outcome:?}");
    assert!(matches!(test.of(1).verifiers.fleet().await, Err(Error::Store(_))), "no decision on old memory");
    link.state.send_replace(LinkState::Up);
    let mut sequence = 3;
    while send(test.of(1), &report(test.of(0), "api", 2, sequence), 1).await.is_err() {
        sequence += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(test.instances(0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_reports_and_ended_enrolments_count_at_every_broker_until_operator_forgets_them() {
    let mut test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "bounded", 1, Some(60)).await.unwrap();
    enrol(test.of(0), "batch", 1, None).await.unwrap();
    enrol(test.of(0), "changed", 1, None).await.unwrap();
    change_bound(test.of(1), "changed", 60).await;
    let unbounded = Report { bound: ReportedBound::Unbounded, ..report(test.of(0), "batch", 1, 1) };
    send(test.of(0), &unbounded, 1).await.unwrap();
    // As if a standby had been promoted since.
    test.schema.execute("UPDATE report_log SET timeline = '000000FF'");
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    let lost = async |test: &Brokers, broker: usize| {
        let fleet = test.of(broker).verifiers.fleet().await.unwrap();
        let lost = fleet.verifiers.iter().filter(|verifier| verifier.may_have_unbounded);
        lost.map(|verifier| verifier.name.to_string()).collect::<Vec<_>>()
    };
    for broker in [2, 0, 1] {
        assert_eq!(lost(&test, broker).await, ["batch", "changed"], "broker {broker}");
    }
    for (broker, verifier) in [(1, "batch"), (2, "changed")] {
        let forgotten = ForgottenInstance::Unknown;
        test.of(broker).verifiers.forget(None, name(verifier), forgotten, CLIENT).await.unwrap();
    }
    test.of(0).verifiers.remove(None, name("batch"), CLIENT).await.unwrap();
    for broker in [2, 0, 1] {
        assert!(lost(&test, broker).await.is_empty(), "broker {broker}");
        assert_eq!(test.instances(broker).await, [1], "broker {broker}");
    }
    let known = ForgottenInstance::Known(InstanceId::from_bytes([1; 16]));
    test.of(2).verifiers.forget(None, name("batch"), known, CLIENT).await.unwrap();
    for broker in [2, 0, 1] {
        assert!(test.instances(broker).await.is_empty(), "broker {broker}");
    }
    // Another restart on the same timeline loses nothing.
    test.schema.execute("UPDATE report_log SET server_started = 1");
    let store = test.schema.open(StoreOptions::default());
    test.add(store).await;
    assert!(lost(&test, 3).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_beyond_the_log_does_not_count_of_unknown_instance_or_after_its_lease() {
    let test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "api", 1, Some(30)).await.unwrap();
    send(test.of(0), &report(test.of(0), "api", 1, 1), 1).await.unwrap();
    // As if the database had kept reports since long ago.
    test.schema.execute("UPDATE report_log SET is_complete = true");
    let beyond = |broker: usize, instance, sequence| {
        let good = report(test.of(broker), "api", instance, sequence);
        let applied = FeedCursor::new(good.applied.epoch(), good.applied.position() + 5).unwrap();
        Report { applied, ..good }
    };
    let rejected = Err(Error::Report(ReportRejection::Ahead));
    assert_eq!(send(test.of(1), &beyond(1, 2, 1), 1).await, rejected);
    let fleet = test.of(0).verifiers.fleet().await.unwrap();
    assert_eq!(fleet.instances.iter().map(|known| known.bound).collect::<Vec<_>>(), [ReportedBound::Seconds(30)]);
    test.schema.execute("UPDATE verifier_instances SET heard_at = heard_at - 602000000");
    assert_eq!(send(test.of(1), &beyond(1, 1, 2), 1).await, rejected);
    let fleet = test.of(0).verifiers.fleet().await.unwrap();
    assert_eq!(fleet.instances[0].bound, ReportedBound::Seconds(30));
    test.schema.execute("UPDATE verifier_instances SET heard_at = heard_at + 602000000");
    assert_eq!(send(test.of(1), &beyond(1, 1, 3), 1).await, rejected);
    let fleet = test.of(0).verifiers.fleet().await.unwrap();
    assert_eq!(fleet.instances[0].bound, ReportedBound::Unbounded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instance_of_another_database_counts_as_unbounded_at_every_broker() {
    let test = Brokers::start(&[0, 0]).await;
    enrol(test.of(0), "api", 1, Some(30)).await.unwrap();
    send(test.of(0), &report(test.of(0), "api", 1, 1), 1).await.unwrap();
    // The brokers have run for longer than clocks may differ.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let true_at = Some(test.of(1).ledger.now());
    let applied = FeedCursor::new("another", 7).unwrap();
    let of_another = |instance, sequence| Report {
        applied: applied.clone(),
        true_at,
        ..report(test.of(1), "api", instance, sequence)
    };
    let rejected = Err(Error::Report(ReportRejection::OtherDatabase));
    assert_eq!(send(test.of(1), &of_another(1, 2), 1).await, rejected);
    // Instances whose reports were lost may have a lease.
    assert_eq!(send(test.of(1), &of_another(2, 1), 1).await, rejected);
    test.schema.execute("UPDATE report_log SET is_complete = true");
    assert_eq!(send(test.of(1), &of_another(3, 1), 1).await, rejected);
    for broker in 0..2 {
        let fleet = test.of(broker).verifiers.fleet().await.unwrap();
        let bounds: Vec<_> = fleet.instances.iter().map(|known| known.bound).collect();
        assert_eq!(bounds, [ReportedBound::Unbounded; 2], "broker {broker}");
    }
    send(test.of(0), &report(test.of(0), "api", 1, 3), 1).await.unwrap();
    let fleet = test.of(1).verifiers.fleet().await.unwrap();
    assert_eq!(fleet.instances[0].bound, ReportedBound::Seconds(30));
}

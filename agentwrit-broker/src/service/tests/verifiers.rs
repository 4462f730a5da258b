//! Enrolment of verifiers and their reports, with one broker.

use agentwrit_protocol::VerifierEnrolmentRequest;
use agentwrit_verify::{
    Clock, FeedCursor,
    confirmation::{Commit, Confirmation, ConfirmationState},
    issue,
    report::{InstanceId, Report, ReportError, ReportedBound, VerifierName},
};

use super::*;
use crate::service::verifiers::{FleetSnapshot, ReportRejection};

pub(super) fn name(text: &str) -> VerifierName {
    VerifierName::parse(text).unwrap()
}

pub(crate) fn key(seed: u8) -> issue::SigningKey {
    issue::SigningKey::from_seed(&[seed; 32]).unwrap()
}

pub(super) async fn enrol(services: &Services, verifier: &str, seed: u8, max_bound: Option<u64>) -> Result<(), Error> {
    let public_key = Base64(*key(seed).public_key().as_bytes());
    let request = VerifierEnrolmentRequest { name: name(verifier), public_key, max_bound };
    services.verifiers.enrol(None, request, CLIENT).await.map(|_| ())
}

/// A report of instance `instance` that applies everything.
pub(crate) fn report(services: &Services, verifier: &str, instance: u8, sequence: u64) -> Report {
    let end = services.feed.end();
    Report {
        verifier: name(verifier),
        audience: services.issuer.name().to_owned(),
        issued_at: services.ledger.now(),
        instance: InstanceId::from_bytes([instance; 16]),
        sequence,
        applied: FeedCursor::new(&end.epoch, end.cursor).unwrap(),
        true_at: None,
        bound: ReportedBound::Seconds(30),
        key_set: Some(services.issuer.ring().published.digest()),
        drained: None,
        leaving: false,
    }
}

pub(crate) async fn send(services: &Services, report: &Report, seed: u8) -> Result<FeedCursor, Error> {
    services.verifiers.report(&report.sign(&key(seed)), CLIENT).await.map(|accepted| accepted.at_least)
}

pub(super) fn rejected(outcome: Result<FeedCursor, Error>) -> ReportRejection {
    match outcome {
        Err(Error::Report(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

/// Position that each instance applies.
fn applied(fleet: &FleetSnapshot) -> Vec<(String, u64)> {
    let of =
        |known: &agentwrit_verify::confirmation::KnownInstance| (known.verifier.to_string(), known.applied.position());
    fleet.instances.iter().map(of).collect()
}

impl TestServices {
    async fn fleet(&self) -> Arc<FleetSnapshot> {
        self.services.verifiers.fleet().await.unwrap()
    }

    /// Decides a confirmation of what is committed now.
    async fn confirm_now(&self) -> Confirmation {
        let (now, moment) = (self.services.ledger.now(), self.services.ledger.monotonic());
        let end = self.services.feed.end();
        let cursor = FeedCursor::new(&end.epoch, end.cursor).unwrap();
        Confirmation::of(&Commit { cursor, at: now }, self.fleet().await.as_fleet(now, moment), now)
    }
}

#[tokio::test]
async fn counts_reports_of_enrolled_verifiers_until_they_leave_or_are_removed() {
    let test = TestServices::new().await;
    let services = &test.services;
    assert_eq!(rejected(send(services, &report(services, "api", 1, 1), 1).await), ReportRejection::NotEnrolled);
    enrol(services, "api", 1, None).await.unwrap();
    assert_eq!(enrol(services, "api", 1, None).await, Err(Error::VerifierExists { same_key: true }));
    assert_eq!(enrol(services, "api", 2, None).await, Err(Error::VerifierExists { same_key: false }));
    let end = services.feed.end();
    let at_least = send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    assert_eq!(at_least, FeedCursor::new(&end.epoch, end.cursor).unwrap());
    send(services, &report(services, "api", 2, 1), 1).await.unwrap();
    assert_eq!(applied(&*test.fleet().await).len(), 2);

    send(services, &Report { leaving: true, ..report(services, "api", 2, 2) }, 1).await.unwrap();
    assert_eq!(applied(&*test.fleet().await).len(), 1);
    let earlier = send(services, &report(services, "api", 2, 1), 1).await;
    assert_eq!(rejected(earlier), ReportRejection::Superseded, "an earlier report does not undo leaving");

    services.verifiers.remove(None, name("api"), CLIENT).await.unwrap();
    assert_eq!(services.verifiers.remove(None, name("api"), CLIENT).await, Err(Error::NoSuchVerifier));
    assert_eq!(applied(&*test.fleet().await).len(), 1, "its instance may accept tokens until its lease ends");
    assert_eq!(rejected(send(services, &report(services, "api", 1, 3), 1).await), ReportRejection::NotEnrolled);
    let events: Vec<_> = test.trail().await.into_iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(events, ["verifier_enrolled", "verifier_removed"]);
}

#[tokio::test]
async fn rejects_reports_that_are_forged_late_replayed_or_of_another_broker() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    enrol(services, "other", 2, None).await.unwrap();
    let good = report(services, "api", 1, 7);
    let of_other_key = send(services, &good, 2).await;
    assert_eq!(rejected(of_other_key), ReportRejection::NotEnrolled);
    let foreign = Report { audience: "https://other.test".into(), ..good.clone() };
    let wrong_audience = ReportError::WrongAudience { found: "https://other.test".into() };
    assert_eq!(rejected(send(services, &foreign, 1).await), ReportRejection::Report(wrong_audience));
    for (ahead, by) in [(true, 62), (false, 62)] {
        let by = Duration::from_secs(by);
        let now = services.ledger.now();
        let issued_at = if ahead { now.saturating_add(by) } else { now.saturating_sub(by) };
        let outcome = send(services, &Report { issued_at, ..good.clone() }, 1).await;
        assert!(matches!(rejected(outcome), ReportRejection::Report(ReportError::NotCurrent { .. })));
    }
    for bound in [ReportedBound::Seconds(61), ReportedBound::Unbounded] {
        let outcome = send(services, &Report { bound, ..good.clone() }, 1).await;
        assert_eq!(rejected(outcome), ReportRejection::BoundTooLarge { max_bound: 60 });
    }
    for (sequence, bound) in [(1, 86_400), (2, 86_401), (2, u64::MAX)] {
        let report = Report { bound: ReportedBound::Seconds(bound), ..report(services, "other", 1, sequence) };
        let outcome = send(services, &report, 2).await;
        match bound {
            86_400 => assert!(outcome.is_ok()),
            _ => assert_eq!(rejected(outcome), ReportRejection::BoundTooLarge { max_bound: 86_400 }),
        }
    }
    let endless = Report { sequence: u64::MAX, ..good.clone() };
    assert_eq!(rejected(send(services, &endless, 1).await), ReportRejection::SequenceTooLarge);
    assert_eq!(applied(&*test.fleet().await), [("other".to_owned(), 0)]);
    send(services, &good, 1).await.unwrap();
    for sequence in [7, 6] {
        let replayed = send(services, &Report { sequence, ..good.clone() }, 1).await;
        assert_eq!(rejected(replayed), ReportRejection::Superseded);
    }
}

#[tokio::test]
async fn limits_reports_of_an_instance_to_one_a_second_after_a_burst() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    for sequence in 1..=5 {
        send(services, &report(services, "api", 1, sequence), 1).await.unwrap();
    }
    let outcome = rejected(send(services, &report(services, "api", 1, 6), 1).await);
    assert!(matches!(outcome, ReportRejection::TooOften { .. }), "{outcome:?}");
    send(services, &report(services, "api", 2, 1), 1).await.unwrap();
    test.clock.advance(Duration::from_secs(1));
    send(services, &report(services, "api", 1, 6), 1).await.unwrap();
    assert!(matches!(
        rejected(send(services, &report(services, "api", 1, 7), 1).await),
        ReportRejection::TooOften { .. }
    ));
}

#[tokio::test]
async fn forged_reports_do_not_use_up_the_allowance_of_an_instance() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    for sequence in 100..200 {
        let signed = report(services, "api", 1, sequence).sign(&key(1));
        let (head, _) = signed.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", "A".repeat(86));
        let outcome = services.verifiers.report(&forged, CLIENT).await;
        assert_eq!(outcome, Err(Error::Report(ReportRejection::NotEnrolled)));
    }
    send(services, &report(services, "api", 1, 2), 1).await.unwrap();
    // Folded: within a second one client's denials are one event.
    test.clock.advance(Duration::from_secs(2));
    services.ledger.write_all_denials().await.unwrap();
    let denied = test.trail().await.into_iter().filter(|event| event.event_type.as_str() == "verifier_report_denied");
    let details: Vec<String> = denied.map(|event| event.detail).collect();
    assert_eq!(details.len(), 1, "{details:?}");
    assert!(details[0].contains("count=100"), "{details:?}");
}

#[tokio::test]
async fn report_beyond_the_log_is_rejected_and_its_instance_never_counts_as_confirmed() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Confirmed);
    let good = report(services, "api", 1, 2);
    let beyond = FeedCursor::new(good.applied.epoch(), good.applied.position() + 1).unwrap();
    let outcome = send(services, &Report { applied: beyond, ..good }, 1).await;
    assert_eq!(rejected(outcome), ReportRejection::Ahead);
    let agent = test.enrol("t", 300).await;
    test.revoke(Level::Agent, &agent.id).await;
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Unbounded);
    test.clock.advance(Duration::from_secs(60));
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Unbounded, "its bound does not fence it");
    send(services, &report(services, "api", 1, 3), 1).await.unwrap();
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Confirmed);
}

#[tokio::test]
async fn report_of_another_epoch_is_accepted_and_confirms_nothing() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    let applied = FeedCursor::new("another", 1 << 40).unwrap();
    send(services, &Report { applied, ..report(services, "api", 1, 1) }, 1).await.unwrap();
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Pending);
}

#[tokio::test]
async fn instance_with_bound_is_forgotten_after_its_lease_and_not_by_a_step_of_the_clock() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, None).await.unwrap();
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let start = test.clock.now();
    // The wall clock alone.
    test.clock.set(start.saturating_add(Duration::from_secs(86_400)));
    let now = test.services.ledger.now();
    let fleet = test.fleet().await.at(now);
    assert!(fleet.instances.iter().all(|known| !known.is_gone(now)) && fleet.instances.len() == 1);
    // Set back: the commit that is confirmed has the later time.
    test.clock.set(start);
    send(&test.services, &report(&test.services, "api", 1, 2), 1).await.unwrap();
    let fleet = test.fleet().await.at(now);
    assert!(fleet.instances.iter().all(|known| !known.is_gone(now)) && fleet.instances.len() == 1);
    test.clock.advance(Report::LEASE + Duration::from_secs(3));
    assert!(test.fleet().await.instances.is_empty());
    let later = test.clock.now().saturating_add(Duration::from_secs(1));
    test.restart_at(later).await;
    assert!(test.fleet().await.instances.is_empty());
}

#[tokio::test]
async fn restarted_broker_knows_enrolments_and_instances_without_bound() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, None).await.unwrap();
    enrol(&test.services, "batch", 2, None).await.unwrap();
    let unbounded = |test: &TestServices, instance, sequence| Report {
        bound: ReportedBound::Unbounded,
        ..report(&test.services, "batch", instance, sequence)
    };
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    send(&test.services, &unbounded(&test, 2, 1), 2).await.unwrap();
    send(&test.services, &unbounded(&test, 3, 1), 2).await.unwrap();
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Confirmed, "enrolled after the start");
    let left = Report { leaving: true, ..unbounded(&test, 3, 2) };
    send(&test.services, &left, 2).await.unwrap();
    let now = test.clock.now().saturating_add(Duration::from_secs(1));
    test.restart_at(now).await;
    let fleet = test.fleet().await;
    assert_eq!(fleet.verifiers.len(), 2);
    assert_eq!(applied(&fleet), [("batch".to_owned(), 0)]);
    let remaining = fleet.incomplete_for(test.services.ledger.monotonic());
    assert_eq!(remaining, Report::LEASE + Duration::from_secs(1));
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Pending, "instances of before the start may exist");
    test.clock.advance(Report::LEASE + Duration::from_secs(2));
    assert_eq!(test.confirm_now().await.state, ConfirmationState::Confirmed);
    assert_eq!(test.fleet().await.instances.len(), 1, "silence does not end an instance without bound");
}

#[tokio::test]
async fn metrics_count_instances_without_a_bound_and_entries_of_the_slowest_one() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    send(services, &Report { bound: ReportedBound::Unbounded, ..report(services, "api", 2, 1) }, 1).await.unwrap();
    let agent = test.enrol("t", 300).await;
    test.revoke(Level::Agent, &agent.id).await;
    services.verifiers.measure();
    let metrics = services.metrics.encode();
    for line in ["instances{verifier=\"api\"} 2", "unbounded_instances{verifier=\"api\"} 1", "lag{verifier=\"api\"} 1"]
    {
        assert!(metrics.contains(&format!("agentwrit_verifier_{line}\n")), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn each_report_and_enrolment_wakes_those_who_wait_for_changes() {
    let test = TestServices::new().await;
    let services = &test.services;
    let mut changes = services.verifiers.changed();
    enrol(services, "api", 1, None).await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let keys = services.issuer.ring().published.digest();
    let fleet = test.fleet().await;
    assert_eq!(fleet.instances_without(keys).count(), 0);
    send(services, &Report { key_set: None, ..report(services, "api", 2, 1) }, 1).await.unwrap();
    assert_eq!(test.fleet().await.instances_without(keys).count(), 1);
}

#[tokio::test]
async fn limits_new_instances_of_a_verifier_and_not_reports_of_known_ones_or_of_other_verifiers() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    enrol(services, "other", 2, None).await.unwrap();
    let of_instance = |number: u32, sequence| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Report { instance: InstanceId::from_bytes(id), ..report(services, "api", 1, sequence) }
    };
    for number in 0..1000 {
        send(services, &of_instance(number, 1), 1).await.unwrap();
    }
    let outcome = rejected(send(services, &of_instance(1000, 1), 1).await);
    assert!(matches!(outcome, ReportRejection::TooManyNewInstances { .. }), "{outcome:?}");
    send(services, &of_instance(0, 2), 1).await.unwrap();
    send(services, &report(services, "other", 1, 1), 2).await.unwrap();
    test.clock.advance(Duration::from_secs(1));
    for number in 1000..1050 {
        send(services, &of_instance(number, 1), 1).await.unwrap();
    }
    let outcome = rejected(send(services, &of_instance(1050, 1), 1).await);
    assert!(matches!(outcome, ReportRejection::TooManyNewInstances { .. }), "{outcome:?}");
}

#[tokio::test]
async fn accepts_leaving_report_of_unknown_instance_without_a_place_for_it() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    let leaving = |sequence| Report { leaving: true, ..report(services, "api", 1, sequence) };
    let changes = services.verifiers.changed();
    send(services, &leaving(7), 1).await.unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing was noted");
    // A known instance leaves.
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    assert_eq!(applied(&*test.fleet().await).len(), 1);
    send(services, &leaving(2), 1).await.unwrap();
    assert!(applied(&*test.fleet().await).is_empty());
}

#[tokio::test]
async fn full_fleet_rejects_new_instances_and_keeps_places_for_other_verifiers() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, None).await.unwrap();
    enrol(services, "other", 2, None).await.unwrap();
    let mut accepted = 0_u32;
    let rejection = loop {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&accepted.to_be_bytes());
        let report = Report { instance: InstanceId::from_bytes(id), ..report(services, "api", 1, 1) };
        match send(services, &report, 1).await {
            Ok(_) => accepted += 1,
            Err(Error::Report(ReportRejection::TooManyNewInstances { .. })) => {
                test.clock.advance(Duration::from_millis(20));
            }
            Err(error) => break error,
        }
    };
    assert_eq!((rejection, accepted), (Error::Report(ReportRejection::TooManyInstances), 5000));
    send(services, &report(services, "other", 9, 1), 2).await.unwrap();
    let known = Report { instance: InstanceId::from_bytes([0; 16]), ..report(services, "api", 1, 2) };
    send(services, &known, 1).await.unwrap();
}

//! Instances of verifiers that were removed, enrolled again, or given another key or bound.

use agentwrit_protocol::{PermittedBound, VerifierUpdateRequest};
use agentwrit_verify::{
    Clock, FeedCursor,
    confirmation::ConfirmationState::{Confirmed, Pending, Unbounded},
    report::{InstanceId, Report, ReportedBound},
};

use super::{
    verifiers::{enrol, key, name, rejected, report, send},
    *,
};
use crate::service::verifiers::{ForgottenInstance, ReportRejection};

/// Time after which no instance of an enrolment that ended accepts tokens, and the broker has deleted it.
const SETTLED: Duration = Duration::from_secs(661);

pub(super) async fn change_bound(services: &Services, verifier: &str, seconds: u64) {
    let max_bound = Some(PermittedBound::Seconds(seconds));
    let request = VerifierUpdateRequest { public_key: None, max_bound };
    services.verifiers.update(None, name(verifier), request, CLIENT).await.unwrap();
}

async fn remove(services: &Services, verifier: &str) {
    services.verifiers.remove(None, name(verifier), CLIENT).await.unwrap();
}

async fn forget(services: &Services, verifier: &str, instance: u8) -> Result<(), Error> {
    let instance = ForgottenInstance::Known(InstanceId::from_bytes([instance; 16]));
    services.verifiers.forget(None, name(verifier), instance, CLIENT).await
}

fn with_bound(services: &Services, seconds: u64, sequence: u64) -> Report {
    Report { bound: ReportedBound::Seconds(seconds), ..report(services, "api", 1, sequence) }
}

impl TestServices {
    async fn settle(&self) {
        self.clock.advance(SETTLED);
        self.services.housekeeping.delete_expired().await.unwrap();
    }

    /// Sends a report with a cursor before every revocation.
    async fn report_unbounded(&self, verifier: &str, instance: u8) -> FeedCursor {
        let applied = FeedCursor::new(&self.services.feed.end().epoch, 0).unwrap();
        let services = &self.services;
        let report = Report { bound: ReportedBound::Unbounded, applied, ..report(services, verifier, instance, 1) };
        send(services, &report, 1).await.unwrap()
    }
}

#[tokio::test]
async fn instance_of_removed_verifier_counts_until_fenced_also_when_name_is_enrolled_again() {
    for is_enrolled_again in [false, true] {
        let test = TestServices::new().await;
        let services = &test.services;
        enrol(services, "api", 1, Some(60)).await.unwrap();
        test.clock.advance(Duration::from_secs(700));
        send(services, &with_bound(services, 60, 1), 1).await.unwrap();
        remove(services, "api").await;
        if is_enrolled_again {
            enrol(services, "api", 1, Some(30)).await.unwrap();
        }
        let cursor = test.revoke_one().await;
        assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(61)]));
        let rejection = rejected(send(services, &with_bound(services, 60, 2), 1).await);
        let expected = if is_enrolled_again {
            ReportRejection::BoundTooLarge { max_bound: 30 }
        } else {
            ReportRejection::NotEnrolled
        };
        assert_eq!(rejection, expected);
        test.clock.advance(Duration::from_secs(60));
        assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(1)]));
        test.clock.advance(Duration::from_secs(1));
        assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 1, vec![]));
        assert_eq!(services.verifiers.list().await.unwrap().len(), 1);
        test.settle().await;
        assert_eq!(services.verifiers.list().await.unwrap().len(), usize::from(is_enrolled_again));
    }
}

#[tokio::test]
async fn instances_of_replaced_key_count_under_their_bound() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    send(services, &with_bound(services, 60, 1), 1).await.unwrap();
    let public_key = Some(Base64(*key(2).public_key().as_bytes()));
    let request = VerifierUpdateRequest { public_key, max_bound: Some(PermittedBound::Seconds(30)) };
    let changed = services.verifiers.update(None, name("api"), request.clone(), CLIENT).await.unwrap();
    assert_eq!((changed.max_bound, changed.public_key.as_bytes()), (Some(30), key(2).public_key().as_bytes()));
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(61)]));
    let of_old_key = send(services, &with_bound(services, 30, 2), 1).await;
    assert_eq!(rejected(of_old_key), ReportRejection::NotEnrolled);
    send(services, &with_bound(services, 30, 2), 2).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 0, vec![]));

    let same = services.verifiers.update(None, name("api"), request.clone(), CLIENT).await.unwrap();
    assert_eq!(same, changed);
    let unknown = services.verifiers.update(None, name("other"), request, CLIENT).await;
    assert_eq!(unknown, Err(Error::NoSuchVerifier));
    let events: Vec<_> = test.trail().await.into_iter().map(|event| event.event_type.as_str()).collect();
    let of_verifiers = |text: &&str| text.starts_with("verifier");
    let found: Vec<_> = events.into_iter().filter(of_verifiers).collect();
    assert_eq!(found, ["verifier_enrolled", "verifier_updated"]);
}

#[tokio::test]
async fn leaving_instance_is_accepted_with_bound_that_is_not_permitted_any_more() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    send(services, &with_bound(services, 60, 1), 1).await.unwrap();
    change_bound(services, "api", 30).await;
    let cursor = test.revoke_one().await;
    send(services, &Report { leaving: true, ..with_bound(services, 60, 2) }, 1).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 0, vec![]));
}

#[tokio::test]
async fn restarted_broker_waits_for_largest_bound_of_ended_enrolments() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    change_bound(&test.services, "api", 30).await;
    enrol(&test.services, "batch", 1, None).await.unwrap();
    remove(&test.services, "batch").await;
    enrol(&test.services, "again", 1, None).await.unwrap();
    remove(&test.services, "again").await;
    enrol(&test.services, "again", 1, Some(20)).await.unwrap();
    test.restart_at(test.clock.now()).await;
    let cursor = test.revoke_one().await;
    // In the order of their names.
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(601), Some(61), Some(601)]));
    test.settle().await;
    test.restart_at(test.clock.now()).await;
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(21), Some(31)]));
}

#[tokio::test]
async fn ended_enrolments_are_kept_while_wall_clock_alone_is_set_forward() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    remove(&test.services, "api").await;
    test.clock.set(test.clock.now().saturating_add(Duration::from_secs(86_400)));
    test.services.housekeeping.delete_expired().await.unwrap();
    test.restart_at(test.clock.now()).await;
    test.services.housekeeping.delete_expired().await.unwrap();
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(61)]));
}

#[tokio::test]
async fn instance_without_bound_of_removed_verifier_counts_until_operator_forgets_it() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, None).await.unwrap();
    send(&test.services, &report(&test.services, "api", 2, 1), 1).await.unwrap();
    test.report_unbounded("api", 1).await;
    assert_eq!(forget(&test.services, "api", 2).await, Err(Error::InstanceHasBound));
    remove(&test.services, "api").await;
    test.settle().await;
    test.restart_at(test.clock.now()).await;
    test.clock.advance(SETTLED);
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Unbounded, 0, 0, vec![None]));
    assert_eq!(forget(&test.services, "api", 2).await, Err(Error::NoSuchInstance));
    assert_eq!(forget(&test.services, "other", 1).await, Err(Error::NoSuchVerifier));
    forget(&test.services, "api", 1).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 0, vec![]));
    test.restart_at(test.clock.now()).await;
    test.clock.advance(SETTLED);
    assert_eq!(test.confirmation(&cursor).await.confirmation.verifiers, 0);
    let last = test.trail().await.into_iter().rfind(|event| event.event_type.as_str().starts_with("verifier"));
    let last = last.unwrap();
    assert_eq!((last.event_type.as_str(), last.resource.as_deref()), ("verifier_instance_forgotten", Some("api")));
    assert!(last.detail.contains("instance=01010101"), "{}", last.detail);
}

//! Instances that the broker may not know, because reports were lost or forgotten at its start.

use agentwrit_verify::{
    Clock,
    confirmation::ConfirmationState::{Confirmed, Pending, Unbounded},
    report::{InstanceId, Report, ReportedBound},
};

use super::{
    verifiers::{enrol, name, report, send},
    *,
};
use crate::{service::verifiers::ForgottenInstance, store::Tx};

const HOUR: Duration = Duration::from_secs(3600);

/// The wall clock is set forward right after a start, and back after a revocation.
#[tokio::test]
async fn step_of_clock_after_start_does_not_end_wait_for_unknown_instances() {
    for (max_bound, fence) in [(Some(60), 61), (None, 596)] {
        let mut test = TestServices::new().await;
        enrol(&test.services, "api", 1, max_bound).await.unwrap();
        send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
        test.clock.advance(Duration::from_secs(5));
        test.restart_at(test.clock.now()).await;
        test.clock.advance(Duration::from_secs(5));
        let right = test.clock.now();
        test.clock.set(right.saturating_add(HOUR));
        let cursor = test.revoke_one().await;
        assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(fence)]));
        test.clock.set(right);
        test.clock.advance(Duration::from_secs(fence - 1));
        assert_eq!(test.confirmation(&cursor).await.confirmation.state, Pending, "{max_bound:?}");
        test.clock.advance(Duration::from_secs(1));
        assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 0, vec![]), "{max_bound:?}");
    }
}

#[tokio::test]
async fn clock_set_back_long_after_start_makes_no_instance_unknown() {
    for max_bound in [Some(60), None] {
        let mut test = TestServices::new().await;
        enrol(&test.services, "api", 1, max_bound).await.unwrap();
        test.restart_at(test.clock.now()).await;
        test.clock.advance(HOUR * 24);
        send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
        test.clock.set(test.clock.now().saturating_sub(HOUR * 25));
        let cursor = test.revoke_one().await;
        assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(31)]), "{max_bound:?}");
        send(&test.services, &report(&test.services, "api", 1, 2), 1).await.unwrap();
        assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 0, vec![]), "{max_bound:?}");
    }
}

/// The clock was ahead when the verifier was enrolled, and is right at the next start.
#[tokio::test]
async fn verifier_enrolled_at_later_wall_time_than_start_may_have_unknown_instances() {
    let mut test = TestServices::new().await;
    let right = test.clock.now();
    test.clock.set(right.saturating_add(HOUR));
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    test.restart_without_recording_at(right).await;
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(61)]));
}

/// A backup from before the first report of an instance without a bound.
#[tokio::test]
async fn verifier_without_max_bound_is_unbounded_after_restore_until_operator_forgets_unknown_instances() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "batch", 1, None).await.unwrap();
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    // As `mark-restored` does.
    let restore = |tx: &mut Tx<'_>| tx.start_epoch();
    test.services.ledger.transact(restore).await.unwrap();
    test.restart_at(test.clock.now()).await;
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(61), Some(601)]));
    test.clock.advance(Duration::from_secs(601));
    for _ in 0..2 {
        assert_eq!(test.figures(&cursor).await, (Unbounded, 0, 0, vec![None]));
        test.clock.advance(HOUR * 24);
        test.services.housekeeping.delete_expired().await.unwrap();
        test.restart_at(test.clock.now()).await;
        test.clock.advance(Duration::from_secs(602));
    }
    // A report proves one instance, not that there are no others.
    let known = Report { bound: ReportedBound::Unbounded, ..report(&test.services, "batch", 1, 1) };
    send(&test.services, &known, 1).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Unbounded, 1, 0, vec![None]));
    let verifiers = &test.services.verifiers;
    verifiers.forget(None, name("batch"), ForgottenInstance::Unknown, CLIENT).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 0, vec![]));
    let again = verifiers.forget(None, name("batch"), ForgottenInstance::Unknown, CLIENT).await;
    assert_eq!(again, Err(Error::NoSuchInstance));
    assert!(test.services.verifiers.list().await.unwrap().iter().all(|known| !known.enrolment.may_have_unbounded));
    assert_eq!(test.services.verifiers.list().await.unwrap()[0].instances[0].instance, InstanceId::from_bytes([1; 16]));
}

//! Confirmations of revocations, with one broker.

use agentwrit_protocol::ConfirmationResponse;
use agentwrit_verify::{
    Clock, FeedCursor,
    confirmation::{
        ConfirmationEvidence,
        ConfirmationState::{self, Confirmed, Pending, Unbounded},
        EvidenceDefect,
    },
    report::{Report, ReportError, ReportedBound},
};
use sha2::{Digest as _, Sha256};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    verifiers::{enrol, key, report, send},
    *,
};
use crate::{feed::UnknownCursor, service::verifiers::ReportRejection, store::Tx};

/// Limit for what happens at once.
const SOON: Duration = Duration::from_secs(10);

impl TestServices {
    /// Revokes the tokens of a new agent.
    pub(super) async fn revoke_one(&self) -> FeedCursor {
        let agent = self.enrol("task", 300).await;
        self.request_revocation(Level::Agent, &agent.id, false).await.cursor
    }

    pub(super) async fn confirmation(&self, cursor: &FeedCursor) -> ConfirmationResponse {
        wait(&self.services, cursor, 0).await.unwrap()
    }

    /// Returns state, confirmed, fenced and the fences of the pending ones as seconds from now.
    pub(super) async fn figures(&self, cursor: &FeedCursor) -> (ConfirmationState, u64, u64, Vec<Option<u64>>) {
        let found = self.confirmation(cursor).await.confirmation;
        let now = self.clock.now();
        let fences = found.pending.iter().map(|pending| {
            pending.fenced_at.map(|at| at.saturating_since(now).as_millis().div_ceil(1000).try_into().unwrap())
        });
        (found.state, found.confirmed, found.fenced, fences.collect())
    }

    async fn confirmation_events(&self) -> Vec<Event> {
        let is_one = |event: &Event| event.event_type.as_str() == "revocation_confirmed";
        self.trail().await.into_iter().filter(is_one).collect()
    }
}

pub(super) async fn wait(
    services: &Services,
    cursor: &FeedCursor,
    seconds: u64,
) -> Result<ConfirmationResponse, Error> {
    services.confirmations.await_confirmation(cursor, &Subject::Admin, Duration::from_secs(seconds)).await
}

pub(super) fn waiting(
    services: &Arc<Services>,
    cursor: &FeedCursor,
) -> JoinHandle<Result<ConfirmationResponse, Error>> {
    let (services, cursor) = (Arc::clone(services), cursor.clone());
    tokio::spawn(async move { wait(&services, &cursor, 25).await })
}

#[tokio::test]
async fn confirms_when_last_instance_reports_cursor() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    for instance in [1, 2] {
        send(services, &report(services, "api", instance, 1), 1).await.unwrap();
    }
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await, (Pending, 0, 0, vec![Some(31), Some(31)]));
    let mut request = waiting(services, &cursor);
    test.clock.advance(Duration::from_secs(1));
    send(services, &report(services, "api", 1, 2), 1).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Pending, 1, 0, vec![Some(30)]));
    assert!(timeout(Duration::from_millis(50), &mut request).await.is_err(), "one instance is pending");
    send(services, &report(services, "api", 2, 2), 1).await.unwrap();
    let found = timeout(SOON, request).await.unwrap().unwrap().unwrap();
    assert_eq!((found.confirmation.state, found.confirmation.verifiers, found.elapsed_ms), (Confirmed, 2, 1000));
}

#[tokio::test]
async fn fences_silent_instance_when_its_bound_and_a_second_have_passed_whatever_the_wall_clock() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let cursor = test.revoke_one().await;
    test.clock.advance(Duration::from_millis(30_999));
    assert_eq!(test.figures(&cursor).await.0, Pending);
    let hour = Duration::from_secs(3600);
    let now = test.clock.now();
    for wall in [now.saturating_add(hour), now.saturating_sub(hour)] {
        test.clock.set(wall);
        assert_eq!(test.confirmation(&cursor).await.confirmation.state, Pending, "no time has passed");
    }
    test.clock.advance(Duration::from_millis(1));
    let found = test.confirmation(&cursor).await;
    assert_eq!((found.confirmation.state, found.confirmation.fenced, found.elapsed_ms), (Confirmed, 1, 31_000));
}

#[tokio::test]
async fn instance_without_bound_is_named_until_it_reports() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "batch", 1, None).await.unwrap();
    let unbounded = Report { bound: ReportedBound::Unbounded, ..report(services, "batch", 1, 1) };
    send(services, &unbounded, 1).await.unwrap();
    let cursor = test.revoke_one().await;
    for _ in 0..3 {
        test.clock.advance(Duration::from_secs(86_400));
        assert_eq!(test.figures(&cursor).await, (Unbounded, 0, 0, vec![None]));
    }
    assert!(test.confirmation_events().await.is_empty());
    let unbounded = Report { bound: ReportedBound::Unbounded, ..report(services, "batch", 1, 2) };
    send(services, &unbounded, 1).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 0, vec![]));
}

#[tokio::test]
async fn lists_hundred_pending_instances_of_each_verifier_in_turn_and_those_without_bound_first() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "a-many", 1, None).await.unwrap();
    enrol(services, "b-few", 2, None).await.unwrap();
    for instance in 1..=150 {
        send(services, &report(services, "a-many", instance, 1), 1).await.unwrap();
    }
    let unbounded = Report { bound: ReportedBound::Unbounded, ..report(services, "a-many", 200, 1) };
    send(services, &unbounded, 1).await.unwrap();
    send(services, &report(services, "b-few", 1, 1), 2).await.unwrap();
    let cursor = test.revoke_one().await;
    let found = test.confirmation(&cursor).await;
    let (confirmation, omitted) = (found.confirmation, found.pending_omitted);
    assert_eq!((confirmation.state, confirmation.verifiers, omitted), (Pending, 152, 52));
    assert_eq!(confirmation.pending.len(), 100);
    let of = |name| confirmation.pending.iter().filter(|pending| pending.verifier.as_str() == name).count();
    assert_eq!((of("a-many"), of("b-few")), (99, 1));
    assert!(
        confirmation.pending.iter().any(|pending| pending.fenced_at.is_none()),
        "the one without a bound is listed"
    );
}

#[tokio::test]
async fn records_confirmation_once_with_figures_and_digest_of_evidence() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    let cursor = test.revoke_one().await;
    let requests = [waiting(&test.services, &cursor), waiting(&test.services, &cursor)];
    let reports = [1, 2].map(|instance| report(&test.services, "api", instance, 1));
    for report in &reports {
        send(&test.services, report, 1).await.unwrap();
    }
    for request in requests {
        assert_eq!(timeout(SOON, request).await.unwrap().unwrap().unwrap().confirmation.state, Confirmed);
    }
    // Later reports belong to the next confirmation.
    let later = test.revoke_one().await;
    for (instance, mut report) in reports.into_iter().enumerate() {
        report.sequence = 2;
        report.applied = later.clone();
        test.clock.advance(Duration::from_secs(instance as u64));
        send(&test.services, &report, 1).await.unwrap();
    }
    let found = test.confirmation(&later).await;
    test.restart_at(test.clock.now()).await;
    for cursor in [&cursor, &later] {
        // Unknown instances may exist after a start.
        test.clock.advance(Duration::from_secs(61));
        assert_eq!(test.confirmation(cursor).await.confirmation.state, Confirmed);
    }
    let events = test.confirmation_events().await;
    let resources: Vec<_> = events.iter().map(|event| event.resource.clone().unwrap()).collect();
    assert_eq!(resources, [cursor.to_string(), later.to_string()]);
    assert_eq!(events[1].agent_id.as_deref(), Some("admin"));
    let document = test.services.confirmations.evidence(&later).await.unwrap();
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&document));
    let expected = format!(
        "verifiers=2 confirmed=2 fenced=0 unenrolled={} elapsed_ms={} evidence={digest}",
        found.unenrolled, found.elapsed_ms
    );
    assert!(events[1].detail.ends_with(&expected), "{} {expected}", events[1].detail);
}

#[tokio::test]
async fn evidence_with_recorded_digest_proves_confirmed_and_fenced_instances() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    for instance in [1, 2] {
        send(&test.services, &report(&test.services, "api", instance, 1), 1).await.unwrap();
    }
    let cursor = test.revoke_one().await;
    let committed_at = test.clock.now();
    send(&test.services, &report(&test.services, "api", 1, 2), 1).await.unwrap();
    assert_eq!(test.services.confirmations.evidence(&cursor).await, Err(Error::NoEvidence), "not confirmed yet");
    test.clock.advance(Duration::from_secs(31));
    assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 1, vec![]));
    test.restart_at(test.clock.now()).await;
    let document = test.services.confirmations.evidence(&cursor).await.unwrap();
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&document));
    assert!(test.confirmation_events().await[0].detail.ends_with(&format!(" evidence={digest}")));

    let evidence: ConfirmationEvidence = serde_json::from_slice(&document).unwrap();
    assert_eq!((evidence.digest(), evidence.to_json()), (digest, document));
    let figures = evidence.check().unwrap();
    assert_eq!((figures.confirmed, figures.fenced), (1, 1));
    assert_eq!(evidence.cursor, cursor);
    let fences: Vec<_> = evidence.instances.iter().map(|instance| instance.fenced_at).collect();
    let fence = committed_at.saturating_add(Duration::from_secs(31));
    assert_eq!(fences, [None, Some(UnixTime::from_seconds(fence.seconds()))]);

    // Claims that the reports do not prove.
    let altered = |alter: &dyn Fn(&mut ConfirmationEvidence)| {
        let mut altered = evidence.clone();
        alter(&mut altered);
        altered.check().map_err(|error| error.defect)
    };
    let first_report = evidence.instances[0].report.clone();
    assert_eq!(altered(&|of| of.instances[1].fenced_at = None), Err(EvidenceDefect::NotConfirmed));
    assert_eq!(altered(&|of| of.decided_at = committed_at), Err(EvidenceDefect::NotConfirmed));
    assert_eq!(altered(&|of| of.instances[1].report.clone_from(&first_report)), Err(EvidenceDefect::OtherInstance));
    assert_eq!(altered(&|of| of.instances[0].report = None), Err(EvidenceDefect::NoReport));
    assert_eq!(altered(&|of| of.verifiers.clear()), Err(EvidenceDefect::NotEnrolled));
    let other_key = altered(&|of| of.verifiers[0].public_key = key(2).public_key().clone());
    assert!(matches!(other_key, Err(EvidenceDefect::Report(ReportError::OtherKey { .. }))), "{other_key:?}");
    let forged = altered(&|of| {
        let report = of.instances[0].report.as_mut().unwrap();
        report.replace_range(report.len() - 40.., &"A".repeat(40));
    });
    assert_eq!(forged, Err(EvidenceDefect::Report(ReportError::BadSignature)));
}

#[tokio::test]
async fn oldest_evidence_is_removed_beyond_its_limit() {
    let test = TestServices::new().await;
    let ledger = &test.services.ledger;
    let epoch = test.services.feed.end().epoch;
    let cursor = move |position| FeedCursor::new(&epoch, position).unwrap();
    for position in 1..=3_u64 {
        let put = move |tx: &mut Tx<'_>| Ok::<_, Error>(tx.put_confirmation_evidence(position, &[b'x'; 40], 100)?);
        ledger.transact(put).await.unwrap();
        test.clock.advance(Duration::from_secs(1));
    }
    let kept = ledger.read(move |reader| {
        let length =
            |position| Ok::<_, Error>(reader.confirmation_evidence(&cursor(position))?.map(|document| document.len()));
        Ok::<_, Error>(([length(1)?, length(2)?, length(3)?], reader.confirmation_evidence_size()?))
    });
    assert_eq!(kept.await, Ok(([None, Some(40), Some(40)], 80)));
}

#[tokio::test]
async fn records_confirmation_of_pending_change_after_its_client_hung_up() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    for instance in [1, 2] {
        send(services, &report(services, "api", instance, 1), 1).await.unwrap();
    }
    let cursor = test.revoke_one().await;
    let request = waiting(services, &cursor);
    while services.confirmations.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    for instance in [1, 2] {
        services.confirmations.record_confirmed().await;
        assert!(test.confirmation_events().await.is_empty(), "one instance is pending");
        test.clock.advance(Duration::from_secs(1));
        send(services, &report(services, "api", instance, 2), 1).await.unwrap();
    }
    for _ in 0..2 {
        services.confirmations.record_confirmed().await;
        let events = test.confirmation_events().await;
        let resources: Vec<_> = events.iter().map(|event| event.resource.clone().unwrap()).collect();
        assert_eq!(resources, [cursor.to_string()]);
        assert!(events[0].detail.contains("confirmed=2 fenced=0"), "{}", events[0].detail);
    }
    let document = services.confirmations.evidence(&cursor).await.unwrap();
    let evidence: ConfirmationEvidence = serde_json::from_slice(&document).unwrap();
    assert_eq!(evidence.check().map(|figures| figures.confirmed), Ok(2));
}

#[tokio::test]
async fn records_fenced_confirmation_of_request_that_ended_pending_in_background() {
    let test = TestServices::new().await;
    let services = &test.services;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    let cursor = test.revoke_one().await;
    assert_eq!(test.figures(&cursor).await.0, Pending);
    test.clock.advance(Duration::from_secs(31));
    let background = tokio::spawn({
        let services = Arc::clone(services);
        async move { services.confirmations.record_watched().await }
    });
    let recorded = async {
        while test.confirmation_events().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, recorded).await.unwrap();
    services.stopping.send_replace(true);
    timeout(SOON, background).await.unwrap().unwrap();
    assert_eq!(test.confirmation_events().await.len(), 1);
}

#[tokio::test]
async fn state_of_cursor_is_decided_without_record() {
    let test = TestServices::new().await;
    let cursor = test.revoke_one().await;
    assert_eq!(test.services.confirmations.state(&cursor).await.unwrap().confirmation.state, Confirmed);
    test.services.confirmations.record_confirmed().await;
    assert!(test.confirmation_events().await.is_empty());
}

#[tokio::test]
async fn waits_for_unknown_instances_after_a_start() {
    let mut test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let cursor = test.revoke_one().await;
    test.clock.advance(Duration::from_secs(20));
    test.restart_at(test.clock.now()).await;
    send(&test.services, &report(&test.services, "api", 1, 2), 1).await.unwrap();
    // The commit may be as late as the start: nothing that the store keeps tells.
    assert_eq!(test.figures(&cursor).await, (Pending, 1, 0, vec![Some(61)]));
    test.clock.advance(Duration::from_secs(61));
    assert_eq!(test.figures(&cursor).await, (Confirmed, 1, 0, vec![]));
}

#[tokio::test]
async fn request_that_waits_ends_with_present_state_when_broker_stops() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let cursor = test.revoke_one().await;
    let request = waiting(&test.services, &cursor);
    tokio::task::yield_now().await;
    test.services.stopping.send_replace(true);
    let found = timeout(SOON, request).await.unwrap().unwrap().unwrap();
    assert_eq!(found.confirmation.state, Pending);
}

#[tokio::test]
async fn answers_at_once_when_too_many_requests_wait_and_gives_places_back() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let cursor = test.revoke_one().await;
    let requests: Vec<_> = (0..64).map(|_| waiting(&test.services, &cursor)).collect();
    while test.services.confirmations.waiting() < 64 {
        tokio::task::yield_now().await;
    }
    let found = timeout(SOON, wait(&test.services, &cursor, 25)).await.unwrap().unwrap();
    assert_eq!(found.confirmation.state, Pending);
    // Clients hang up.
    for request in &requests {
        request.abort();
    }
    for request in requests {
        assert!(request.await.unwrap_err().is_cancelled());
    }
    let waits = timeout(Duration::from_millis(100), wait(&test.services, &cursor, 25)).await;
    assert!(waits.is_err(), "there is a place again");
}

#[tokio::test]
async fn rejects_cursor_of_another_log_or_beyond_its_end() {
    let test = TestServices::new().await;
    let cursor = test.revoke_one().await;
    let beyond = FeedCursor::new(cursor.epoch(), cursor.position() + 1).unwrap();
    assert_eq!(wait(&test.services, &beyond, 25).await, Err(Error::UnknownCursor(UnknownCursor::Beyond)));
    let other = FeedCursor::new("0123456789abcdef", 1).unwrap();
    assert_eq!(wait(&test.services, &other, 25).await, Err(Error::UnknownCursor(UnknownCursor::OtherEpoch)));
    assert_eq!(test.confirmation(&cursor).await.confirmation.state, Confirmed, "no verifier is enrolled");
}

#[tokio::test]
async fn counts_followers_that_waited_and_do_not_report() {
    let test = TestServices::new().await;
    let services = &test.services;
    test.revoke_one().await;
    enrol(services, "api", 1, Some(60)).await.unwrap();
    send(services, &report(services, "api", 1, 1), 1).await.unwrap();
    let since = services.feed.end().cursor;
    let followers: Vec<_> = (0..3)
        .map(|_| {
            let feed = services.feed.clone();
            tokio::spawn(async move { feed.since(Some(since), Duration::from_secs(25), CLIENT).await.map(drop) })
        })
        .collect();
    let all_wait = async {
        while services.feed.followers() < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, all_wait).await.unwrap();
    let cursor = test.revoke_one().await;
    for follower in followers {
        follower.await.unwrap().unwrap();
    }
    assert_eq!(test.confirmation(&cursor).await.unenrolled, 2);
}

/// Returns a report whose cursor this log has not reached.
fn ahead(test: &TestServices, instance: u8, sequence: u64) -> Report {
    let end = test.services.feed.end();
    let applied = FeedCursor::new(&end.epoch, end.cursor + 1000).unwrap();
    Report { applied, ..report(&test.services, "api", instance, sequence) }
}

#[tokio::test]
async fn ahead_report_of_unknown_instance_does_not_count_when_fleet_is_complete() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(30)).await.unwrap();
    test.clock.advance(Duration::from_secs(3600));
    let cursor = test.revoke_one().await;
    let sent = send(&test.services, &ahead(&test, 9, 1), 1).await;
    assert_eq!(sent, Err(Error::Report(ReportRejection::Ahead)));
    assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 0, vec![]));
}

#[tokio::test]
async fn ahead_reports_keep_instance_unbounded_for_one_lease_only() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(30)).await.unwrap();
    send(&test.services, &report(&test.services, "api", 9, 1), 1).await.unwrap();
    let cursor = test.revoke_one().await;
    for hundreds in 0..20_u64 {
        let sent = send(&test.services, &ahead(&test, 9, 2 + hundreds), 1).await;
        assert_eq!(sent, Err(Error::Report(ReportRejection::Ahead)));
        let expected = if hundreds <= 6 { Unbounded } else { Confirmed };
        assert_eq!(test.figures(&cursor).await.0, expected, "after {hundreds}00 s");
        test.clock.advance(Duration::from_secs(100));
    }
}

#[tokio::test]
async fn instance_that_leaves_while_its_first_unbounded_report_is_written_does_not_count() {
    let test = TestServices::new().await;
    let services = Arc::clone(&test.services);
    enrol(&services, "batch", 1, None).await.unwrap();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let ledger = Arc::clone(&services.ledger);
    let mut writer = Box::pin(async move {
        let wait = move |_: &mut Tx<'_>| {
            blocked.lock().unwrap().recv().unwrap();
            Ok::<_, Error>(())
        };
        ledger.transact(wait).await
    });
    assert!(timeout(Duration::ZERO, &mut writer).await.is_err());
    let unbounded = |sequence| Report { bound: ReportedBound::Unbounded, ..report(&services, "batch", 1, sequence) };
    let (first, leaving) = (unbounded(1), Report { leaving: true, ..unbounded(2) });
    let mut first = Box::pin(send(&services, &first, 1));
    assert!(timeout(Duration::ZERO, &mut first).await.is_err(), "it waits for the writer");
    let mut leaving = Box::pin(send(&services, &leaving, 1));
    let early = timeout(Duration::ZERO, &mut leaving).await;
    release.send(()).unwrap();
    writer.await.unwrap();
    drop(first.await);
    match early {
        Ok(sent) => drop(sent.unwrap()),
        Err(_) => drop(leaving.await.unwrap()),
    }
    let cursor = test.revoke_one().await;
    test.clock.advance(Duration::from_secs(100_000));
    assert_eq!(test.figures(&cursor).await, (Confirmed, 0, 0, vec![]));
}

#[tokio::test]
async fn evidence_proves_confirmation_after_change_of_key() {
    for reports_cursor in [false, true] {
        let test = TestServices::new().await;
        enrol(&test.services, "api", 1, Some(60)).await.unwrap();
        send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
        let cursor = test.revoke_one().await;
        if reports_cursor {
            send(&test.services, &report(&test.services, "api", 1, 2), 1).await.unwrap();
        }
        let public_key = Some(Base64(*key(2).public_key().as_bytes()));
        let request = agentwrit_protocol::VerifierUpdateRequest { public_key, max_bound: None };
        let name = agentwrit_verify::report::VerifierName::parse("api").unwrap();
        test.services.verifiers.update(None, name, request, CLIENT).await.unwrap();
        send(&test.services, &report(&test.services, "api", 2, 1), 2).await.unwrap();
        test.clock.advance(Duration::from_secs(31));
        assert_eq!(test.figures(&cursor).await.0, Confirmed);
        let document = test.services.confirmations.evidence(&cursor).await.unwrap();
        let evidence: ConfirmationEvidence = serde_json::from_slice(&document).unwrap();
        let figures = evidence.check().unwrap();
        assert_eq!((figures.confirmed, figures.fenced), if reports_cursor { (2, 0) } else { (1, 1) });
    }
}

#[tokio::test]
async fn confirms_also_when_evidence_cannot_be_recorded() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    let cursor = test.revoke_one().await;
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let store = &test.services.ledger.store;
    store.transact(|tx| tx.execute_batch(failed_commits::FAIL_COMMITS)).await.unwrap();
    assert_eq!(wait(&test.services, &cursor, 0).await.map(|found| found.confirmation.state), Ok(Confirmed));
    store.transact(|tx| tx.execute_batch(failed_commits::COMMIT_AGAIN)).await.unwrap();
    assert!(test.confirmation_events().await.is_empty());
    // The next request records it.
    assert_eq!(test.figures(&cursor).await.0, Confirmed);
    assert_eq!(test.confirmation_events().await.len(), 1);
}

#[tokio::test]
async fn evidence_omits_report_with_long_unknown_member() {
    let test = TestServices::new().await;
    enrol(&test.services, "api", 1, Some(60)).await.unwrap();
    let cursor = test.revoke_one().await;
    send(&test.services, &report(&test.services, "api", 1, 1), 1).await.unwrap();
    let signed = report(&test.services, "api", 2, 1).sign(&key(1));
    let payload = data_encoding::BASE64URL_NOPAD.decode(signed.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let mut payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    payload["pad"] = "x".repeat(500).into();
    let padded = key(1).sign_document(Report::MEDIA_TYPE, payload.to_string().as_bytes());
    test.services.verifiers.report(&padded, CLIENT).await.unwrap();
    assert_eq!(test.figures(&cursor).await, (Confirmed, 2, 0, vec![]));
    let document = test.services.confirmations.evidence(&cursor).await.unwrap();
    let evidence: ConfirmationEvidence = serde_json::from_slice(&document).unwrap();
    let is_kept: Vec<_> = evidence.instances.iter().map(|instance| instance.report.is_some()).collect();
    assert_eq!(is_kept, [true, false]);
}

//! Reports of a follower with an identity, over the loopback interface.

use std::time::Duration;

use agentwrit_verify::{
    Level, Verifier, VerifyError,
    issue::{SigningKey, SigningKeyError},
    remote::{FollowerBuilder, RemoteError},
    report::{AcceptanceError, Report, ReportAcceptance, ReportedBound, UnverifiedReport, VerifierName},
    testing::TestIssuer,
};

use crate::follower::{Broker, Place, until};

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

impl Broker {
    fn reporting(&self) -> FollowerBuilder {
        self.follower().identity(VerifierName::parse("payments-api").unwrap(), key())
    }

    /// Returns the accepted reports, each verified.
    fn reports(&self) -> Vec<Report> {
        self.with(|model| {
            let now = agentwrit_verify::Clock::now(model.issuer.clock());
            let read = |text: &String| {
                UnverifiedReport::decode(text).unwrap().verify(key().public_key(), TestIssuer::ISSUER, now).unwrap()
            };
            model.reports.iter().map(read).collect()
        })
    }

    fn respond_to_reports(&self, status: &'static str) {
        self.with(|model| model.report_status = status);
    }

    fn last_report(&self) -> Report {
        self.reports().pop().unwrap()
    }
}

fn is_not_reported(verifier: &Verifier, token: &str) -> bool {
    verifier.verify(token) == Err(VerifyError::NotReported)
}

#[tokio::test]
async fn reports_before_start_and_at_once_after_revocation() {
    let broker = Broker::start().await;
    let follower = broker.reporting().start().await.unwrap();
    let first = broker.last_report();
    assert_eq!((first.verifier.as_str(), first.audience.as_str()), ("payments-api", TestIssuer::ISSUER));
    assert_eq!((first.applied.to_string().as_str(), first.sequence), ("epoch-0.0", 1));
    assert_eq!((first.bound, first.leaving), (ReportedBound::Seconds(30), false));
    assert_eq!(first.key_set, Some(broker.with(|model| model.issuer.key_set().digest())));
    assert!(follower.verifier().build().verify(&broker.token()).is_ok());

    broker.with(|model| model.issuer.revoke(Level::Task, "task"));
    broker.tell();
    until("the report", || broker.last_report().applied.position() == 1).await;
    until("the drain", || broker.last_report().drained == Some(1)).await;
    let reports = broker.reports();
    assert!(reports.is_sorted_by(|one, next| one.sequence < next.sequence && one.instance == next.instance));
    let status = follower.status();
    assert_eq!((status.counters.reports, status.counters.report_failures), (reports.len() as u64, 0));
}

#[tokio::test]
async fn reports_without_news_wait_for_interval_of_broker() {
    let broker = Broker::start().await;
    broker.with(|model| model.report_interval = 60);
    let follower = broker.reporting().start().await.unwrap();
    for _ in 0..6 {
        let requests = broker.with(|model| model.asked.len());
        broker.tell();
        until("a response without news", || broker.with(|model| model.asked.len()) > requests).await;
    }
    assert_eq!(broker.reports().len(), 1);
    broker.with(|model| model.issuer.revoke(Level::Task, "task"));
    broker.tell();
    until("the report with news", || broker.last_report().applied.position() == 1).await;

    // Without a lease the instance reports at once.
    until("the drain", || broker.last_report().drained == Some(1)).await;
    let count = || broker.with(|model| model.reports.len());
    let before = count();
    broker.pass(Report::LEASE.as_secs() + 1);
    broker.tell();
    until("the report", || count() > before).await;
    until("the lease", || follower.status().ready).await;
}

#[tokio::test]
async fn reports_new_key_set_after_fetch() {
    let broker = Broker::start().await;
    let _follower = broker.reporting().start().await.unwrap();
    broker.with(|model| model.issuer.prepare_key([8; 32]));
    broker.tell();
    let digest = broker.with(|model| model.issuer.key_set().digest());
    until("the report", || broker.last_report().key_set == Some(digest)).await;
}

#[tokio::test]
async fn accepts_no_token_before_broker_accepts_report() {
    let broker = Broker::start().await;
    // A 200 with the header is of something else in the broker's place.
    for (text, code) in [("403 Forbidden", 403), ("200 OK", 200)] {
        broker.respond_to_reports(text);
        let refused = broker.reporting().start().await.unwrap_err();
        assert!(matches!(refused, RemoteError::UnexpectedStatus { status, .. } if status == code), "{refused}");
    }
    let follower = broker.reporting().start_lazily().unwrap();
    let verifier = follower.verifier().build();
    until("the list", || follower.status().revocations.unwrap().cursor.is_some()).await;
    until("a rejected report", || follower.status().counters.report_failures > 0).await;
    assert!(is_not_reported(&verifier, &broker.token()));
    assert_eq!(verifier.status().reason, Some("not_reported"));
    assert!(verifier.ready().unwrap_err().is_unavailable());
    broker.respond_to_reports("204 No Content");
    until("the first report", || verifier.verify(&broker.token()).is_ok()).await;
}

#[tokio::test]
async fn forged_acceptance_of_unknown_instance_gives_no_lease() {
    let broker = Broker::start().await;
    let follower = broker.reporting().start_lazily().unwrap();
    let verifier = follower.verifier().build();
    until("the first report", || verifier.verify(&broker.token()).is_ok()).await;
    follower.leave().await;

    // A server in the broker's place, which has the acceptance of an earlier report of this instance's verifier.
    let earlier = broker.with(|model| model.acceptance.clone());
    let own = SigningKey::from_seed(&[9; 32]).unwrap().sign_document(ReportAcceptance::MEDIA_TYPE, b"{}");
    for forged in [String::new(), own, earlier] {
        broker.with(|model| model.forged_acceptance = Some(forged.clone()));
        let refused = broker.reporting().start().await.unwrap_err();
        assert!(matches!(refused, RemoteError::Acceptance { .. }), "{forged}: {refused}");
        let follower = broker.reporting().start_lazily().unwrap();
        until("the list", || follower.status().revocations.unwrap().cursor.is_some()).await;
        until("a failure", || follower.status().counters.report_failures > 0).await;
        assert!(is_not_reported(&follower.verifier().build(), &broker.token()), "{forged}");
    }
    assert_eq!(broker.reports().iter().filter(|report| !report.leaving).count(), 1, "the broker knows one instance");
}

#[tokio::test]
async fn names_update_of_broker_when_acceptance_is_missing() {
    let broker = Broker::start().await;
    // A broker of an earlier version: 204, without a signature.
    broker.with(|model| model.forged_acceptance = Some(String::new()));
    let refused = broker.reporting().start().await.unwrap_err();
    assert!(matches!(refused, RemoteError::Acceptance { error: AcceptanceError::Missing, .. }), "{refused}");
    assert!(refused.to_string().ends_with("if the broker is older than this service, update the broker"), "{refused}");
}

#[tokio::test]
async fn forged_acceptances_do_not_extend_lease() {
    let broker = Broker::start().await;
    let follower = broker.reporting().start().await.unwrap();
    let verifier = follower.verifier().build();
    let earlier = broker.with(|model| model.acceptance.clone());
    broker.with(|model| model.forged_acceptance = Some(earlier));
    let failures = || follower.status().counters.report_failures;
    for seconds in [Report::LEASE.as_secs() - 1, 1] {
        assert!(verifier.verify(&broker.token()).is_ok());
        let before = failures();
        broker.pass(seconds);
        broker.with(|model| model.issuer.revoke(Level::Task, "other"));
        broker.tell();
        until("a failure", || failures() > before).await;
    }
    assert!(is_not_reported(&verifier, &broker.token()), "the broker may have forgotten this instance");
    broker.with(|model| model.forged_acceptance = None);
    until("the next lease", || verifier.verify(&broker.token()).is_ok()).await;
}

#[tokio::test]
async fn acceptance_by_new_key_counts_once_its_key_set_is_fetched() {
    let broker = Broker::start().await;
    let follower = broker.reporting().key_refresh_interval(Duration::from_secs(3600)).start().await.unwrap();
    broker.with(|model| {
        model.issuer.rotate_key([8; 32]);
        model.issuer.revoke(Level::Task, "other");
    });
    broker.tell();
    until("the report", || broker.last_report().applied.position() >= 1).await;
    until("the key set", || follower.status().keys > 1).await;
    until("the new key", || broker.last_report().key_set == Some(broker.with(|model| model.issuer.key_set().digest())))
        .await;
    assert_eq!(follower.status().counters.report_failures, 0);
}

#[tokio::test]
async fn restarted_instance_with_state_file_waits_for_its_first_report() {
    let place = Place::new("reports");
    let broker = Broker::start().await;
    let builder = broker.reporting().state_file(place.file());
    builder.clone().start().await.unwrap().leave().await;
    let before = broker.last_report().instance;
    broker.respond_to_reports("503 Service Unavailable");
    let follower = builder.start().await.unwrap();
    let verifier = follower.verifier().build();
    assert!(is_not_reported(&verifier, &broker.token()));
    broker.respond_to_reports("204 No Content");
    until("the first report", || verifier.verify(&broker.token()).is_ok()).await;
    assert_ne!(broker.last_report().instance, before);
}

#[tokio::test]
async fn failed_reports_change_nothing_until_lease_ends() {
    let broker = Broker::start().await;
    let follower = broker.reporting().max_staleness(Duration::from_secs(3600)).start().await.unwrap();
    let verifier = follower.verifier().build();
    broker.respond_to_reports("429 Too Many Requests");
    broker.with(|model| model.issuer.revoke(Level::Task, "other"));
    broker.tell();
    until("a rejected report", || follower.status().counters.report_failures > 0).await;
    broker.pass(Report::LEASE.as_secs() - 1);
    broker.tell();
    until("a fresh list", || verifier.verify(&broker.token()).is_ok()).await;
    broker.pass(1);
    assert!(is_not_reported(&verifier, &broker.token()));
    broker.respond_to_reports("204 No Content");
    until("a report", || verifier.verify(&broker.token()).is_ok()).await;
}

#[tokio::test]
async fn instance_without_bound_reports_none_and_has_no_lease() {
    let broker = Broker::start().await;
    let follower = broker.reporting().accept_stale_revocations().start().await.unwrap();
    assert_eq!(broker.last_report().bound, ReportedBound::Unbounded);
    broker.respond_to_reports("503 Service Unavailable");
    broker.pass(Report::LEASE.as_secs() + 1);
    assert!(follower.verifier().build().verify(&broker.token()).is_ok());
}

#[tokio::test]
async fn leaving_instance_accepts_no_token_and_reports_it() {
    let broker = Broker::start().await;
    let follower = broker.reporting().start().await.unwrap();
    let verifier = follower.verifier().build();
    follower.leave().await;
    assert!(is_not_reported(&verifier, &broker.token()));
    assert!(broker.last_report().leaving);

    let dropped = broker.reporting().start().await.unwrap();
    let (verifier, count) = (dropped.verifier().build(), broker.reports().len());
    drop(dropped);
    assert!(is_not_reported(&verifier, &broker.token()));
    until("the last report", || broker.reports().len() > count && broker.last_report().leaving).await;
}

#[tokio::test]
async fn reports_drained_cursor_only_when_earlier_requests_have_ended() {
    let broker = Broker::start().await;
    let follower = broker.reporting().start().await.unwrap();
    let request = follower.verifier().build().verify_token(&broker.token()).unwrap();
    let response = request.admission().cloned();
    broker.with(|model| model.issuer.revoke(Level::Task, "other"));
    broker.tell();
    until("the cursor", || broker.last_report().applied.position() == 1).await;
    drop(request);
    broker.with(|model| model.issuer.revoke(Level::Task, "another"));
    broker.tell();
    until("the next cursor", || broker.last_report().applied.position() == 2).await;
    assert!(broker.reports().iter().all(|report| report.drained.is_none_or(|drained| drained == 0)));
    drop(response);
    until("the drain", || broker.last_report().drained == Some(2)).await;
}

#[tokio::test]
async fn identity_needs_revocations() {
    let broker = Broker::start().await;
    let refused = broker.reporting().without_revocations().start().await.unwrap_err();
    assert_eq!(refused, RemoteError::NothingToReport);
}

#[test]
fn reads_signing_key_of_openssl() {
    // openssl genpkey -algorithm ed25519
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    // The public key of RFC 8032 §7.1, TEST 1.
    let expected = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key = SigningKey::from_pkcs8_pem(pem.as_bytes()).unwrap();
    assert_eq!(crate::support::encode(key.public_key().as_bytes()), expected);
    let rsa = pem.replace("MC4CAQAwBQYDK2Vw", "MC4CAQAwBQYDK2Vu");
    assert_eq!(SigningKey::from_pkcs8_pem(rsa.as_bytes()).unwrap_err(), SigningKeyError::OtherAlgorithm);
    assert!(matches!(SigningKey::from_pkcs8_pem(b"").unwrap_err(), SigningKeyError::Pem(_)));
}

#[tokio::test]
async fn rejected_report_ends_lease_at_once_and_unavailable_broker_does_not() {
    let broker = Broker::start().await;
    broker.with(|model| model.report_interval = 0);
    let follower = broker.reporting().start().await.unwrap();
    let verifier = follower.verifier().build();
    let fail_once = async |status: &'static str, rejection: &'static str| {
        broker.with(|model| {
            (model.report_status, model.rejection) = (status, rejection);
            model.issuer.revoke(Level::Task, "another");
        });
        let failures = || follower.status().counters.report_failures;
        let before = failures();
        broker.tell();
        until("a failure", || failures() > before).await;
    };
    let accept = async || {
        let before = broker.with(|model| model.reports.len());
        broker.with(|model| (model.report_status, model.rejection) = ("204 No Content", ""));
        until("an accepted report", || broker.with(|model| model.reports.len()) > before).await;
    };
    let problem = r#"{"type":"about:blank","detail":"no enrolled verifier signed this report"}"#;
    // A proxy's own page, and what the broker rejects for a while.
    for (status, rejection) in
        [("403 Forbidden", ""), ("429 Too Many Requests", problem), ("503 Service Unavailable", problem)]
    {
        fail_once(status, rejection).await;
        assert!(verifier.verify(&broker.token()).is_ok(), "{status}");
        accept().await;
    }
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "409 Conflict", "422 Unprocessable Content"]
    {
        fail_once(status, problem).await;
        assert!(is_not_reported(&verifier, &broker.token()), "{status}");
        accept().await;
        until("the next lease", || verifier.verify(&broker.token()).is_ok()).await;
    }
}

#[tokio::test]
async fn rejected_report_ends_permission_to_use_stale_list() {
    let broker = Broker::start().await;
    broker.with(|model| model.report_interval = 0);
    let follower = broker.reporting().accept_stale_revocations().start().await.unwrap();
    let verifier = follower.verifier().build();
    assert!(verifier.verify(&broker.token()).is_ok());
    let problem = r#"{"detail":"bound is larger than the 30 s that the verifier may have"}"#;
    broker.with(|model| {
        (model.report_status, model.rejection) = ("400 Bad Request", problem);
        model.issuer.revoke(Level::Task, "another");
    });
    broker.tell();
    until("the rejection", || is_not_reported(&verifier, &broker.token())).await;
    let failed = broker.reporting().start().await.unwrap_err();
    let expected = "rejected the report with status 400: bound is larger than the 30 s that the verifier may have";
    assert!(failed.to_string().ends_with(expected), "{failed}");
}

//! Reports of verifiers, as their brokers decode and verify them.

use std::time::Duration;

use agentwrit_verify::{
    Clock, FeedCursor, UnixTime, VerifyError,
    feed::Staleness,
    issue::SigningKey,
    report::{InstanceId, Report, ReportError, ReportedBound, UnverifiedReport, VerifierName},
    testing::{ManualClock, TestFollower, TestIssuer},
};
use serde_json::{Value, json};

use crate::support::{START, at, signed_by};

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

fn report() -> Report {
    Report {
        verifier: VerifierName::parse("payments-api").unwrap(),
        audience: TestIssuer::ISSUER.into(),
        issued_at: at(START),
        instance: InstanceId::from_bytes([1; 16]),
        sequence: 7,
        applied: FeedCursor::parse("9f2c.1842").unwrap(),
        true_at: Some(at(START - 2)),
        bound: ReportedBound::Seconds(30),
        key_set: Some(TestIssuer::new().key_set().digest()),
        drained: Some(1840),
        leaving: false,
    }
}

fn read_at(text: &str, now: UnixTime) -> Result<Report, ReportError> {
    UnverifiedReport::decode(text)?.verify(key().public_key(), TestIssuer::ISSUER, now)
}

fn read(text: &str) -> Result<Report, ReportError> {
    read_at(text, at(START))
}

fn payload() -> Value {
    json!({
        "iss": "verifier:payments-api", "aud": TestIssuer::ISSUER, "iat": START, "instance": "01".repeat(16), "seq": 7,
        "epoch": "9f2c", "cursor": 1842, "true_at": START - 2, "bound": 30, "kids": TestIssuer::new().key_set().digest().to_string(),
        "drained": 1840,
    })
}

fn signed(payload: &Value) -> String {
    key().sign_document(Report::MEDIA_TYPE, payload.to_string().as_bytes())
}

/// The monotonic clock of Linux stops while the machine sleeps, and the broker forgets an instance after its lease.
#[test]
fn instance_that_slept_past_its_lease_accepts_no_token_until_it_reports_again() {
    let issuer = TestIssuer::new();
    let clock = ManualClock::new(issuer.clock().now());
    let mut follower = TestFollower::with_clock(&issuer, Staleness::default(), clock.clone())
        .with_identity(report().verifier, report().instance);
    follower.poll(&issuer).unwrap();
    follower.report_accepted(clock.monotonic(), issuer.cursor());
    for (slept, accepts) in
        [(Report::LEASE.saturating_sub(Duration::from_secs(1)), true), (Duration::from_secs(1), false)]
    {
        issuer.clock().advance(slept);
        clock.set(issuer.clock().now());
        follower.poll(&issuer).unwrap();
        let verified = follower.verifier().verify(&issuer.token(&["a:b:c"]));
        assert_eq!(verified.err(), (!accepts).then_some(VerifyError::NotReported));
    }
    follower.report_accepted(clock.monotonic(), issuer.cursor());
    assert!(follower.verifier().verify(&issuer.token(&["a:b:c"])).is_ok());
}

/// A broker compares it with the times of its commits.
#[test]
fn report_names_time_of_which_its_list_was_true() {
    let issuer = TestIssuer::new();
    let clock = ManualClock::new(issuer.clock().now());
    let mut follower = TestFollower::with_clock(&issuer, Staleness::default(), clock.clone())
        .with_identity(report().verifier, report().instance);
    for (passed, is_polled) in [(0, true), (7, false), (7, true)] {
        let before = follower.report().and_then(|report| report.true_at);
        issuer.clock().advance(Duration::from_secs(passed));
        clock.advance(Duration::from_secs(passed));
        if is_polled {
            follower.poll(&issuer).unwrap();
        }
        let report = follower.report().unwrap();
        let expected = if is_polled { Some(UnixTime::from_seconds(issuer.clock().now().seconds())) } else { before };
        assert_eq!((report.applied, report.true_at), (issuer.cursor(), expected));
    }
}

#[test]
fn decodes_what_is_signed() {
    let last = Report {
        bound: ReportedBound::Unbounded,
        true_at: None,
        key_set: None,
        drained: None,
        leaving: true,
        ..report()
    };
    for report in [report(), last] {
        assert_eq!(read(&report.sign(&key())), Ok(report));
    }
}

#[test]
fn decodes_members_of_contract_and_ignores_others() {
    assert_eq!(read(&signed(&payload())), Ok(report()));
    let mut more = payload();
    more["usage"] = json!({"granted": 3});
    assert_eq!(read(&signed(&more)), Ok(report()));
}

#[test]
fn rejects_malformed_members() {
    for (member, value) in [
        ("iss", json!("payments-api")),
        ("iss", json!("verifier:")),
        ("iss", json!("verifier:a/b")),
        ("aud", json!(1)),
        ("iat", json!(-1)),
        ("instance", json!("01")),
        ("seq", json!("7")),
        ("epoch", json!("")),
        ("epoch", json!("a b")),
        ("cursor", json!(1.5)),
        ("bound", json!("never")),
        ("bound", json!(-1)),
        ("bound", Value::Null),
        ("kids", json!("short")),
        ("drained", json!(1843)),
        ("leaving", json!("yes")),
    ] {
        let mut payload = payload();
        payload[member] = value.clone();
        let refused = read(&signed(&payload));
        assert!(matches!(refused, Err(ReportError::Malformed { .. })), "{member} {value}: {refused:?}");
    }
    for member in ["iss", "aud", "iat", "instance", "seq", "epoch", "cursor", "bound"] {
        let mut payload = payload();
        payload.as_object_mut().unwrap().remove(member);
        assert!(matches!(read(&signed(&payload)), Err(ReportError::Malformed { .. })), "{member}");
    }
    let twice = payload().to_string().replacen('{', r#"{"seq":8,"#, 1);
    let twice = key().sign_document(Report::MEDIA_TYPE, twice.as_bytes());
    assert!(matches!(read(&twice), Err(ReportError::Malformed { .. })));
}

#[test]
fn rejects_other_types_keys_audiences_and_times() {
    let other = SigningKey::from_seed(&[6; 32]).unwrap();
    let header = |kid: &SigningKey, media_type: &str| {
        json!({"alg": "EdDSA", "typ": media_type, "kid": kid.id().as_str()}).to_string()
    };
    let body = payload().to_string();
    let token = signed_by(&key(), header(&key(), "JWT"), &body);
    assert_eq!(read(&token), Err(ReportError::UnexpectedType { found: "JWT".into() }));
    let foreign = signed_by(&other, header(&other, Report::MEDIA_TYPE), &body);
    assert_eq!(read(&foreign), Err(ReportError::OtherKey { kid: Some(other.id().to_string()) }));
    let forged = signed_by(&other, header(&key(), Report::MEDIA_TYPE), &body);
    assert_eq!(read(&forged), Err(ReportError::BadSignature));
    let unnamed = signed_by(&key(), json!({"alg": "EdDSA", "typ": Report::MEDIA_TYPE}).to_string(), &body);
    assert_eq!(read(&unnamed), Err(ReportError::OtherKey { kid: None }));
    let elsewhere = Report { audience: "https://other.test".into(), ..report() }.sign(&key());
    assert_eq!(read(&elsewhere), Err(ReportError::WrongAudience { found: "https://other.test".into() }));
    let text = report().sign(&key());
    for (now, by) in [(START + 60, None), (START - 60, None), (START + 61, Some(61)), (START - 61, Some(61))] {
        let refused = read_at(&text, at(now)).err();
        let by = by.map(std::time::Duration::from_secs);
        assert_eq!(refused, by.map(|by| ReportError::NotCurrent { by }), "{now}");
    }
    let long = "a".repeat(Report::MAX_LENGTH + 1);
    let limit = VerifyError::TooLong { length: Report::MAX_LENGTH + 1, limit: Report::MAX_LENGTH };
    assert_eq!(read(&long), Err(ReportError::NotSigned(limit)));
}

#[test]
fn token_and_feed_decoders_reject_reports() {
    let issuer = TestIssuer::new();
    let text = report().sign(issuer.signing_key());
    assert!(matches!(issuer.verifier().verify(&text), Err(VerifyError::UnexpectedType { .. })));
    assert!(matches!(read(&issuer.feed_response(None)), Err(ReportError::UnexpectedType { .. })));
    assert!(matches!(read(&issuer.token(&["a:b:c"])), Err(ReportError::UnexpectedType { .. })));
}

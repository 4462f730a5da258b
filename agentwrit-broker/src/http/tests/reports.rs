//! Hostile reports to the real router.

use agentwrit_protocol::limits::MAX_BODY;
use agentwrit_verify::{
    FeedCursor,
    issue::SigningKey,
    report::{InstanceId, Report, ReportedBound, VerifierName},
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

use super::openapi::walk::{ADMIN_SECRET, Walk};

const REPORTS: &str = "/v1/verifiers/reports";

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

/// A broker with a verifier `api` of [`key`], and the operator's token.
pub(super) async fn start() -> (Walk, String) {
    let walk = Walk::start().await;
    let login = json!({"secret": ADMIN_SECRET}).to_string().into_bytes();
    let admin = walk.send("POST", "/v1/admin/auth", None, Some(login)).await.text("access_token");
    let enrolment = json!({"name": "api", "public_key": BASE64.encode(key().public_key().as_bytes())});
    let body = Some(enrolment.to_string().into_bytes());
    assert_eq!(walk.send("POST", "/v1/admin/verifiers", Some(&admin), body).await.status, 201);
    (walk, admin)
}

pub(super) fn report(walk: &Walk, sequence: u64) -> Report {
    let end = walk.services.feed.end();
    Report {
        verifier: VerifierName::parse("api").unwrap(),
        audience: walk.services.issuer.name().to_owned(),
        issued_at: walk.services.ledger.now(),
        instance: InstanceId::from_bytes([1; 16]),
        sequence,
        applied: FeedCursor::new(&end.epoch, end.cursor).unwrap(),
        true_at: None,
        bound: ReportedBound::Seconds(30),
        key_set: None,
        drained: None,
        leaving: false,
    }
}

/// Status and detail of the response to a report.
pub(super) async fn send(walk: &Walk, text: impl Into<Vec<u8>>) -> (u16, String) {
    let answer = walk.send("POST", REPORTS, None, Some(text.into())).await;
    let detail = if answer.status == 204 { String::new() } else { answer.text("detail") };
    (answer.status, detail)
}

fn payload(report: &Report) -> Value {
    let signed = report.sign(&key());
    let payload = signed.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

#[tokio::test]
async fn rejects_bodies_that_are_no_reports() {
    let (walk, admin) = start().await;
    for text in ["", "x", "a.b.c", "{}", "\u{e9}.\u{e9}.\u{e9}"] {
        assert_eq!(send(&walk, text).await.0, 400, "{text:?}");
    }
    assert_eq!(send(&walk, [0xff, 0xfe]).await, (400, "body: a report is ASCII text".to_owned()));
    let token = send(&walk, admin.as_str()).await;
    assert_eq!(token, (400, "type `JWT` is not that of a report".to_owned()));
    let feed = walk.send("GET", "/v1/revocations", None, None).await;
    let feed = send(&walk, feed.json().as_str().unwrap()).await;
    assert_eq!(feed, (400, "type `agentwrit-revocations+jwt` is not that of a report".to_owned()));
    let untyped = key().sign_document("JWT", payload(&report(&walk, 1)).to_string().as_bytes());
    assert_eq!(send(&walk, untyped).await.0, 400);
}

#[tokio::test]
async fn rejects_large_report_without_reading_all_of_it() {
    let (walk, _) = start().await;
    for length in [Report::MAX_LENGTH + 1, MAX_BODY, MAX_BODY + 1] {
        assert_eq!(send(&walk, vec![b'a'; length]).await.0, 413, "{length}");
    }
    assert_eq!(send(&walk, vec![b'a'; Report::MAX_LENGTH]).await.0, 400);
}

#[tokio::test]
async fn rejects_unsigned_and_foreign_signatures_with_the_same_response() {
    let (walk, _) = start().await;
    let signed = report(&walk, 1).sign(&key());
    let parts: Vec<&str> = signed.split('.').collect();
    let header = |header: Value| BASE64URL_NOPAD.encode(header.to_string().as_bytes());
    let typ = Report::MEDIA_TYPE;
    let kid = key().public_key().id().as_str().to_owned();
    for unsigned in [
        format!("{}.{}.", header(json!({"alg": "none", "typ": typ, "kid": kid})), parts[1]),
        format!("{}.{}.{}", header(json!({"alg": "HS256", "typ": typ, "kid": kid})), parts[1], parts[2]),
    ] {
        assert_eq!(send(&walk, unsigned).await.0, 400);
    }
    let other = SigningKey::from_seed(&[4; 32]).unwrap();
    let unknown = Report { verifier: VerifierName::parse("unknown").unwrap(), ..report(&walk, 1) };
    let rejected = (401, "no enrolled verifier signed this report".to_owned());
    let altered = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86));
    for text in [report(&walk, 1).sign(&other), unknown.sign(&key()), altered] {
        assert_eq!(send(&walk, text).await, rejected);
    }
    assert_eq!(send(&walk, signed).await.0, 204);
}

#[tokio::test]
async fn rejects_malformed_payloads_that_the_enrolled_key_signed() {
    let (walk, _) = start().await;
    let good = payload(&report(&walk, 1));
    let changed = |member: &str, value: Value| {
        let mut payload = good.clone();
        payload[member] = value;
        payload.to_string()
    };
    let nested = format!(r#"{{"more": {}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    for payload in [
        changed("iss", json!("api")),
        changed("iss", json!("verifier:../etc")),
        changed("aud", json!("https://other.test")),
        changed("iat", json!(u64::MAX)),
        changed("iat", json!(0)),
        changed("instance", json!("0F".repeat(16))),
        changed("seq", json!(-1)),
        changed("seq", json!(u64::MAX)),
        changed("epoch", json!("a b")),
        changed("cursor", json!(1.5)),
        changed("bound", json!("forever")),
        changed("kids", json!("short")),
        changed("drained", json!(u64::MAX)),
        changed("leaving", json!("yes")),
        good.to_string().replacen('{', r#"{"seq":1,"#, 1),
        nested,
        String::from("[]"),
        String::new(),
    ] {
        let (status, detail) = send(&walk, key().sign_document(Report::MEDIA_TYPE, payload.as_bytes())).await;
        assert_eq!(status, 400, "{payload}: {detail}");
    }
    assert_eq!(send(&walk, report(&walk, 1).sign(&key())).await.0, 204);
}

#[tokio::test]
async fn report_is_no_credential() {
    let (walk, _) = start().await;
    let signed = report(&walk, 1).sign(&key());
    for (method, path) in [("POST", "/v1/token/renew"), ("GET", "/v1/admin/verifiers"), ("POST", "/v1/revoke")] {
        assert_eq!(walk.send(method, path, Some(&signed), None).await.status, 401, "{path}");
    }
    let body = json!({"token": signed}).to_string().into_bytes();
    let judged = walk.send("POST", "/v1/token/validate", None, Some(body)).await;
    assert_eq!(judged.json()["valid"], false);
}

#[tokio::test]
async fn list_shows_lag_bound_and_pages() {
    let (walk, admin) = start().await;
    for name in ["b", "c"] {
        let enrolment =
            json!({"name": name, "public_key": BASE64.encode(key().public_key().as_bytes()), "max_bound": 60});
        let body = Some(enrolment.to_string().into_bytes());
        assert_eq!(walk.send("POST", "/v1/admin/verifiers", Some(&admin), body).await.status, 201);
    }
    assert_eq!(send(&walk, report(&walk, 1).sign(&key())).await.0, 204);
    let foreign = Report {
        instance: InstanceId::from_bytes([2; 16]),
        applied: FeedCursor::new("other", 7).unwrap(),
        bound: ReportedBound::Unbounded,
        ..report(&walk, 1)
    };
    assert_eq!(send(&walk, foreign.sign(&key())).await.0, 204);
    let list =
        async |query: &str| walk.send("GET", &format!("/v1/admin/verifiers?{query}"), Some(&admin), None).await.json();
    let names = |page: &Value| -> Vec<String> {
        let verifiers = page["verifiers"].as_array().unwrap();
        verifiers.iter().map(|verifier| verifier["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = list("limit=2").await;
    assert_eq!((names(&first), &first["total"]), (vec!["api".to_owned(), "b".to_owned()], &json!(3)));
    let next = list(&format!("limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(names(&next), ["c"]);
    let instances = &first["verifiers"][0]["instances"];
    assert_eq!((&instances[0]["behind"], &instances[0]["bound"]), (&json!(0), &json!(30)));
    assert_eq!((instances[1].get("behind"), &instances[1]["bound"]), (None, &json!("none")));
    let metrics = String::from_utf8(walk.send("GET", "/v1/metrics", None, None).await.body).unwrap();
    for line in [
        "agentwrit_verifiers 3",
        r#"agentwrit_verifier_instances{verifier="api"} 2"#,
        "agentwrit_verifier_reports_total 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

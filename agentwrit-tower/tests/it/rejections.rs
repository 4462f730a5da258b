//! Exact status, headers and body of each rejection. Contract §1.

use std::time::Duration;

use agentwrit_tower::protocol::RequestId;
use agentwrit_tower::verify::issue::SigningKey;
use agentwrit_tower::verify::testing::{TestFollower, TestIssuer};
use agentwrit_tower::verify::{Staleness, TrustedKeys, Verifier, Verifiers};
use agentwrit_tower::{Authenticate, RequireScope};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_layer::Layer;

use crate::support::{
    CollectedResponse, INVALID_TOKEN, Inner, NO_TOKEN, Plain, bearer, get, get_without_token, mistake, send,
};

type Protected = agentwrit_tower::RequireScopeService<Plain>;

fn protected(issuer: &TestIssuer) -> Protected {
    RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(Inner::default().service())
}

/// Asserts everything that a client receives.
fn assert_rejected(response: &CollectedResponse, status: StatusCode, extra_headers: &[(&str, &str)], body: &Value) {
    let mut expected = vec![
        ("cache-control", "no-store"),
        ("content-type", "application/problem+json"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("x-request-id", "req-1"),
    ];
    expected.extend_from_slice(extra_headers);
    expected.sort_unstable();
    let mut headers: Vec<_> =
        response.headers.keys().map(|name| (name.as_str(), response.header(name.as_str()).unwrap())).collect();
    headers.sort_unstable();

    assert_eq!(response.status, status);
    assert_eq!(headers, expected);
    assert_eq!(&response.json(), body);
}

fn invalid_token_body() -> Value {
    json!({
        "type": "urn:agentwrit:error:unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": "token verification failed",
        "instance": "/data/7",
        "error_code": "unauthorized",
        "request_id": "req-1",
    })
}

#[tokio::test]
async fn missing_token_is_401_with_plain_challenge() {
    let response = send(&protected(&TestIssuer::new()), get_without_token("/data/7?x=1")).await;
    assert_rejected(
        &response,
        StatusCode::UNAUTHORIZED,
        &[("www-authenticate", NO_TOKEN)],
        &json!({
            "type": "urn:agentwrit:error:unauthorized",
            "title": "Unauthorized",
            "status": 401,
            "detail": "a Bearer token is required",
            "instance": "/data/7",
            "error_code": "unauthorized",
            "request_id": "req-1",
            "hint": "send one `Authorization: Bearer <token>` header",
        }),
    );
}

#[tokio::test]
async fn every_invalid_token_is_same_401() {
    let issuer = TestIssuer::new();
    let service = protected(&issuer);
    let foreign = SigningKey::from_seed(&[8; 32]).unwrap();
    let good = issuer.token(&["read:data:7"]);

    for token in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        "a".repeat(9000),
        tampered(&good),
        good.trim_end_matches(|c: char| c != '.').to_owned(),
        foreign.sign_token(&issuer.claims(&["read:data:7"])),
    ] {
        let response = send(&service, get("/data/7", &bearer(&token))).await;
        assert_rejected(
            &response,
            StatusCode::UNAUTHORIZED,
            &[("www-authenticate", INVALID_TOKEN)],
            &invalid_token_body(),
        );
    }
}

#[tokio::test]
async fn expired_token_is_same_401() {
    let issuer = TestIssuer::new();
    let service = protected(&issuer);
    let token = issuer.token(&["read:data:7"]);

    assert_eq!(send(&service, get("/data/7", &bearer(&token))).await.status, StatusCode::OK);
    issuer.clock().advance(Duration::from_secs(300));
    let response = send(&service, get("/data/7", &bearer(&token))).await;
    assert_rejected(&response, StatusCode::UNAUTHORIZED, &[("www-authenticate", INVALID_TOKEN)], &invalid_token_body());
}

#[tokio::test]
async fn outer_authenticate_rejects_with_same_response() {
    let issuer = TestIssuer::new();
    let service = Authenticate::new(issuer.verifier()).layer(Inner::default().service());
    let response = send(&service, get("/data/7", "Bearer a.b.c")).await;
    assert_rejected(&response, StatusCode::UNAUTHORIZED, &[("www-authenticate", INVALID_TOKEN)], &invalid_token_body());
}

#[tokio::test]
async fn insufficient_scope_is_403_and_names_required_scope() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:8", "write:data:7"]);
    let response = send(&protected(&issuer), get("/data/7", &bearer(&token))).await;
    assert_rejected(
        &response,
        StatusCode::FORBIDDEN,
        &[("www-authenticate", r#"Bearer realm="agentwrit", error="insufficient_scope", scope="read:data:7""#)],
        &json!({
            "type": "urn:agentwrit:error:insufficient_scope",
            "title": "Forbidden",
            "status": 403,
            "detail": "the token lacks the required scope `read:data:7`",
            "instance": "/data/7",
            "error_code": "insufficient_scope",
            "request_id": "req-1",
            "hint": "use a token that was granted the scope which the challenge names",
        }),
    );
}

#[tokio::test]
async fn stale_revocations_are_503_for_their_issuer_only() {
    let issuer = TestIssuer::new();
    let mut followed = TestFollower::of(&issuer, Staleness::default());
    let keys = TestIssuer::with_seed([8; 32]).key_set();
    let other = Verifier::builder().issuer("https://other.test").keys(keys).without_revocations().build();
    let verifiers = Verifiers::new([followed.verifier().clone(), other]).unwrap();
    let service = RequireScope::new("read:data:7").verifier(verifiers).layer(Inner::default().service());
    let request = || get("/data/7", &bearer(&issuer.token(&["read:data:7"])));

    let none_yet = send(&service, request()).await;
    followed.poll(&issuer).unwrap();
    let fresh = send(&service, request()).await;
    issuer.clock().advance(Duration::from_secs(25));
    let stale = send(&service, request()).await;
    let statuses = [&none_yet, &fresh, &stale].map(|response| response.status);
    assert_eq!(statuses, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
    assert_eq!([&none_yet, &stale].map(|response| response.header("retry-after")), [Some("5"); 2]);
}

#[tokio::test]
async fn missing_keys_are_503_for_every_token() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:7").verifier(without_keys()).layer(Inner::default().service());
    let response = send(&service, get("/data/7", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_rejected(
        &response,
        StatusCode::SERVICE_UNAVAILABLE,
        &[("retry-after", "5")],
        &json!({
            "type": "urn:agentwrit:error:unavailable",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "tokens cannot be verified at present",
            "instance": "/data/7",
            "error_code": "unavailable",
            "request_id": "req-1",
            "hint": "the token is not at fault: send the same request again later",
        }),
    );
}

#[tokio::test]
async fn missing_layer_is_500_named_by_debug_build_only() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new("read:data:7").layer(inner.service());
    let response = send(&service, get("/data/7", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_rejected(
        &response,
        StatusCode::INTERNAL_SERVER_ERROR,
        &[],
        &mistake("no verifier here and no `Authenticate` layer around it", "/data/7"),
    );
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn members_of_problem_have_order_of_contract() {
    let response = send(&protected(&TestIssuer::new()), get("/data/7", "Bearer a.b.c")).await;
    assert_eq!(
        std::str::from_utf8(&response.body).unwrap(),
        r#"{"type":"urn:agentwrit:error:unauthorized","title":"Unauthorized","status":401,"detail":"token verification failed","instance":"/data/7","error_code":"unauthorized","request_id":"req-1"}"#
    );
}

#[tokio::test]
async fn replaces_malformed_or_absent_request_id() {
    let service = protected(&TestIssuer::new());
    for sent in [None, Some(""), Some("a b"), Some("caf\u{e9}"), Some("<script>"), Some(&*"a".repeat(129))] {
        let mut request = Request::get("/").body(Full::<Bytes>::default()).unwrap();
        if let Some(sent) = sent {
            request.headers_mut().insert("x-request-id", sent.parse().unwrap());
        }
        let response = send(&service, request).await;
        let made = response.header("x-request-id").unwrap();
        assert_eq!(made.len(), 16, "{made}");
        assert!(made.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{made}");
        assert_eq!(response.json()["request_id"], made);
    }
}

#[tokio::test]
async fn generated_request_ids_differ() {
    let service = protected(&TestIssuer::new());
    let request = || Request::get("/").body(Full::<Bytes>::default()).unwrap();
    let first = send(&service, request()).await;
    let second = send(&service, request()).await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn prefers_request_id_of_outer_layer() {
    let mut request: Request<Full<Bytes>> = get_without_token("/");
    request.extensions_mut().insert(RequestId::parse("from-outside").unwrap());
    let response = send(&protected(&TestIssuer::new()), request).await;
    assert_eq!(response.header("x-request-id"), Some("from-outside"));
    assert_eq!(response.json()["request_id"], "from-outside");
}

/// Returns the token with one character of its signature changed.
fn tampered(token: &str) -> String {
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{rest}.{first}{}", &signature[1..])
}

fn without_keys() -> Verifier {
    Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None)).without_revocations().build()
}

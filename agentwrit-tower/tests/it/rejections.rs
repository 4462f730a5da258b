//! Each rejection to the letter: status, headers, body. Contract §1.

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

/// Asserts everything that a client sees.
fn assert_rejected(answer: &CollectedResponse, status: StatusCode, extra_headers: &[(&str, &str)], body: &Value) {
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
        answer.headers.keys().map(|name| (name.as_str(), answer.header(name.as_str()).unwrap())).collect();
    headers.sort_unstable();

    assert_eq!(answer.status, status);
    assert_eq!(headers, expected);
    assert_eq!(&answer.json(), body);
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
async fn no_token_is_401_with_a_bare_challenge() {
    let answer = send(&protected(&TestIssuer::new()), get_without_token("/data/7?x=1")).await;
    assert_rejected(
        &answer,
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
async fn every_bad_token_is_the_same_401() {
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
        let answer = send(&service, get("/data/7", &bearer(&token))).await;
        assert_rejected(
            &answer,
            StatusCode::UNAUTHORIZED,
            &[("www-authenticate", INVALID_TOKEN)],
            &invalid_token_body(),
        );
    }
}

#[tokio::test]
async fn an_expired_token_is_the_same_401() {
    let issuer = TestIssuer::new();
    let service = protected(&issuer);
    let token = issuer.token(&["read:data:7"]);

    assert_eq!(send(&service, get("/data/7", &bearer(&token))).await.status, StatusCode::OK);
    issuer.clock().advance(Duration::from_secs(300));
    let answer = send(&service, get("/data/7", &bearer(&token))).await;
    assert_rejected(&answer, StatusCode::UNAUTHORIZED, &[("www-authenticate", INVALID_TOKEN)], &invalid_token_body());
}

#[tokio::test]
async fn an_outer_authenticate_refuses_in_the_same_words() {
    let issuer = TestIssuer::new();
    let service = Authenticate::new(issuer.verifier()).layer(Inner::default().service());
    let answer = send(&service, get("/data/7", "Bearer a.b.c")).await;
    assert_rejected(&answer, StatusCode::UNAUTHORIZED, &[("www-authenticate", INVALID_TOKEN)], &invalid_token_body());
}

#[tokio::test]
async fn too_small_a_scope_is_403_and_names_the_one_that_is_needed() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:8", "write:data:7"]);
    let answer = send(&protected(&issuer), get("/data/7", &bearer(&token))).await;
    assert_rejected(
        &answer,
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
async fn without_fresh_revocations_it_is_503_and_each_issuer_has_its_own() {
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
    let statuses = [&none_yet, &fresh, &stale].map(|answer| answer.status);
    assert_eq!(statuses, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
    assert_eq!([&none_yet, &stale].map(|answer| answer.header("retry-after")), [Some("5"); 2]);
}

#[tokio::test]
async fn without_keys_it_is_503_whatever_the_token() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:7").verifier(without_keys()).layer(Inner::default().service());
    let answer = send(&service, get("/data/7", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_rejected(
        &answer,
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
async fn forgotten_layer_is_500_and_debug_build_says_which() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new("read:data:7").layer(inner.service());
    let answer = send(&service, get("/data/7", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_rejected(
        &answer,
        StatusCode::INTERNAL_SERVER_ERROR,
        &[],
        &mistake("no verifier here and no `Authenticate` layer around it", "/data/7"),
    );
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn the_order_of_the_members_is_that_of_the_contract() {
    let answer = send(&protected(&TestIssuer::new()), get("/data/7", "Bearer a.b.c")).await;
    assert_eq!(
        std::str::from_utf8(&answer.body).unwrap(),
        r#"{"type":"urn:agentwrit:error:unauthorized","title":"Unauthorized","status":401,"detail":"token verification failed","instance":"/data/7","error_code":"unauthorized","request_id":"req-1"}"#
    );
}

#[tokio::test]
async fn a_request_id_that_is_ill_formed_or_absent_is_replaced() {
    let service = protected(&TestIssuer::new());
    for sent in [None, Some(""), Some("a b"), Some("caf\u{e9}"), Some("<script>"), Some(&*"a".repeat(129))] {
        let mut request = Request::get("/").body(Full::<Bytes>::default()).unwrap();
        if let Some(sent) = sent {
            request.headers_mut().insert("x-request-id", sent.parse().unwrap());
        }
        let answer = send(&service, request).await;
        let made = answer.header("x-request-id").unwrap();
        assert_eq!(made.len(), 16, "{made}");
        assert!(made.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{made}");
        assert_eq!(answer.json()["request_id"], made);
    }
}

#[tokio::test]
async fn two_made_request_ids_differ() {
    let service = protected(&TestIssuer::new());
    let request = || Request::get("/").body(Full::<Bytes>::default()).unwrap();
    let first = send(&service, request()).await;
    let second = send(&service, request()).await;
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_request_id_from_a_layer_outside_wins() {
    let mut request: Request<Full<Bytes>> = get_without_token("/");
    request.extensions_mut().insert(RequestId::parse("from-outside").unwrap());
    let answer = send(&protected(&TestIssuer::new()), request).await;
    assert_eq!(answer.header("x-request-id"), Some("from-outside"));
    assert_eq!(answer.json()["request_id"], "from-outside");
}

/// The token with one character of its signature changed.
fn tampered(token: &str) -> String {
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{rest}.{first}{}", &signature[1..])
}

fn without_keys() -> Verifier {
    Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None)).without_revocations().build()
}

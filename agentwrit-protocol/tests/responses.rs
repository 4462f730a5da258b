//! Responses of a broker, this project's and others', as a client reads them.
#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

use agentwrit_protocol::{
    AppCreationResponse, AppStatus, ChallengeResponse, DelegationResponse, KeyState, ReportedClaims, ValidationResponse,
};
use agentwrit_verify::{ClaimSet, UnixTime};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const AGENT: &str = "spiffe://agentwrit.local/agent/orch-1/task-1/0123456789abcdef";

fn read<T: DeserializeOwned>(body: &Value) -> T {
    agentwrit_json::object_from_slice(body.to_string().as_bytes(), 16).unwrap()
}

/// 64 scopes of the maximal length.
fn longest_scopes() -> Vec<String> {
    (0..64).map(|index| format!("read:{index:02}:{}", "x".repeat(248))).collect()
}

/// A delegation chain of the maximal depth, with the longest scopes.
fn longest_chain() -> Value {
    let record = json!({
        "agent": AGENT, "scope": longest_scopes(), "delegated_at": "2026-11-21T08:00:00Z", "delegate": AGENT,
        "sid": "05".repeat(16), "expires_at": "2026-11-21T09:00:00Z", "signature": "0".repeat(128),
    });
    json!([record, record, record, record, record])
}

fn claims(chain: &Value) -> Value {
    json!({
        "iss": "https://agentwrit.local", "sub": AGENT, "exp": 2, "nbf": 1, "iat": 1, "jti": "05".repeat(16),
        "scope": longest_scopes(), "sid": "05".repeat(16), "delegation_chain": chain, "chain_hash": "0".repeat(64),
    })
}

#[test]
fn reads_optional_members_that_are_well_formed() {
    let app: AppCreationResponse = read(&json!({
        "app_id": "app-desk-000000", "client_id": "c", "client_secret": "s", "name": "desk",
        "scopes": longest_scopes(), "token_ttl": 60, "status": "suspended", "created_at": "2026-11-21T08:00:00Z",
    }));
    assert_eq!((app.name.as_deref(), app.token_ttl, app.status), (Some("desk"), Some(60), Some(AppStatus::Suspended)));
    assert_eq!(app.scopes.map(|scopes| scopes.len()), Some(64));
    assert_eq!(app.created_at.map(UnixTime::to_rfc3339).as_deref(), Some("2026-11-21T08:00:00Z"));
    let response: DelegationResponse = read(&json!({"access_token": "t", "delegation_chain": longest_chain()}));
    assert_eq!(response.delegation_chain.map(|chain| chain.len()), Some(5));
}

#[test]
fn reads_optional_members_that_are_malformed_as_absent() {
    for malformed in [json!(null), json!(-1), json!(1.5), json!("x"), json!([1]), json!({"a": [{}]}), json!(true)] {
        let challenge: ChallengeResponse = read(&json!({"nonce": "07".repeat(32), "expires_in": malformed}));
        assert_eq!(challenge.expires_in, None, "{malformed}");
        let app: AppCreationResponse = read(&json!({
            "app_id": "app-desk-000000", "client_id": "c", "client_secret": "s", "scopes": malformed,
            "status": malformed, "created_at": malformed,
        }));
        assert_eq!((app.scopes, app.status, app.created_at), (None, None, None), "{malformed}");
        let response: DelegationResponse = read(&json!({"access_token": "t", "delegation_chain": malformed}));
        assert_eq!(response.delegation_chain, None, "{malformed}");
    }
}

#[test]
fn reads_claims_of_this_form_and_of_another() {
    let known = claims(&longest_chain());
    let response: ValidationResponse = read(&json!({"valid": true, "claims": known}));
    let expected: ClaimSet = serde_json::from_value(known.clone()).unwrap();
    assert_eq!(response.claims, Some(ReportedClaims::Known(Box::new(expected))));

    let mut other = claims(&json!([{"agent": AGENT}]));
    other["extra"] = json!({"numbers": [-1, 1.5, null, true], "text": "é\n"});
    let response: ValidationResponse = read(&json!({"valid": true, "claims": other}));
    assert_eq!(response.claims, other.as_object().cloned().map(ReportedClaims::Other));

    let response: ValidationResponse = read(&json!({"valid": false, "claims": null, "error": "expired"}));
    assert_eq!((response.claims, response.error.as_deref()), (None, Some("expired")));
}

#[test]
fn rejects_claims_that_are_no_object_or_larger_than_any_token() {
    let error = |claims: &str| {
        let body = format!(r#"{{"valid":true,"claims":{claims}}}"#);
        agentwrit_json::object_from_slice::<ValidationResponse>(body.as_bytes(), 16).unwrap_err().to_string()
    };
    assert!(error("[1]").starts_with("claims must be an object"));
    assert!(
        error(&format!(r#"{{"":"{}"}}"#, "x".repeat(300_000))).starts_with("claims are larger than those of any token")
    );
    assert!(error(r#"{"a":1,"a":2}"#).contains("duplicate"));
    let late_duplicate = format!(r#"{{"":"{}","z":[{{"a":1,"a":2}}]}}"#, "x".repeat(300_000));
    assert!(error(&late_duplicate).contains("duplicate"));
}

#[test]
fn key_states_have_one_name_on_wire_and_in_text() {
    for name in ["prepared", "active", "retiring", "retired", "withdrawn"] {
        let state: KeyState = serde_json::from_value(name.into()).unwrap();
        assert_eq!((state.as_str(), KeyState::parse(name)), (name, Some(state)));
    }
    assert_eq!(KeyState::parse("Active"), None);
}

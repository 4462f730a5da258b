//! Registrations with an attestation, and trust rules.
#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

use std::collections::BTreeMap;

use agentwrit_protocol::{
    Attestation, AttestationKind, ClaimMatch, ClaimValue, JsonRequest, JwkSetText, RegistrationRequest, RequestError,
    TrustRuleRecord, TrustRuleRequest,
};
use agentwrit_verify::{AppId, ScopeSet};
use serde_json::{Value, json};

fn registration(members: &Value) -> Result<RegistrationRequest, RequestError> {
    let mut body = json!({"nonce": "x", "public_key": "x", "signature": "x", "requested_scope": ["read:data:x"]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    RegistrationRequest::from_json(body.to_string().as_bytes())
}

fn attestation(kind: &str) -> Value {
    json!({"kind": kind, "token": "a.b.c"})
}

#[test]
fn reads_registration_with_attestation_as_it_is_written() {
    for kind in AttestationKind::ALL {
        let read = registration(&json!({"attestation": attestation(kind.as_str()), "task_id": "t"})).unwrap();
        let Attestation { kind: read_kind, token } = read.attestation.as_ref().unwrap();
        assert_eq!((*read_kind, token.expose()), (kind, "a.b.c"));
        let written = json!(read);
        assert_eq!(written["attestation"], attestation(kind.as_str()));
        assert_eq!((written.get("launch_token"), written.get("orch_id")), (None, None));
        assert_eq!(written["task_id"], "t");
        assert!(!format!("{read:?}").contains("a.b.c"), "{read:?}");
    }
}

#[test]
fn rejects_registration_unless_it_has_either_launch_token_or_attestation() {
    let one = || RequestError::invalid("launch_token or attestation", "exactly one of them is required");
    assert_eq!(registration(&json!({})).unwrap_err(), one());
    let both = json!({"launch_token": "l", "attestation": attestation("oidc"), "orch_id": "o", "task_id": "t"});
    assert_eq!(registration(&both).unwrap_err(), one());
    let missing = |name| RequestError::invalid(name, "is required");
    assert_eq!(registration(&json!({"launch_token": "l"})).unwrap_err(), missing("orch_id"));
    assert_eq!(registration(&json!({"launch_token": "l", "orch_id": "o"})).unwrap_err(), missing("task_id"));
    assert!(registration(&json!({"launch_token": "l", "attestation": null, "orch_id": "o", "task_id": "t"})).is_ok());
}

#[test]
fn rejects_malformed_attestation_by_name() {
    let invalid = |problem: &str| RequestError::invalid("attestation", problem);
    for (members, problem) in [
        (json!({}), "`kind` is required"),
        (json!({"kind": "saml", "token": "t"}), "`kind` must be `oidc`, `kubernetes` or `spiffe`"),
        (json!({"kind": "OIDC", "token": "t"}), "`kind` must be `oidc`, `kubernetes` or `spiffe`"),
        (json!({"kind": "oidc"}), "`token` is required"),
        (json!({"kind": "oidc", "token": ""}), "`token` must not be empty"),
        (json!({"kind": "oidc", "token": 7}), "`token` must be a string"),
        (json!({"kind": "oidc", "token": "x".repeat(8193)}), "`token` must have at most 8192 bytes"),
        (json!("oidc"), "must be an object"),
        (json!(["oidc", "t"]), "must be an object"),
    ] {
        assert_eq!(registration(&json!({ "attestation": members })).unwrap_err(), invalid(problem), "{members}");
    }
}

fn rule() -> Value {
    json!({
        "name": "ci", "app_id": "app-ci-012345", "kind": "oidc", "issuer": "https://ci.example",
        "jwks_url": "https://ci.example/jwks", "audience": "agentwrit",
        "claims": {"repository": {"equals": "acme/api"}, "ref": {"prefix": "refs/heads/"}, "id": {"equals": 7},
                   "protected": {"equals": true}},
        "allowed_scope": ["read:data:*"], "max_ttl": 300, "task_template": "run-{run_id}",
    })
}

fn with(member: &str, value: Value) -> Result<TrustRuleRequest, RequestError> {
    let mut body = rule();
    body.as_object_mut().unwrap().insert(member.to_owned(), value);
    TrustRuleRequest::from_json(body.to_string().as_bytes())
}

#[test]
fn reads_trust_rule_as_it_is_written() {
    let read = TrustRuleRequest::from_json(rule().to_string().as_bytes()).unwrap();
    let text = |text: &str| ClaimValue::Text(text.into());
    let expected = TrustRuleRequest {
        name: "ci".into(),
        app_id: AppId::parse("app-ci-012345").unwrap(),
        kind: AttestationKind::Oidc,
        issuer: "https://ci.example".into(),
        jwks_url: Some("https://ci.example/jwks".into()),
        jwks: None,
        audience: "agentwrit".into(),
        claims: BTreeMap::from([
            ("repository".into(), ClaimMatch::Equals(text("acme/api"))),
            ("ref".into(), ClaimMatch::Prefix("refs/heads/".into())),
            ("id".into(), ClaimMatch::Equals(ClaimValue::Number(7))),
            ("protected".into(), ClaimMatch::Equals(ClaimValue::Flag(true))),
        ]),
        allowed_scope: ScopeSet::parse(["read:data:*"]).unwrap(),
        max_ttl: 300,
        task_template: Some("run-{run_id}".into()),
        orch_template: None,
        token_review: false,
    };
    assert_eq!(read, expected);
    assert_eq!(json!(read), rule());
}

#[test]
fn rejects_condition_that_is_not_understood() {
    for condition in [
        json!({}),
        json!(null),
        json!("acme/api"),
        json!({"equals": null}),
        json!({"equals": ["acme/api"]}),
        json!({"equals": 1.5}),
        json!({"equals": -1}),
        json!({"equals": 9_007_199_254_740_992_u64}),
        json!({"equals": ""}),
        json!({"equals": "x".repeat(1025)}),
        json!({"equals": "\0"}),
        json!({"prefix": ""}),
        json!({"prefix": 7}),
        json!({"equals": "a", "prefix": "a"}),
        json!({"equals": "a", "suffix": "b"}),
        json!({"suffix": "b"}),
    ] {
        let error = with("claims", json!({ "ref": condition })).unwrap_err().to_string();
        assert!(error.starts_with("claims: `ref` must be {\"equals\": …}"), "{condition}: {error}");
    }
    let names = |count: u32| (0..count).map(|index| (format!("c{index}"), json!({"equals": "x"}))).collect::<Value>();
    let count = RequestError::invalid("claims", "must name 1 to 16 claims");
    assert_eq!(with("claims", names(0)).unwrap_err(), count);
    assert_eq!(with("claims", names(17)).unwrap_err(), count);
    assert!(with("claims", names(16)).is_ok());
    let unnamed = with("claims", json!({"": {"equals": "x"}})).unwrap_err().to_string();
    assert_eq!(unnamed, "claims: a claim's name must have 1 to 256 bytes");
}

#[test]
fn rejects_trust_rule_member_by_its_name() {
    for (member, value, expected) in [
        ("app_id", json!("ci"), "app_id: "),
        ("kind", json!("github"), "kind: must be `oidc`, `kubernetes` or `spiffe`"),
        ("issuer", json!("a\0b"), "issuer: must not contain U+0000"),
        ("audience", json!(null), "audience: is required"),
        ("allowed_scope", json!(["admin:revoke:*"]), "allowed_scope: `admin:revoke:*` is the broker's own"),
        ("max_ttl", json!(null), "max_ttl: is required"),
        ("max_ttl", json!(86_401), "max_ttl: must be 1 to 86400 seconds"),
        ("token_review", json!(1), "token_review: must be true or false"),
        ("jwks_url", json!(null), "jwks_url or jwks: exactly one of them is required"),
        ("jwks", json!({"keys": [{"kty": "OKP"}]}), "jwks_url or jwks: exactly one of them is required"),
        ("jwks", json!({"keys": []}), "jwks: must have the member `keys`, a list of at least one key"),
        ("jwks", json!({"keys": [{"kty": "OKP", "d": "secret"}]}), "jwks: must not contain private keys or secrets"),
        ("jwks", json!({"keys": [{"kty": "oct", "k": "secret"}]}), "jwks: must not contain private keys or secrets"),
        ("jwks", json!({"keys": vec![json!({}); 65]}), "jwks: must have at most 64 keys"),
        ("jwks", json!({"keys": [{"n": "x".repeat(65_536)}]}), "jwks: must be a key set of at most 64 KiB"),
        ("jwks", json!({"keys": [7]}), "jwks: must be a list of objects in `keys`"),
        ("jwks", json!("{}"), "jwks: must be an object"),
    ] {
        let error = with(member, value.clone()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{member} {value}: {error}");
    }
}

#[test]
fn key_set_is_kept_as_compact_text() {
    let set = JwkSetText::parse(b" {\"keys\": [ {\"kty\":\"OKP\", \"x\":\"AA\"} ] } ").unwrap();
    assert_eq!(set.as_str(), r#"{"keys":[{"kty":"OKP","x":"AA"}]}"#);
    assert_eq!(json!(set), json!({"keys": [{"kty": "OKP", "x": "AA"}]}));
    let mut body = rule();
    body["jwks_url"] = Value::Null;
    body["jwks"] = json!(set);
    let read = TrustRuleRequest::from_json(body.to_string().as_bytes()).unwrap();
    assert_eq!(read.jwks, Some(set));
    assert!(JwkSetText::parse(b"[]").is_err());
    assert!(JwkSetText::parse(br#"{"keys":[{"kty":"RSA","p":"x"}]}"#).is_err());
}

#[test]
fn reads_record_as_it_is_written() {
    let mut record = rule();
    record["trust_rule_id"] = json!("rule-ci-0123ab");
    record["created_at"] = json!("2026-11-29T00:00:00Z");
    record["created_by"] = json!("admin");
    let read: TrustRuleRecord = agentwrit_json::object_from_slice(record.to_string().as_bytes(), 16).unwrap();
    assert_eq!(json!(read), record);
    record["claims"]["ref"] = json!({"suffix": "x"});
    assert!(agentwrit_json::object_from_slice::<TrustRuleRecord>(record.to_string().as_bytes(), 16).is_err());
}

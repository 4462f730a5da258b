//! Requests mean the same to the side that writes them and to the side that reads them.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

use agentwrit_protocol::{
    AdminAuthRequest, AppAuthRequest, AppCreationRequest, AppUpdateRequest, Base64, DelegationRequest, Hex,
    JsonRequest, KeyChangeRequest, LaunchTokenRecord, LaunchTokenRequest, ListResponse, PermittedBound,
    RegistrationRequest, RequestError, RevocationRequest, RevocationTarget, Secret, ValidationRequest,
    VerifierEnrolmentRequest, VerifierUpdateRequest,
};
use agentwrit_verify::{AgentId, PathSegment, ScopeSet, TokenId, report::VerifierName};
use serde::Serialize;
use serde_json::{Value, json};

fn scopes() -> ScopeSet {
    ScopeSet::parse(["read:data:x", "write:data:*"]).unwrap()
}

fn segment(text: &str) -> PathSegment {
    PathSegment::parse(text).unwrap()
}

/// Reads what is written, and writes it again.
fn assert_round_trip<T: JsonRequest + Serialize>(request: &T, written: &Value) {
    assert_eq!(json!(request), *written);
    let read = T::from_json(written.to_string().as_bytes()).unwrap();
    assert_eq!(json!(read), *written);
}

#[test]
fn reads_requests_of_confirmed_changes_as_they_are_written() {
    let revocation = RevocationRequest::new(RevocationTarget::Token(TokenId::from_bytes([5; 16])), None);
    assert_round_trip(
        &RevocationRequest { wait: Some(25), dry_run: true, ..revocation },
        &json!({"level": "token", "target": "05".repeat(16), "wait": 25, "dry_run": true}),
    );
    assert_round_trip(
        &VerifierEnrolmentRequest {
            name: VerifierName::parse("payments-api").unwrap(),
            public_key: Base64([8; 32]),
            max_bound: Some(30),
        },
        &json!({
            "name": "payments-api", "public_key": "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=", "max_bound": 30,
        }),
    );
    for (max_bound, written) in [(PermittedBound::Seconds(30), json!(30)), (PermittedBound::Any, json!("none"))] {
        let change = VerifierUpdateRequest { public_key: None, max_bound: Some(max_bound) };
        assert_round_trip(&change, &json!({ "max_bound": written }));
    }
    assert_round_trip(
        &KeyChangeRequest { reason: Some("leaked".into()), wait: Some(0), force: false },
        &json!({"reason": "leaked", "wait": 0}),
    );
}

#[test]
fn reads_requests_as_they_are_written() {
    let agent = "spiffe://agentwrit.local/agent/orch-1/task-1/0123456789abcdef";
    assert_round_trip(&AdminAuthRequest { secret: "s".into() }, &json!({"secret": "s"}));
    assert_round_trip(
        &AppAuthRequest { client_id: "w-0123456789ab".into(), client_secret: "s".into() },
        &json!({"client_id": "w-0123456789ab", "client_secret": "s"}),
    );
    assert_round_trip(
        &RegistrationRequest {
            launch_token: Some("l".into()),
            attestation: None,
            nonce: Hex([7; 32]).into(),
            public_key: Base64([8; 32]).into(),
            signature: Base64([9; 64]).into(),
            orch_id: Some(segment("orch-1")),
            task_id: Some(segment("task-1")),
            requested_scope: scopes(),
            sender_constrained: true,
        },
        &json!({
            "launch_token": "l", "nonce": "07".repeat(32), "orch_id": "orch-1", "task_id": "task-1",
            "public_key": "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=",
            "signature": format!("{}CQ==", "CQkJ".repeat(21)),
            "requested_scope": ["read:data:x", "write:data:*"], "sender_constrained": true,
        }),
    );
    assert_round_trip(&ValidationRequest { token: Secret::from("t").into() }, &json!({"token": "t"}));
    assert_round_trip(
        &DelegationRequest { delegate_to: AgentId::parse(agent).unwrap(), scope: scopes(), ttl: Some(60) },
        &json!({"delegate_to": agent, "scope": ["read:data:x", "write:data:*"], "ttl": 60}),
    );
    assert_round_trip(
        &LaunchTokenRequest {
            agent_name: "a reader".into(),
            allowed_scope: scopes(),
            max_ttl: Some(86_400),
            single_use: false,
            ttl: Some(3600),
            orch_id: Some(segment("orch-1")),
            task_id: None,
            sender_constrained: true,
        },
        &json!({
            "agent_name": "a reader", "allowed_scope": ["read:data:x", "write:data:*"], "max_ttl": 86_400,
            "single_use": false, "ttl": 3600, "orch_id": "orch-1", "sender_constrained": true,
        }),
    );
}

#[test]
fn reads_requests_about_apps_as_they_are_written() {
    assert_round_trip(
        &AppCreationRequest { name: "front-desk".into(), scopes: scopes(), token_ttl: None, sender_constrained: false },
        &json!({"name": "front-desk", "scopes": ["read:data:x", "write:data:*"]}),
    );
    assert_round_trip(
        &AppUpdateRequest { token_ttl: Some(60), ..AppUpdateRequest::default() },
        &json!({"token_ttl": 60}),
    );
    assert_round_trip(
        &AppUpdateRequest { sender_constrained: Some(false), ..AppUpdateRequest::default() },
        &json!({"sender_constrained": false}),
    );
    assert_round_trip(
        &RevocationRequest::new(RevocationTarget::Token(TokenId::from_bytes([5; 16])), Some("lost".into())),
        &json!({"level": "token", "target": "05".repeat(16), "reason": "lost"}),
    );
}

#[test]
fn rejects_member_out_of_range_by_its_name() {
    let ttl = |name, least, most| RequestError::TtlOutOfRange { name, least, most };
    let launch = |members: &str| {
        let body = format!(r#"{{"agent_name":"a","allowed_scope":["a:b:c"],{members}}}"#);
        LaunchTokenRequest::from_json(body.as_bytes()).unwrap_err()
    };
    assert_eq!(launch(r#""max_ttl":86401"#), ttl("max_ttl", 1, 86_400));
    assert_eq!(launch(r#""max_ttl":0"#), ttl("max_ttl", 1, 86_400));
    assert_eq!(launch(r#""ttl":3601"#), ttl("ttl", 1, 3600));
    assert_eq!(launch(r#""ttl":-1"#), ttl("ttl", 1, 3600));
    assert_eq!(launch(r#""ttl":1.5"#), RequestError::invalid("ttl", "must be a whole number of seconds"));
    let flag = |name| RequestError::invalid(name, "must be true or false");
    assert_eq!(launch(r#""sender_constrained":1"#), flag("sender_constrained"));
    assert_eq!(launch(r#""single_use":"yes""#), flag("single_use"));
    let app = |ttl: u64| AppUpdateRequest::from_json(json!({ "token_ttl": ttl }).to_string().as_bytes());
    assert_eq!(app(59).unwrap_err(), ttl("token_ttl", 60, 86_400));
    assert_eq!(app(60).unwrap().token_ttl, Some(60));
    let twice = AdminAuthRequest::from_json(br#"{"secret":"a","secret":"b"}"#).unwrap_err();
    assert!(matches!(twice, RequestError::Json(_)), "{twice}");
}

/// PostgreSQL does not store it.
#[test]
fn rejects_u0000_in_texts_that_are_stored_or_looked_up_as_they_are() {
    let nul = |name| RequestError::invalid(name, "must not contain U+0000");
    let launch = br#"{"agent_name":"a\u0000","allowed_scope":["read:data:x"]}"#;
    assert_eq!(LaunchTokenRequest::from_json(launch).unwrap_err(), nul("agent_name"));
    let revocation = br#"{"level":"task","target":"t","reason":"\u0000"}"#;
    assert_eq!(RevocationRequest::from_json(revocation).unwrap_err(), nul("reason"));
    let login = br#"{"client_id":"a\u0000b","client_secret":"s"}"#;
    assert_eq!(AppAuthRequest::from_json(login).unwrap_err(), nul("client_id"));
}

#[test]
fn reads_unparseable_revocation_target_as_text_that_names_nothing() {
    let request = RevocationRequest::from_json(br#"{"level":"agent","target":"not an id"}"#).unwrap();
    assert_eq!((request.target, request.text.as_str()), (None, "not an id"));
}

#[test]
fn reads_undecodable_credentials_as_malformed_and_not_as_bad_request() {
    let body = json!({
        "launch_token": "l", "nonce": "x", "public_key": "x", "signature": "x", "orch_id": "o", "task_id": "t",
        "requested_scope": ["a:b:c"],
    });
    let request = RegistrationRequest::from_json(body.to_string().as_bytes()).unwrap();
    assert_eq!(request.nonce.well_formed(), None);
    assert_eq!(request.public_key.well_formed(), None);
    assert_eq!(request.signature.well_formed(), None);
    let token = ValidationRequest::from_json(json!({"token": "x".repeat(8193)}).to_string().as_bytes()).unwrap();
    assert!(token.token.well_formed().is_none());
}

#[test]
fn list_has_member_of_its_entries() {
    let page = json!({"launch_tokens": [], "total": 3, "limit": 1, "offset": 2, "next_cursor": "7"});
    let list: ListResponse<LaunchTokenRecord> = serde_json::from_value(page.clone()).unwrap();
    assert_eq!(json!(list), page);
    let other = json!({"agents": [], "total": 3});
    assert!(serde_json::from_value::<ListResponse<LaunchTokenRecord>>(other).is_err());
}

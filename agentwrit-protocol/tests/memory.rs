//! Memory for reading a broker's response, as a multiple of the length of its body.
#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

use agentwrit_protocol::{
    AgentRecord, AppCreationResponse, AppListResponse, ChallengeResponse, DelegationResponse, Event, HealthResponse,
    LaunchTokenRecord, ListResponse, RevocationRecord, ValidationResponse,
};
use serde::de::DeserializeOwned;

const LENGTH: usize = 512 * 1024;
const MAX_DEPTH: usize = 16;

/// Values that take far more memory as a tree than as text.
const EXPANDING: [&str; 6] = ["0", "[0]", "[[]]", r#"{"":0}"#, r#""""#, "1e15"];

/// A list of `LENGTH` bytes of one value.
fn list_of(value: &str) -> String {
    let count = LENGTH / (value.len() + 1);
    format!("[{}]", vec![value; count].join(","))
}

/// Parses the body within a multiple of its length; returns true when it is a response.
fn parses<T: DeserializeOwned>(multiple: usize, kind: &str, body: &str) -> bool {
    let mut outcome = None;
    let allocated = allocation_counter::measure(|| {
        outcome = Some(agentwrit_json::object_from_slice::<T>(body.as_bytes(), MAX_DEPTH).is_ok());
    });
    let most = u64::try_from(multiple * body.len()).unwrap();
    let peak = allocated.bytes_max;
    assert!(peak <= most, "{kind}: {peak} bytes for {}", body.len());
    outcome.unwrap()
}

#[test]
fn drops_members_of_another_type_within_memory_bound() {
    for value in EXPANDING {
        let list = list_of(value);
        let challenge = format!(r#"{{"nonce":"{}","expires_in":{list}}}"#, "07".repeat(32));
        assert!(parses::<ChallengeResponse>(1, &format!("number as list of {value}"), &challenge));
        let object = format!(r#"{{"nonce":"{}","expires_in":{{"":{list}}}}}"#, "07".repeat(32));
        assert!(parses::<ChallengeResponse>(1, &format!("number as object with a list of {value}"), &object));
        let delegation = format!(r#"{{"access_token":"t","delegation_chain":{list}}}"#);
        assert!(parses::<DelegationResponse>(1, &format!("chain as list of {value}"), &delegation));
        let app = format!(r#"{{"app_id":"app-xy-000000","client_id":"c","client_secret":"s","scopes":{list}}}"#);
        assert!(parses::<AppCreationResponse>(1, &format!("scopes as list of {value}"), &app));
    }
}

#[test]
fn rejects_large_claims_within_memory_bound() {
    for value in EXPANDING {
        let list = list_of(value);
        for claims in [format!(r#"{{"":{list}}}"#), format!(r#"{{"aud":{list}}}"#), list] {
            let body = format!(r#"{{"valid":true,"claims":{claims}}}"#);
            assert!(!parses::<ValidationResponse>(1, &format!("claims with a list of {value}"), &body));
        }
    }
}

/// Between 1 and 64 of the shortest scopes.
fn shortest_scopes(count: u8) -> String {
    let letter = |index: u8| char::from(b'a' + index);
    let scopes: Vec<_> =
        (0..count).map(|index| format!(r#""{}:{}:*""#, letter(index / 8), letter(index % 8))).collect();
    scopes.join(",")
}

#[test]
fn parses_lists_of_shortest_records_within_memory_bound() {
    let time = "1970-01-01T00:00:00Z";
    for count in [1, 2, 4, 8, 9, 64] {
        let scopes = shortest_scopes(count);
        let list = |member: &str, entry: &str| format!(r#"{{"{member}":{},"total":1}}"#, list_of(entry));
        let app = format!(r#"{{"app_id":"app-xy-000000","client_id":"","name":"","scopes":[{scopes}]}}"#);
        assert!(parses::<AppListResponse>(6, &format!("apps with {count} scopes"), &list("apps", &app)));
        let launch_token = format!(
            r#"{{"launch_token_id":"","agent_name":"","allowed_scope":[{scopes}],"max_ttl":1,"single_use":true,
            "created_at":"{time}","expires_at":"{time}","created_by":"admin"}}"#
        );
        let launch_tokens = list("launch_tokens", &launch_token);
        assert!(parses::<ListResponse<LaunchTokenRecord>>(4, &format!("tokens with {count} scopes"), &launch_tokens));
        let agent = format!(
            r#"{{"agent_id":"spiffe://a/agent/a/b/0123456789abcdef","orch_id":"a","task_id":"b","scope":[{scopes}],
            "registered_at":"{time}","expires_at":"{time}"}}"#
        );
        assert!(parses::<ListResponse<AgentRecord>>(
            4,
            &format!("agents with {count} scopes"),
            &list("agents", &agent)
        ));
    }
    let revocation =
        format!(r#"{{"level":"task","target":"","revoked_at":"{time}","expires_at":"{time}","revoked_by":""}}"#);
    let revocations = format!(r#"{{"revocations":{},"total":1}}"#, list_of(&revocation));
    assert!(parses::<ListResponse<RevocationRecord>>(4, "revocations", &revocations));
    let hash = "0".repeat(64);
    let event = format!(
        r#"{{"id":"evt-000001","timestamp":"","event_type":"token_issued","detail":"","outcome":"success",
        "hash":"{hash}","prev_hash":"{hash}"}}"#
    );
    assert!(parses::<ListResponse<Event>>(4, "events", &format!(r#"{{"events":{},"total":1}}"#, list_of(&event))));
}

#[test]
fn keeps_first_warnings_of_health_within_memory_bound() {
    let warnings = list_of(r#""""#);
    let body = format!(
        r#"{{"status":"ok","version":"1","uptime":1,"db_connected":true,"audit_events_count":1,"warnings":{warnings}}}"#
    );
    assert!(parses::<HealthResponse>(4, "warnings", &body));
    let health: HealthResponse = agentwrit_json::object_from_slice(body.as_bytes(), MAX_DEPTH).unwrap();
    assert_eq!(health.warnings.len(), 64);
    let short = body.replace(&warnings, r#"["deletion_held"]"#);
    let health: HealthResponse = agentwrit_json::object_from_slice(short.as_bytes(), MAX_DEPTH).unwrap();
    assert_eq!(health.warnings, ["deletion_held"]);
}

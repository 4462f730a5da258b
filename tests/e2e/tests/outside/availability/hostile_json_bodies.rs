//! Bodies that are small on the wire and large as trees of values: memory stays within a small multiple of their length.

use std::fs;

use agentwrit_e2e::Broker;
use serde_json::json;

const LENGTH: usize = 1024 * 1024;

/// Peak resident memory of the process, in KiB.
fn peak_memory(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A registration that lacks nothing but a launch token that exists, with an unknown member of about 1 MiB.
fn hostile_registration(part: &str) -> String {
    let count = (LENGTH - 1024) / part.len();
    let list = part.repeat(count);
    let members = format!(
        r#""launch_token":"{0}","nonce":"{0}","public_key":"{1}","signature":"{1}","orch_id":"o","task_id":"t""#,
        "0".repeat(64),
        "A".repeat(43)
    );
    format!(r#"{{{members},"requested_scope":["read:data:x"],"z":[{}]}}"#, list.trim_end_matches(','))
}

#[tokio::test]
async fn keeps_memory_bounded_when_large_unknown_members_are_sent_concurrently() {
    let broker = Broker::start().await;
    broker.get("/v1/health").await;
    let before = peak_memory(&broker);
    for part in [r#"{"":0},"#, "[],", "[[[]]],", r#""\n","#, "0,"] {
        let body = hostile_registration(part);
        assert!(body.len() <= LENGTH);
        let send = || broker.post("/v1/register").body(body.clone()).into_future();
        let (one, two, three, four) = tokio::join!(send(), send(), send(), send());
        for answer in [one, two, three, four] {
            answer.refused(401, "unauthorized", "launch token not found");
        }
    }
    let grown = peak_memory(&broker) - before;
    // Four bodies at 4 times their length, and as much again for buffers of the connections and the allocator.
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
}

#[tokio::test]
async fn rejects_duplicates_and_depth_within_unknown_members_of_every_size() {
    let broker = Broker::start().await;
    let many: Vec<String> = (0..50_000).map(|index| format!("\"m{index}\":0,")).collect();
    let many = many.concat();
    for (member, expected) in [
        (format!("[{{{many}\"m49999\":0}}]"), "duplicate field `m49999`"),
        (format!("[{{{many}\"\\u006d77\":0}}]"), "duplicate field `m77`"),
        (String::from("[{\"a\":{\"b\":1,\"b\":2}}]"), "duplicate field `b`"),
        (format!("{}{}", "[".repeat(16), "]".repeat(16)), "nested too deeply"),
    ] {
        let answer = broker.post("/v1/admin/auth").body(format!(r#"{{"secret":"wrong","z":{member}}}"#)).await;
        answer.refused_for(400, "invalid_request", expected);
    }
    let distinct = format!(r#"{{"secret":"wrong","z":[{{{many}"last":0}}]}}"#);
    broker.post("/v1/admin/auth").body(distinct).await.refused(401, "unauthorized", "invalid credentials");
}

#[tokio::test]
async fn names_the_member_that_has_another_type_or_length() {
    let broker = Broker::start().await;
    for (body, detail) in [
        (json!({"launch_token": 7}), "launch_token: must be a string"),
        (json!({"launch_token": ["x"]}), "launch_token: must be a string"),
        (json!({"launch_token": {"a": {}}}), "launch_token: must be a string"),
        (json!({"launch_token": ""}), "launch_token: must not be empty"),
        (json!({"launch_token": "x".repeat(500_000)}), "launch_token: must have at most 128 bytes"),
        (json!({"launch_token": null}), "launch_token or attestation: exactly one of them is required"),
        (json!({}), "launch_token or attestation: exactly one of them is required"),
    ] {
        broker.post("/v1/register").json(&body).await.refused(400, "invalid_request", detail);
    }
    let token = broker.admin_token().await;
    let app = |scopes: serde_json::Value| json!({"name": "front-desk", "scopes": scopes});
    let many: Vec<String> = (0..65).map(|index| format!("read:data:{index}")).collect();
    for (scopes, detail) in [
        (json!("read:data:x"), "scopes: must be a list of strings"),
        (json!(["read:data:x", null]), "scopes: must be a list of strings"),
        (json!(["read", 1]), "scopes: must be a list of strings"),
        (json!([]), "scopes: at least one scope is needed"),
        (json!(many), "scopes: at most 64 scopes are allowed"),
        (json!(vec!["read:data:x"; 50_000]), "scopes: at most 64 scopes are allowed"),
    ] {
        broker.post("/v1/admin/apps").bearer(&token).json(&app(scopes)).await.refused(400, "invalid_request", detail);
    }
}

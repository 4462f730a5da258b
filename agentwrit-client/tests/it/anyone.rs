//! Requests without an app: registration with a launch token, restored agents, keys, the feed, release of any token.

use agentwrit_client::{AgentKey, Client, ClientError, Registration, Secret};
use agentwrit_verify::{
    Subject, UnixTime,
    testing::{ManualClock, TestIssuer},
};
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::broker::{FakeBroker, problem, token};

const ID: &str = "spiffe://agentwrit.local/agent/ward/visit-1/0123456789abcdef";
const REGISTER: &str = "POST /v1/register";
const RENEW: &str = "POST /v1/token/renew";
const RELEASE: &str = "POST /v1/token/release";
const NOW: u64 = 1_795_248_000;

async fn broker() -> (FakeBroker, Client) {
    let broker = FakeBroker::start().await;
    let clock = ManualClock::new(UnixTime::from_seconds(NOW));
    let client = Client::builder(&broker.url).clock(clock).build().unwrap();
    (broker, client)
}

#[tokio::test]
async fn registers_agent_with_given_launch_token() {
    let (broker, client) = broker().await;
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on(REGISTER, 200, &json!({"agent_id": ID, "access_token": "agent-token", "expires_in": 300}));
    let key = AgentKey::from_seed(&[9; 32]);
    let registration = Registration::new("ward", "visit-1", ["read:data:x"]).unwrap().signing_key(key);
    let agent = client.register(&Secret::from("launch-token"), &registration).await.unwrap();

    assert_eq!((agent.id().as_str(), agent.token().expose()), (ID, "agent-token"));
    assert_eq!(agent.expires_at(), UnixTime::from_seconds(NOW + 300));
    assert_eq!(broker.request_lines(), ["GET /v1/challenge", REGISTER], "no authentication");
    let body = broker.requests(REGISTER)[0].json();
    assert_eq!((&body["launch_token"], &body["requested_scope"]), (&json!("launch-token"), &json!(["read:data:x"])));

    client.register(&Secret::from("launch-token"), &registration).await.unwrap();
    assert_eq!(broker.requests(REGISTER)[1].json()["public_key"], body["public_key"], "the key that was given");
    for (orch_id, task_id, scope, field) in
        [("a/b", "t", "a:b:c", "orch_id"), ("o", "", "a:b:c", "task_id"), ("o", "t", "a:b", "scope")]
    {
        let error = Registration::new(orch_id, task_id, [scope]).unwrap_err();
        assert!(matches!(&error, ClientError::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
}

#[tokio::test]
async fn used_launch_token_is_rejected() {
    let (broker, client) = broker().await;
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on(REGISTER, 401, &problem(401, "unauthorized", "launch token already consumed"));
    let registration = Registration::new("ward", "visit-1", ["read:data:x"]).unwrap();
    let error = client.register(&Secret::from("launch-token"), &registration).await.unwrap_err();
    assert_eq!(error.problem().unwrap().detail, "launch token already consumed");
    assert_eq!(broker.count(REGISTER), 1);
}

#[tokio::test]
async fn restores_agent_from_its_token() {
    let (broker, client) = broker().await;
    let issuer = TestIssuer::new();
    let mut claims = issuer.claims(&["read:data:x", "write:data:x"]);
    claims.sub = Subject::parse(ID).unwrap();
    let signed = issuer.sign(&claims);
    let agent = client.agent(signed.as_str()).unwrap();

    assert_eq!((agent.id().as_str(), agent.token().expose()), (ID, signed.as_str()));
    assert_eq!((agent.scopes(), agent.expires_at()), (&claims.scope, UnixTime::from_seconds(claims.exp)));
    assert_eq!(broker.request_lines(), Vec::<String>::new());
    broker.on(RENEW, 200, &token("renewed", 300));
    agent.renew().await.unwrap();
    assert_eq!(broker.requests(RENEW)[0].authorization(), Some(format!("Bearer {signed}").as_str()));
    assert_eq!(agent.token().expose(), "renewed");
}

#[tokio::test]
async fn rejects_token_of_other_subject_as_agent() {
    let (broker, client) = broker().await;
    let issuer = TestIssuer::new();
    let mut claims = issuer.claims(&["admin:revoke:*"]);
    claims.sub = Subject::Admin;
    for (given, reason) in [
        (issuer.sign(&claims), "it is for `admin`, not for an agent"),
        ("nonsense".to_owned(), "malformed"),
        (String::new(), "malformed"),
    ] {
        let expected = ClientError::InvalidInput { field: "token", reason: reason.to_owned() };
        assert_eq!(client.agent(given).unwrap_err(), expected);
    }
    assert_eq!(broker.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn fetches_keys_and_revocations_unchanged() {
    let (broker, client) = broker().await;
    let issuer = TestIssuer::new();
    let (keys, feed) = (issuer.key_set(), issuer.feed_response(None));
    broker.on_raw("GET /.well-known/jwks.json", 200, &[], keys.to_jwks());
    broker.on_raw("GET /.well-known/jwks.json", 200, &[], r#"{"keys":"none"}"#);
    broker.on_raw("GET /v1/revocations", 200, &[("content-type", "application/jwt")], feed.clone());
    broker.on_raw("GET /v1/revocations", 200, &[], vec![0xff, 0xfe]);
    assert_eq!(client.key_set().await.unwrap().to_jwks(), keys.to_jwks());
    assert_eq!(client.revocations().await.unwrap(), feed);
    for error in [client.key_set().await.unwrap_err(), client.revocations().await.unwrap_err()] {
        assert!(matches!(&error, ClientError::MalformedResponse { .. }), "{error:?}");
    }
    assert!(broker.requests("GET /v1/revocations").iter().all(|request| request.authorization().is_none()));
}

#[tokio::test]
async fn releases_any_token_repeatedly() {
    let (broker, client) = broker().await;
    broker.on_raw(RELEASE, 204, &[], "");
    broker.on_raw(RELEASE, 204, &[], "");
    broker.on(RELEASE, 401, &problem(401, "unauthorized", "token verification failed"));
    let token = Secret::from("some-token");
    client.release(&token).await.unwrap();
    client.release(&token).await.unwrap();
    assert_eq!(client.release(&token).await.unwrap_err().error_code(), Some("unauthorized"));
    let sent: Vec<_> = broker.requests(RELEASE).iter().map(|call| call.authorization().unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer some-token"; 3]);
    let error = client.release(&Secret::from("a\nb")).await.unwrap_err();
    assert!(matches!(&error, ClientError::InvalidInput { field: "token", .. }), "{error:?}");
}

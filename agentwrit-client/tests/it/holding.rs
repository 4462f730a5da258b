//! Renewal, release, delegation and acceptance of an agent's token.

use std::{future::poll_fn, task::Poll, time::Duration};

use agentwrit_client::{Agent, ClientError};
use agentwrit_verify::{
    AgentId, Subject, UnixTime,
    testing::{ManualClock, TestIssuer},
};
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::broker::{FakeBroker, app_at, problem, token};

const ID: &str = "spiffe://agentwrit.local/agent/ward/visit-1/0123456789abcdef";
const OTHER: &str = "spiffe://agentwrit.local/agent/ward/visit-2/fedcba9876543210";
const RENEW: &str = "POST /v1/token/renew";
const RELEASE: &str = "POST /v1/token/release";
const DELEGATE: &str = "POST /v1/delegate";
const NOW: u64 = 1_795_248_000;

async fn agent(broker: &FakeBroker, clock: &ManualClock) -> Agent {
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on("POST /v1/register", 200, &json!({"agent_id": ID, "access_token": "first", "expires_in": 300}));
    let app = app_at(&broker.url, clock.clone());
    app.agent("ward", "visit-1").scope(["read:records:P-1", "read:labs:P-1"]).unwrap().create().await.unwrap()
}

async fn scene() -> (FakeBroker, Agent, ManualClock) {
    let broker = FakeBroker::with_app().await;
    let clock = ManualClock::new(UnixTime::from_seconds(NOW));
    let agent = agent(&broker, &clock).await;
    (broker, agent, clock)
}

fn rejected() -> serde_json::Value {
    problem(401, "unauthorized", "token renewal failed")
}

#[tokio::test]
async fn renewal_changes_token_of_every_clone() {
    let (broker, agent, clock) = scene().await;
    broker.on(RENEW, 200, &token("second", 300));
    broker.on(RENEW, 200, &token("third", 300));
    let clone = agent.clone();
    clock.advance(Duration::from_secs(200));
    agent.renew().await.unwrap();

    assert_eq!(clone.token().expose(), "second");
    assert_eq!(clone.authorization(), "Bearer second");
    assert!(clone.authorization().is_sensitive());
    assert_eq!(clone.expires_at(), UnixTime::from_seconds(NOW + 500));
    assert_eq!(clone.scopes(), agent.scopes());

    clone.renew().await.unwrap();
    assert_eq!(agent.token().expose(), "third");
    let sent: Vec<_> = broker.requests(RENEW).iter().map(|call| call.authorization().unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer first", "Bearer second"]);
    assert!(broker.requests(RENEW).iter().all(|call| call.body.is_empty()));
}

#[tokio::test]
async fn sends_one_of_simultaneous_renewals() {
    let (broker, agent, _) = scene().await;
    broker.on(RENEW, 200, &token("second", 300));
    broker.on(RENEW, 401, &rejected());
    let clone = agent.clone();
    let (one, two, three) = tokio::join!(agent.renew(), clone.renew(), agent.renew());
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    assert_eq!(broker.count(RENEW), 1);
}

#[tokio::test]
async fn does_not_retry_renewal_with_lost_response() {
    let (broker, agent, _) = scene().await;
    broker.on_raw(RENEW, 200, &[], r#"{"access_token":"#);
    broker.on(RENEW, 401, &rejected());
    let (one, two) = tokio::join!(agent.renew(), agent.renew());
    assert!(matches!(one, Err(ClientError::MalformedResponse { .. })), "{one:?}");
    assert_eq!(one, two, "who waited shares the failure");
    assert_eq!((broker.count(RENEW), agent.token().expose()), (1, "first"));

    let error = agent.renew().await.unwrap_err();
    assert_eq!((error.error_code(), broker.count(RENEW)), (Some("unauthorized"), 2), "asked for by the caller");
}

#[tokio::test]
async fn renewal_completes_after_caller_is_dropped() {
    let (broker, agent, _) = scene().await;
    broker.on(RENEW, 200, &token("second", 300));
    let mut asked = Box::pin(agent.renew());
    let waits = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending())).await;
    assert!(waits, "the response is not there yet");
    drop(asked);
    for _ in 0..500 {
        if agent.token().expose() == "second" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the new token was lost");
}

#[tokio::test]
async fn rejected_renewal_keeps_token() {
    for (status, code) in [(401, "unauthorized"), (403, "scope_violation"), (503, "unavailable")] {
        let (broker, agent, _) = scene().await;
        broker.on(RENEW, status, &problem(status, code, "no"));
        let error = agent.renew().await.unwrap_err();
        assert_eq!((error.status(), error.error_code()), (Some(status), Some(code)));
        assert_eq!((agent.token().expose(), broker.count(RENEW)), ("first", 1));
    }
}

#[tokio::test]
async fn release_sends_current_token_repeatedly() {
    let (broker, agent, _) = scene().await;
    broker.on(RENEW, 200, &token("second", 300));
    broker.on_raw(RELEASE, 204, &[], "");
    let (renewed, released) = tokio::join!(agent.renew(), agent.release());
    assert_eq!((renewed, released), (Ok(()), Ok(())));
    agent.release().await.unwrap();
    assert_eq!(broker.count(RELEASE), 2);
    assert_eq!(broker.requests(RELEASE)[1].authorization(), Some("Bearer second"));

    let (broker, agent, _) = scene().await;
    broker.on(RELEASE, 401, &problem(401, "unauthorized", "token verification failed"));
    assert_eq!(agent.release().await.unwrap_err().error_code(), Some("unauthorized"));
}

#[tokio::test]
async fn delegation_sends_delegate_scope_and_ttl() {
    let (broker, agent, _) = scene().await;
    let chain = json!([{
        "agent": ID, "scope": ["read:labs:P-1", "read:records:P-1"], "delegated_at": "2026-11-21T08:00:00Z",
        "delegate": OTHER, "sid": "00112233445566778899aabbccddeeff", "expires_at": "2026-11-21T08:05:00Z",
        "signature": "ab".repeat(64),
    }]);
    broker.on(DELEGATE, 200, &json!({"access_token": "part", "expires_in": 45, "delegation_chain": chain}));
    let to = AgentId::parse(OTHER).unwrap();
    let delegated = agent.delegate(&to, ["read:labs:P-1"], Duration::from_secs(60)).await.unwrap();

    assert_eq!(broker.requests(DELEGATE)[0].authorization(), Some("Bearer first"));
    let body = json!({"delegate_to": OTHER, "scope": ["read:labs:P-1"], "ttl": 60});
    assert_eq!(broker.requests(DELEGATE)[0].json(), body);
    assert_eq!((delegated.delegate(), delegated.token().expose()), (&to, "part"));
    assert_eq!(delegated.authorization(), "Bearer part");
    assert_eq!(delegated.expires_at(), UnixTime::from_seconds(NOW + 45), "what was granted, not what was asked for");
    assert_eq!(delegated.scopes().to_string(), "read:labs:P-1");
    assert_eq!((delegated.chain().len(), delegated.chain()[0].agent.as_str()), (1, ID));
    let shown = format!("{delegated:?}");
    assert!(shown.contains(OTHER) && !shown.contains("part") && !shown.contains("abab"), "{shown}");
}

#[tokio::test]
async fn invalid_delegation_is_error() {
    let (broker, agent, _) = scene().await;
    let to = AgentId::parse(OTHER).unwrap();
    let minute = Duration::from_secs(60);
    for (scopes, ttl, field) in [
        (&["read:labs"][..], minute, "scope"),
        (&[], minute, "scope"),
        (&["read:labs:P-1"], Duration::from_millis(900), "ttl"),
    ] {
        let error = agent.delegate(&to, scopes, ttl).await.unwrap_err();
        assert!(matches!(&error, ClientError::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
    assert_eq!(broker.count(DELEGATE), 0);

    broker.on(DELEGATE, 403, &problem(403, "scope_violation", "delegated scope exceeds delegator scope"));
    let error = agent.delegate(&to, ["write:labs:P-1"], minute).await.unwrap_err();
    assert_eq!(error.error_code(), Some("scope_violation"));
    assert_eq!(error.problem().unwrap().detail, "delegated scope exceeds delegator scope");
}

#[tokio::test]
async fn accepted_token_leaves_own_token() {
    let (broker, agent, _) = scene().await;
    let issuer = TestIssuer::new();
    let mut claims = issuer.delegated(&issuer.claims(&["write:notes:P-1"]), &["write:notes:P-1"]);
    claims.sub = Subject::parse(ID).unwrap();
    let delegated = issuer.sign(&claims);
    let on_behalf = agent.accept(delegated.as_str()).unwrap();

    assert_eq!((on_behalf.id(), on_behalf.token().expose()), (agent.id(), delegated.as_str()));
    assert_eq!(on_behalf.scopes().to_string(), "write:notes:P-1");
    assert_eq!(on_behalf.expires_at(), UnixTime::from_seconds(claims.exp));
    broker.on(RENEW, 200, &token("renewed", 60));
    on_behalf.renew().await.unwrap();
    assert_eq!((on_behalf.token().expose(), agent.token().expose()), ("renewed", "first"));
}

#[tokio::test]
async fn does_not_accept_token_of_other_agent() {
    let (_broker, agent, _) = scene().await;
    let issuer = TestIssuer::new();
    let mut claims = issuer.claims(&["write:notes:P-1"]);
    claims.sub = Subject::parse(OTHER).unwrap();
    let reason = format!("it is for `{OTHER}`, not for `{ID}`");
    let error = agent.accept(issuer.sign(&claims)).unwrap_err();
    assert_eq!(error, ClientError::InvalidInput { field: "delegated token", reason });
    for nonsense in ["", "nonsense", "a.b.c"] {
        let error = agent.accept(nonsense).unwrap_err();
        let ClientError::InvalidInput { field: "delegated token", reason } = &error else { panic!("{error:?}") };
        assert_eq!(reason, "malformed");
    }
}

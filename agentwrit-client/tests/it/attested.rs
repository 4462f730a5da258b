//! Agents of workloads that another issuer attests.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use agentwrit_client::{
    AgentState, AttestationKind, AttestationSource, AttestedWorkload, Client, ClientError, EnvSource, FileSource,
    GitHubActionsSource, Secret, StaticSource,
};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    broker::{FakeBroker, problem},
    time::{HurriedClock, hurried},
};

const ID: &str = "spiffe://agentwrit.local/agent/ci/run-7/0123456789abcdef";
const NEXT_ID: &str = "spiffe://agentwrit.local/agent/ci/run-7/fedcba9876543210";
const CHALLENGE: &str = "GET /v1/challenge";
const REGISTER: &str = "POST /v1/register";
const RENEW: &str = "POST /v1/token/renew";

/// Returns a broker with nonces.
async fn broker() -> FakeBroker {
    let broker = FakeBroker::start().await;
    broker.on(CHALLENGE, 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker
}

fn registered(id: &str, seconds: u64) -> Value {
    json!({"agent_id": id, "access_token": "agent-token", "expires_in": seconds})
}

fn workload(broker: &FakeBroker, source: impl AttestationSource) -> AttestedWorkload {
    Client::builder(&broker.url).retries(0).build().unwrap().attested(source)
}

/// File that another process replaces.
struct TokenFile {
    _directory: TempDir,
    path: PathBuf,
}

impl TokenFile {
    fn with(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, text).unwrap();
        Self { _directory: directory, path }
    }

    fn replace(&self, text: &str) {
        let next = self.path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &self.path).unwrap();
    }

    fn source(&self) -> FileSource {
        FileSource::kubernetes(&self.path)
    }
}

/// Source with another assertion at each request.
#[derive(Default)]
struct Numbered(AtomicU32);

impl AttestationSource for Numbered {
    fn kind(&self) -> AttestationKind {
        AttestationKind::Oidc
    }

    async fn token(&self) -> Result<Secret, ClientError> {
        Ok(format!("a.{}.c", self.0.fetch_add(1, Ordering::Relaxed)).into())
    }
}

fn assertions(broker: &FakeBroker) -> Vec<String> {
    let text = |request: &crate::broker::Request| request.json()["attestation"]["token"].as_str().unwrap().to_owned();
    broker.requests(REGISTER).iter().map(text).collect()
}

fn reason(error: ClientError) -> String {
    let ClientError::NoAssertion { reason, .. } = error else { panic!("{error:?}") };
    reason
}

#[tokio::test]
async fn registers_with_assertion_and_ids_of_trust_rule() {
    let broker = broker().await;
    broker.on(REGISTER, 200, &registered(ID, 300));
    let file = TokenFile::with("a.b.c\n");
    let agent = workload(&broker, file.source()).agent(["read:data:x"]).unwrap().create().await.unwrap();
    assert_eq!(agent.id().as_str(), ID);
    assert_eq!(agent.authorization(), "Bearer agent-token");
    let body = broker.requests(REGISTER)[0].json();
    assert_eq!(body["attestation"], json!({"kind": "kubernetes", "token": "a.b.c"}));
    assert_eq!(body["requested_scope"], json!(["read:data:x"]));
    for absent in ["launch_token", "orch_id", "task_id"] {
        assert_eq!(body.get(absent), None, "{absent}");
    }
    assert_eq!(broker.request_lines(), [CHALLENGE, REGISTER], "no login");
}

#[tokio::test]
async fn names_ids_that_are_given_and_rejects_agent_with_others() {
    let broker = broker().await;
    broker.on(REGISTER, 200, &registered(ID, 300));
    let request = workload(&broker, Numbered::default()).agent(["read:data:x"]).unwrap().orch_id("ci").unwrap();
    let agent = request.clone().task_id("run-7").unwrap().create().await.unwrap();
    assert_eq!(agent.id().as_str(), ID);
    let body = broker.requests(REGISTER)[0].json();
    assert_eq!((&body["orch_id"], &body["task_id"]), (&json!("ci"), &json!("run-7")));
    let error = request.task_id("run-8").unwrap().create().await.unwrap_err();
    assert!(matches!(error, ClientError::MalformedResponse { .. }), "{error:?}");
}

#[tokio::test]
async fn sends_assertion_once_and_another_when_file_is_replaced() {
    let broker = broker().await;
    broker.on(REGISTER, 200, &registered(ID, 300));
    let file = TokenFile::with("a.0.c");
    let workload = workload(&broker, file.source());
    let request = workload.agent(["read:data:x"]).unwrap();
    request.clone().create().await.unwrap();
    let error = workload.clone().agent(["read:data:y"]).unwrap().create().await.unwrap_err();
    assert!(matches!(error, ClientError::NoAssertion { retryable: true, .. }), "{error:?}");
    assert!(reason(error).contains("each counts once"));
    assert_eq!(assertions(&broker), ["a.0.c"]);
    file.replace("a.1.c");
    request.create().await.unwrap();
    assert_eq!(assertions(&broker), ["a.0.c", "a.1.c"]);
}

#[tokio::test]
async fn sends_assertion_again_after_rejection_that_consumed_nothing() {
    let broker = FakeBroker::start().await;
    broker.on(CHALLENGE, 503, &problem(503, "unavailable", "no database"));
    broker.on(CHALLENGE, 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on(REGISTER, 401, &problem(401, "unauthorized", "attestation failed"));
    broker.on(REGISTER, 403, &problem(403, "scope_violation", "requested scope exceeds allowed scope"));
    broker.on(REGISTER, 503, &problem(503, "unavailable", "no database"));
    broker.on(REGISTER, 200, &registered(ID, 300));
    let file = TokenFile::with("a.0.c");
    let request = workload(&broker, file.source()).agent(["read:data:x"]).unwrap();
    for status in [503, 401, 403, 503] {
        let error = request.clone().create().await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert!(!error.to_string().contains("a.0.c"), "{error}");
    }
    request.create().await.unwrap();
    assert_eq!(assertions(&broker), ["a.0.c"; 4]);
}

#[tokio::test]
async fn sends_another_assertion_after_unknown_outcome() {
    for outcome in ["outcome_unknown", "internal_error"] {
        let broker = broker().await;
        let status = if outcome == "outcome_unknown" { 503 } else { 500 };
        broker.on(REGISTER, status, &problem(status, outcome, "no result"));
        broker.on(REGISTER, 200, &registered(ID, 300));
        let file = TokenFile::with("a.0.c");
        let request = workload(&broker, file.source()).agent(["read:data:x"]).unwrap();
        assert_eq!(request.clone().create().await.unwrap_err().status(), Some(status));
        assert!(reason(request.clone().create().await.unwrap_err()).contains("each counts once"));
        file.replace("a.1.c");
        request.create().await.unwrap();
        assert_eq!(assertions(&broker), ["a.0.c", "a.1.c"]);
    }
}

#[tokio::test]
async fn sends_assertion_again_after_broker_was_unreachable() {
    let broker = broker().await;
    broker.on(REGISTER, 200, &registered(ID, 300));
    let address = broker.url.strip_prefix("http://").unwrap().parse().unwrap();
    let file = TokenFile::with("a.0.c");
    let request = workload(&broker, file.source()).agent(["read:data:x"]).unwrap();
    drop(broker);
    tokio::task::yield_now().await;
    let error = request.clone().create().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let broker = FakeBroker::start_at(address).await;
    broker.on(CHALLENGE, 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on(REGISTER, 200, &registered(ID, 300));
    request.create().await.unwrap();
    assert_eq!(assertions(&broker), ["a.0.c"]);
}

#[tokio::test]
async fn explains_why_source_has_no_assertion() {
    let broker = broker().await;
    let create = async |source: FileSource| {
        reason(workload(&broker, source).agent(["read:data:x"]).unwrap().create().await.unwrap_err())
    };
    let file = TokenFile::with("");
    let path = file.path.display().to_string();
    assert_eq!(create(file.source()).await, format!("`{path}` is empty"));
    file.replace("secret text");
    assert_eq!(create(file.source()).await, format!("`{path}` holds no JWT (compact JWS)"));
    file.replace(&"a".repeat(1024 * 1024));
    assert_eq!(create(file.source()).await, format!("`{path}` holds more than 8192 bytes"));
    let missing = file.path.with_extension("missing");
    let error = create(FileSource::spiffe(&missing)).await;
    assert!(error.starts_with(&format!("`{}`: No such file", missing.display())), "{error}");

    let variable = async |name: &str| {
        let source = EnvSource::new(AttestationKind::Oidc, name);
        let error = workload(&broker, source).agent(["read:data:x"]).unwrap().create().await.unwrap_err();
        assert!(matches!(error, ClientError::NoAssertion { retryable: false, .. }), "{error:?}");
        reason(error)
    };
    // cargo sets it for every test.
    let set = "CARGO_PKG_NAME";
    assert_eq!(variable(set).await, format!("the environment variable `{set}` holds no JWT (compact JWS)"));
    let unset = "AGENTWRIT_TEST_UNSET";
    assert_eq!(variable(unset).await, format!("the environment variable `{unset}` is not set"));
    assert_eq!(broker.request_lines(), [""; 0]);
}

#[tokio::test]
async fn requests_token_of_github_for_each_registration() {
    let (broker, github) = (broker().await, FakeBroker::start().await);
    broker.on(REGISTER, 200, &registered(ID, 300));
    let line = "GET /idtoken?api-version=2.0&audience=agent+writ%26x";
    github.on_raw(line, 500, &[], "");
    github.on(line, 200, &json!({"count": 1, "value": "a.0.c"}));
    github.on(line, 200, &json!({"count": 1, "value": "a.1.c"}));
    let url = format!("{}/idtoken?api-version=2.0", github.url);
    let source = GitHubActionsSource::new(&url, "request-token", "agent writ&x").unwrap();
    assert!(!format!("{source:?}").contains("request-token"), "{source:?}");
    let request = workload(&broker, source).agent(["read:data:x"]).unwrap();
    request.clone().create().await.unwrap();
    request.create().await.unwrap();
    assert_eq!(assertions(&broker), ["a.0.c", "a.1.c"]);
    assert_eq!(broker.requests(REGISTER)[0].json()["attestation"]["kind"], "oidc");
    assert_eq!(github.requests(line)[0].authorization(), Some("Bearer request-token"));
}

#[tokio::test]
async fn explains_why_github_gave_no_token() {
    let (broker, github) = (broker().await, FakeBroker::start().await);
    for (path, status, body, expected) in [
        ("/denied", 401, "", "it responded 401: its token for the job serves while the job runs"),
        ("/moved", 302, "", "it responded 302: its token for the job serves while the job runs"),
        ("/empty", 200, "{\"secret\":\"a.b.c\"}", "its response has no token in the member `value`"),
        ("/html", 200, "<html>", "its response has no token in the member `value`"),
    ] {
        let location = format!("{}/elsewhere", github.url);
        github.on_raw(&format!("GET {path}?audience=a"), status, &[("location", &location)], body);
        let source = GitHubActionsSource::new(&format!("{}{path}", github.url), "t", "a").unwrap();
        let error = workload(&broker, source).agent(["read:data:x"]).unwrap().create().await.unwrap_err();
        assert_eq!(reason(error), format!("GitHub's token service at `127.0.0.1`: {expected}"));
    }
    github.on_raw("GET /large?audience=a", 200, &[], "x".repeat(65 * 1024));
    let source = GitHubActionsSource::new(&format!("{}/large", github.url), "t", "a").unwrap();
    let error = workload(&broker, source).agent(["read:data:x"]).unwrap().create().await.unwrap_err();
    assert!(reason(error).ends_with("its response is unusable: larger than 65536 bytes"));
    assert_eq!(github.count("GET /elsewhere"), 0, "redirects are not followed");
    assert_eq!(broker.request_lines(), [""; 0]);
}

#[test]
fn rejects_token_service_of_github_without_tls() {
    let error = GitHubActionsSource::new("http://github.example/idtoken", "t", "a").unwrap_err();
    assert_eq!(error.to_string(), "invalid ACTIONS_ID_TOKEN_REQUEST_URL: it is not `https`");
    assert!(GitHubActionsSource::new("https://github.example/idtoken", "t", "a").is_ok());
    assert!(GitHubActionsSource::new("https://github.example/idtoken", "t", "").is_err());
    assert!(GitHubActionsSource::new("idtoken", "t", "a").is_err());
}

#[tokio::test]
async fn live_agent_registers_again_with_another_assertion() {
    hurried(async {
        let broker = broker().await;
        broker.on(REGISTER, 200, &registered(ID, 10));
        broker.on(REGISTER, 401, &problem(401, "unauthorized", "attestation failed"));
        broker.on(REGISTER, 200, &registered(NEXT_ID, 10));
        broker.on(RENEW, 401, &problem(401, "unauthorized", "token renewal failed"));
        broker.on_raw("POST /v1/token/release", 204, &[], "");
        let client = Client::builder(&broker.url).timeout(Duration::from_secs(3600)).clock(HurriedClock::new());
        let workload = client.build().unwrap().attested(Numbered::default());
        let live = workload.agent(["read:data:x"]).unwrap().keep_alive().start().await.unwrap();
        let mut states = live.subscribe();
        states.wait_for(|state| state.agent().is_some_and(|agent| agent.id().as_str() == NEXT_ID)).await.unwrap();
        assert_eq!(assertions(&broker)[..3], ["a.0.c", "a.1.c", "a.2.c"], "a 401 does not end the agent");
        live.release().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn live_agent_waits_for_another_assertion() {
    hurried(async {
        let broker = broker().await;
        broker.on(REGISTER, 200, &registered(ID, 10));
        broker.on(REGISTER, 200, &registered(NEXT_ID, 10));
        broker.on(RENEW, 401, &problem(401, "unauthorized", "token renewal failed"));
        broker.on_raw("POST /v1/token/release", 204, &[], "");
        let file = TokenFile::with("a.0.c");
        let client = Client::builder(&broker.url).timeout(Duration::from_secs(3600)).clock(HurriedClock::new());
        let workload = client.build().unwrap().attested(file.source());
        let live = workload.agent(["read:data:x"]).unwrap().keep_alive().start().await.unwrap();
        let mut states = live.subscribe();
        let is_waiting = |state: &AgentState| {
            matches!(state, AgentState::Recovering(reason) if matches!(**reason, ClientError::NoAssertion { .. }))
        };
        states.wait_for(is_waiting).await.unwrap();
        assert_eq!(assertions(&broker), ["a.0.c"]);
        file.replace("a.1.c");
        states.wait_for(|state| state.agent().is_some_and(|agent| agent.id().as_str() == NEXT_ID)).await.unwrap();
        assert_eq!(assertions(&broker)[..2], ["a.0.c", "a.1.c"]);
        live.release().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn live_agent_ends_when_its_only_assertion_is_used() {
    hurried(async {
        let broker = broker().await;
        broker.on(REGISTER, 200, &registered(ID, 10));
        broker.on(RENEW, 401, &problem(401, "unauthorized", "token renewal failed"));
        let client = Client::builder(&broker.url).timeout(Duration::from_secs(3600)).clock(HurriedClock::new());
        let workload = client.build().unwrap().attested(StaticSource::new(AttestationKind::Spiffe, "a.b.c"));
        let live = workload.agent(["read:data:x"]).unwrap().keep_alive().start().await.unwrap();
        let mut states = live.subscribe();
        let ended = states.wait_for(|state| matches!(state, AgentState::Ended(_))).await.unwrap().clone();
        let AgentState::Ended(error) = ended else { panic!("{ended:?}") };
        assert!(reason(ClientError::clone(&error)).contains("get another one"), "{error:?}");
        assert_eq!(assertions(&broker), ["a.b.c"]);
        assert!(!format!("{workload:?} {live:?}").contains("a.b.c"));
    })
    .await;
}

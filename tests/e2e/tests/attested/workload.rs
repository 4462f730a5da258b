//! agentwrit-client in a CI job, with a fake of GitHub's token service.

use std::sync::Arc;

use agentwrit_client::{AgentState, Client, ClientError, GitHubActionsSource};
use agentwrit_e2e::{Broker, ProtectedService};
use identity_provider::{Algorithm, HttpServer, Reply};
use serde_json::json;

use crate::issuer::{Issuer, SCOPE};

/// Starts GitHub's token service, which gives another ID token at each request of the job.
pub(crate) fn token_service(issuer: &Arc<Issuer>) -> HttpServer {
    let issuer = Arc::clone(issuer);
    HttpServer::start(move |request| {
        if request.header("authorization") != Some("Bearer job-token") {
            return Reply::status(401);
        }
        if request.target != "/idtoken?api-version=2.0&audience=agentwrit" {
            return Reply::status(404);
        }
        Reply::json(200, &json!({"count": 1, "value": issuer.token()}))
    })
}

fn source(server: &HttpServer) -> GitHubActionsSource {
    GitHubActionsSource::new(&format!("{}/idtoken?api-version=2.0", server.url()), "job-token", "agentwrit").unwrap()
}

#[tokio::test]
async fn job_registers_agents_one_after_another_without_secret() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Arc::new(Issuer::start(Algorithm::Rs256));
    issuer.trusted_by(&broker, &admin).await;
    let github = token_service(&issuer);
    let service = ProtectedService::start_without_reports(&broker.url, &[]).await;
    let workload = Client::new(&broker.url).unwrap().attested(source(&github));
    for _ in 0..3 {
        let agent = workload.agent([SCOPE]).unwrap().create().await.unwrap();
        assert_eq!(agent.id().task_id(), "run-7");
        assert_eq!(service.status_for(agent.token().expose()).await, 200);
    }
    assert_eq!(github.requests().len(), 3);
    let wide = workload.agent(["write:records:*"]).unwrap().create().await.unwrap_err();
    assert_eq!(wide.error_code(), Some("scope_violation"));
}

#[tokio::test]
async fn live_agent_registers_again_with_fresh_assertion_after_revocation() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Arc::new(Issuer::start(Algorithm::Rs256));
    let app = broker.create_app(&admin, "ci-jobs", &[SCOPE]).await;
    let mut rule = issuer.rule("ci", &app.app_id);
    rule["max_ttl"] = json!(2);
    crate::issuer::add_rule(&broker, &admin, &rule).await;
    let github = token_service(&issuer);
    let workload = Client::new(&broker.url).unwrap().attested(source(&github));
    let live = workload.agent([SCOPE]).unwrap().keep_alive().start().await.unwrap();
    let first = live.agent().unwrap().id().clone();
    let mut states = live.subscribe();
    let revoked = broker.revoke(&admin, "agent", first.as_str()).await;
    assert_eq!(revoked.status, 200);
    let state = states
        .wait_for(|state| matches!(state, AgentState::Live(agent) if *agent.id() != first))
        .await
        .unwrap()
        .clone();
    let second = state.agent().unwrap().clone();
    assert_eq!(second.id().task_id(), first.task_id());
    assert_eq!(github.requests().len(), 2, "another assertion");
    live.release().await.unwrap();
}

#[tokio::test]
async fn bound_agent_of_workload_is_accepted_with_proofs_only() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Arc::new(Issuer::start(Algorithm::EdDsa));
    issuer.trusted_by(&broker, &admin).await;
    let github = token_service(&issuer);
    let workload = Client::new(&broker.url).unwrap().attested(source(&github));
    let agent = workload.agent([SCOPE]).unwrap().sender_constrained().create().await.unwrap();
    assert!(agent.is_bound());
    agent.renew().await.unwrap();
    let without_proof = broker.renew(agent.token().expose()).await;
    assert_eq!(without_proof.status, 401);
}

#[tokio::test]
async fn error_names_remedy_when_job_may_not_have_id_tokens() {
    let broker = Broker::start().await;
    let github = HttpServer::start(|_| Reply::status(403));
    let workload = Client::new(&broker.url).unwrap().attested(source(&github));
    let error = workload.agent([SCOPE]).unwrap().create().await.unwrap_err();
    assert!(matches!(error, ClientError::NoAssertion { .. }), "{error:?}");
    assert!(error.to_string().contains("it responded 403"), "{error}");
}

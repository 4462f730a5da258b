//! Bound tokens (RFC 9449) in the Rust client's `reqwest` middleware and in agents that are kept alive, against a broker and a
//! service as processes.

use std::time::Duration;

use agentwrit_client::{
    Agent, AgentState, AuthorizeMiddleware, Client, LiveAgent, NewApp, Origins, RevocationTarget, TokenType, Validation,
};
use agentwrit_e2e::{ADMIN_SECRET, Broker, ProtectedService};
use agentwrit_verify::{Subject, Thumbprint};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tokio::sync::watch;

/// A client of the service, whose requests have the agent's token and proofs.
fn middleware(agent: &LiveAgent, service: &ProtectedService) -> ClientWithMiddleware {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let authorize = AuthorizeMiddleware::new(agent.clone(), Origins::new([&service.url]).unwrap());
    ClientBuilder::new(http).with(authorize).build()
}

async fn status(client: &ClientWithMiddleware, service: &ProtectedService) -> u16 {
    client.get(format!("{}/records/7?page=2", service.url)).send().await.unwrap().status().as_u16()
}

/// Returns the key that the agent's token is bound to, as the broker reports it.
async fn key(client: &Client, agent: &Agent) -> Thumbprint {
    let validation = client.validate(agent.token().expose()).await.unwrap();
    assert_eq!(validation.token_type(), Some(TokenType::Dpop));
    let claims = if let Validation::Valid(claims) = validation { Some(claims) } else { None };
    claims.unwrap().cnf.unwrap().jkt
}

async fn next_agent(states: &mut watch::Receiver<AgentState>) -> Agent {
    loop {
        let announced = tokio::time::timeout(Duration::from_secs(30), states.changed());
        announced.await.unwrap().unwrap();
        if let AgentState::Live(agent) = &*states.borrow_and_update() {
            return agent.clone();
        }
    }
}

#[tokio::test]
async fn middleware_signs_for_live_agent_through_renewal_and_registration_under_another_key() {
    let broker = Broker::start().await;
    let service = ProtectedService::start_without_reports(&broker.url, &[]).await;
    let client = Client::new(&broker.url).unwrap();
    let admin = client.admin(ADMIN_SECRET).unwrap();
    let created = admin.create_app(&NewApp::new("desk", ["read:records:*"]).unwrap()).await.unwrap();
    let app = client.app(created.record.client_id, created.client_secret).unwrap();
    let request = app.agent("orch-1", "task-1").scope(["read:records:*"]).unwrap().max_ttl(Duration::from_secs(4));
    let live = request.sender_constrained().keep_alive().start().await.unwrap();
    let mut states = live.subscribe();
    let first = live.agent().unwrap();
    assert!(first.is_bound());
    let old_key = key(&client, &first).await;

    // The service has just started: it demands a nonce, which the middleware signs in a second attempt.
    let records = middleware(&live, &service);
    assert_eq!(status(&records, &service).await, 200);
    assert_eq!(service.status_for(first.token().expose()).await, 401, "as a bearer token");
    let renewed = next_agent(&mut states).await;
    assert_eq!((renewed.id(), renewed.is_bound()), (first.id(), true));
    assert_eq!(status(&records, &service).await, 200);

    let target = RevocationTarget::Subject(Subject::Agent(first.id().clone()));
    assert_eq!(admin.revoke(&target, Some("a drill")).await.unwrap().count, 1);
    let anew = next_agent(&mut states).await;
    assert!(anew.id() != first.id() && anew.is_bound(), "{anew:?}");
    assert_eq!(status(&records, &service).await, 200);
    assert_ne!(key(&client, &anew).await, old_key, "each agent has a key of its own");

    live.release().await.unwrap();
    let url = format!("{}/records/7", service.url);
    assert!(records.get(url).send().await.unwrap_err().is_middleware(), "nothing is sent without a token");
}

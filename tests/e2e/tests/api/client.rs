//! The Rust client against the real broker.

use std::time::Duration;

use agentwrit_client::{
    Admin, Agent, AgentState, App, AppStatus, AppUpdate, Client, ClientError, NewApp, NewLaunchToken, RevocationTarget,
    Validation,
};
use agentwrit_e2e::{ADMIN_SECRET, Broker};
use agentwrit_verify::Subject;
use tokio::sync::watch;

async fn app(broker: &Broker, scopes: &[&str]) -> (Admin, App) {
    let client = Client::new(&broker.url).unwrap();
    let admin = client.admin(ADMIN_SECRET).unwrap();
    let created = admin.create_app(&NewApp::new("desk", scopes).unwrap()).await.unwrap();
    let app = client.app(created.record.client_id, created.client_secret).unwrap();
    (admin, app)
}

#[tokio::test]
async fn creates_valid_agent() {
    let broker = Broker::start().await;
    let (_, app) = app(&broker, &["read:data:*"]).await;
    let request = app.agent("orch-1", "task-1").scope(["read:data:x"]).unwrap().max_ttl(Duration::from_secs(60));
    let agent = request.create().await.unwrap();

    let Validation::Valid(claims) = app.client().validate(agent.token().expose()).await.unwrap() else {
        panic!("invalid")
    };
    assert_eq!(claims.sub.to_string(), agent.id().as_str());
    assert_eq!(&claims.scope, agent.scopes());
    assert_eq!(claims.exp - claims.iat, 60);
    assert!(claims.exp.abs_diff(agent.expires_at().seconds()) <= 2);
    assert!(!app.client().validate("nonsense").await.unwrap().is_valid());
    assert!(app.client().health().await.unwrap().is_ok());
}

#[tokio::test]
async fn errors_carry_the_problem() {
    let broker = Broker::start().await;
    let (_, app) = app(&broker, &["read:data:*"]).await;
    let error = app.agent("orch-1", "task-1").scope(["write:data:x"]).unwrap().create().await.unwrap_err();
    assert_eq!((error.status(), error.error_code()), (Some(403), Some("scope_violation")));
    assert_eq!(error.problem().unwrap().detail, "requested scopes exceed app ceiling");
    assert!(error.request_id().is_some());

    let other_client = app.client().app("no-0123456789ab", "wrong").unwrap();
    let error = other_client.agent("orch-1", "task-1").scope(["read:data:x"]).unwrap().create().await.unwrap_err();
    assert_eq!((error.status(), error.error_code()), (Some(401), Some("unauthorized")));
}

#[tokio::test]
async fn administers_apps_as_operator() {
    let broker = Broker::start().await;
    let (admin, app) = app(&broker, &["read:data:*"]).await;
    let listed = admin.apps().await.unwrap();
    let id = listed[0].app_id.clone();
    assert_eq!(admin.app(&id).await.unwrap().as_ref(), listed.first());
    let update = AppUpdate::default().scopes(["read:data:x"]).unwrap();
    assert_eq!(admin.update_app(&id, &update).await.unwrap().scopes.len(), 1);
    let taken = admin.create_app(&NewApp::new("desk", ["read:data:*"]).unwrap()).await.unwrap_err();
    assert_eq!(taken.error_code(), Some("conflict"));

    admin.delete_app(&id).await.unwrap();
    assert_eq!(admin.app(&id).await.unwrap().unwrap().status, Some(AppStatus::Inactive));
    let error = app.agent("orch-1", "task-1").scope(["read:data:x"]).unwrap().create().await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    let unknown = agentwrit_verify::AppId::parse("app-unknown-0a1b2c").unwrap();
    assert_eq!(admin.app(&unknown).await.unwrap(), None);
}

#[tokio::test]
async fn issues_launch_tokens_as_app_and_operator() {
    let broker = Broker::start().await;
    let (admin, app) = app(&broker, &["read:data:*"]).await;
    let request = NewLaunchToken::new("reader", ["read:data:x"]).unwrap().ttl(Duration::from_secs(60));
    for token in [admin.create_launch_token(&request).await.unwrap(), app.create_launch_token(&request).await.unwrap()]
    {
        assert_eq!(token.token().expose().len(), 64);
        assert!(token.id().is_some());
        assert_eq!(token.max_ttl(), Duration::from_secs(300));
    }
}

/// The next token that is announced, and its agent.
async fn next_token(states: &mut watch::Receiver<AgentState>) -> (Agent, String) {
    loop {
        let announced = tokio::time::timeout(Duration::from_secs(30), states.changed());
        announced.await.unwrap().unwrap();
        if let AgentState::Live(agent) = &*states.borrow_and_update() {
            return (agent.clone(), agent.token().expose().to_owned());
        }
    }
}

#[tokio::test]
async fn live_agent_renews_registers_again_after_revocation_and_releases() {
    let broker = Broker::start().await;
    let (admin, app) = app(&broker, &["read:data:*"]).await;
    let valid = async |token: &str| admin.client().validate(token).await.unwrap().is_valid();
    let request = app.agent("orch-1", "task-1").scope(["read:data:x"]).unwrap().max_ttl(Duration::from_secs(4));
    let live = request.keep_alive().start().await.unwrap();
    let mut states = live.subscribe();
    let first = live.agent().unwrap();
    let token = first.token().expose().to_owned();
    assert!(valid(&token).await);

    let (renewed, second) = next_token(&mut states).await;
    assert_eq!(renewed.id(), first.id());
    assert_eq!((valid(&token).await, valid(&second).await), (false, true));

    let target = RevocationTarget::Subject(Subject::Agent(first.id().clone()));
    assert_eq!(admin.revoke(&target, Some("a drill")).await.unwrap().count, 1);
    assert!(!valid(&second).await);
    let (anew, third) = next_token(&mut states).await;
    assert_ne!(anew.id(), first.id());
    assert_eq!((anew.scopes(), valid(&third).await), (first.scopes(), true));
    assert_eq!(live.agent().unwrap().id(), anew.id());

    live.release().await.unwrap();
    assert!(!valid(&third).await);
    assert!(matches!(live.authorization(), Err(ClientError::NoToken { .. })));
    live.release().await.unwrap();
}

#[tokio::test]
async fn reports_stopped_broker_as_unreachable() {
    let broker = Broker::start().await;
    let (_, app) = app(&broker, &["read:data:*"]).await;
    let (_, _directory) = broker.terminate().await;
    let error = app.client().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

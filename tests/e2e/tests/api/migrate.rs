//! `agentwrit-broker migrate` (contract §10): neither agents nor followers notice the move to PostgreSQL.

use std::sync::Arc;

use agentwrit_e2e::{Agent, Broker, Brokers, Stopped, assert_whole_chain, free_port, jti};
use agentwrit_verify::{Level, VerifyError, remote::Follower};
use postgres_server::PostgresServer;
use serde_json::json;
use tempfile::TempDir;

const SCOPE: &str = "read:data:*";

async fn enrol(broker: &Broker, admin: &str, task: &str) -> Agent {
    broker.enrol(admin, task, json!({"allowed_scope": [SCOPE]})).await
}

async fn migrate(directory: &TempDir, environment: &[(&str, &str)]) -> Stopped {
    Broker::run_in(directory.path(), environment, &["migrate"]).await
}

#[tokio::test]
async fn tokens_challenges_and_followers_go_on_after_migration_to_postgresql() {
    let server = Arc::new(PostgresServer::start());
    let brokers = Brokers::prepare(&server, 1, &[]).await;
    let port = free_port().to_string();
    let environment = brokers.environment(0);
    let mut environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    environment.push(("AA_PORT", &port));

    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(directory, &[("AA_PORT", &port)]).await;
    let admin = broker.admin_token().await;
    let (kept, ended) = (enrol(&broker, &admin, "kept").await, enrol(&broker, &admin, "ended").await);
    assert_eq!(broker.revoked(&admin, "token", &jti(&ended.token)).await, 1);
    let in_flight = broker.registration(&admin, &[SCOPE]).await;
    let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
    let verifier = follower.verifier().build();
    let events = broker.events(&admin, "").await;
    assert_eq!(migrate_in(&broker, &environment).await, Some(1), "the broker runs");

    let (_, directory) = broker.terminate().await;
    let migrated = migrate(&directory, &environment).await;
    assert!(migrated.status.success(), "{}", migrated.output);
    assert!(migrated.output.contains("\naudit trail: verified up to event "), "{}", migrated.output);
    let again = migrate(&directory, &environment).await;
    assert_eq!(
        (again.status.code(), again.output.as_str()),
        (
            Some(1),
            "agentwrit-broker: the database to copy to is not empty: create another, or remove its tables if they are of no use\n"
        )
    );

    let broker = Broker::start_in(directory, &environment).await;
    assert_eq!((broker.accepts(&kept.token).await, broker.accepts(&ended.token).await), (true, false));
    assert_eq!(broker.post("/v1/register").json(&in_flight.0).await.status, 200);
    assert_eq!(broker.post("/v1/register").json(&in_flight.0).await.status, 401);
    let renewed = broker.renewed(&kept.token).await;
    let after = broker.events(&admin, "").await;
    assert_whole_chain(&after);
    assert_eq!(after[..events.len()], events);

    verifier.verify(&renewed).unwrap();
    broker.revoked(&admin, "agent", &kept.id).await;
    let rejected = async {
        while verifier.verify(&renewed).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), rejected).await.unwrap();
    let level = |token: &str| match verifier.verify(token) {
        Err(VerifyError::Revoked { level, .. }) => Some(level),
        _ => None,
    };
    assert_eq!((level(&renewed), level(&ended.token)), (Some(Level::Agent), Some(Level::Token)));
}

/// Exit code of a migration in the directory of a running broker.
async fn migrate_in(broker: &Broker, environment: &[(&str, &str)]) -> Option<i32> {
    Broker::run_in(broker.directory(), environment, &["migrate"]).await.status.code()
}

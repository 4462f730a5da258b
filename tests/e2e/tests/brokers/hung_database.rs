//! A database server that keeps its connections and responds to nothing: all its processes are stopped by SIGSTOP.

use std::{sync::Arc, time::Duration};

use agentwrit_e2e::{Brokers, Registration, Response};
use postgres_server::PostgresServer;
use serde_json::json;
use tokio::time::Instant;

use crate::{RECOVERY, enrol, within};

/// Time limit for the health check, with a second for a busy machine.
const HEALTH_LIMIT: Duration = Duration::from_secs(6);
/// Time limit for any other request, with two seconds for a busy machine.
const REQUEST_LIMIT: Duration = Duration::from_secs(12);
/// Time limit from SIGTERM to the end of the process.
const END_LIMIT: Duration = Duration::from_secs(8);

async fn rejects_within(limit: Duration, what: &str, request: impl IntoFuture<Output = Response>) {
    let begun = Instant::now();
    let response = request.await;
    assert_eq!(response.status, 503, "{what}: {response:?}");
    assert!(begun.elapsed() < limit, "{what}: {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_rejects_requests_within_seconds_while_database_hangs_and_recovers() {
    let server = Arc::new(PostgresServer::start());
    let brokers = Brokers::start(&server, 1).await;
    let broker = brokers.at(0);
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "hung", &["read:data:*"]).await;
    let agent = enrol(broker, &admin, "task-1").await;
    let token = json!({"token": agent.token});
    let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
    server.suspend();
    // First at once, then after the broker has noticed.
    for _ in 0..2 {
        tokio::join!(
            rejects_within(HEALTH_LIMIT, "health", broker.get("/v1/health")),
            rejects_within(REQUEST_LIMIT, "login of the app", broker.post("/v1/app/auth").json(&login)),
            rejects_within(REQUEST_LIMIT, "validation", broker.post("/v1/token/validate").json(&token)),
            rejects_within(REQUEST_LIMIT, "list", broker.get("/v1/admin/apps").bearer(&admin)),
            rejects_within(REQUEST_LIMIT, "renewal", broker.post("/v1/token/renew").bearer(&agent.token)),
            rejects_within(REQUEST_LIMIT, "feed", broker.get("/v1/revocations")),
        );
    }
    server.resume();
    let healthy = async || broker.get("/v1/health").await.status == 200;
    within(RECOVERY * 2, "the broker is healthy again", healthy).await;
    enrol(broker, &admin, "task-2").await;
    broker.app_token(&app).await;
    assert!(broker.accepts(&agent.token).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_ends_within_eight_seconds_after_sigterm_while_database_hangs() {
    let server = Arc::new(PostgresServer::start());
    let mut brokers = Brokers::start(&server, 1).await;
    let admin = brokers.at(0).admin_token().await;
    let launch_token = brokers.at(0).launch_token(&admin, &["read:data:*"]).await;
    let registration = Registration::new(&launch_token, &brokers.at(0).nonce().await, &["read:data:x"]);
    server.suspend();
    let waiting = agentwrit_e2e::Wire::to(brokers.at(0));
    let waiting = tokio::spawn(async move { waiting.post("/v1/register", None, &registration.0).await });
    // The request waits for the database, which the health check waits for too.
    assert_eq!(brokers.at(0).get("/v1/health").await.status, 503);
    let begun = Instant::now();
    let stopped = brokers.terminate(0).await;
    assert!(begun.elapsed() < END_LIMIT, "{:?}", begun.elapsed());
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
    let answer = waiting.await.unwrap();
    assert!(answer.is_none_or(|(status, _)| status == 503), "the registration was acknowledged");
    server.resume();
    let agents = server.query(&brokers.database, "SELECT count(*) FROM agents");
    assert_eq!(agents, ["0"]);
}

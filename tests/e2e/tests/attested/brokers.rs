//! Two brokers on one PostgreSQL database.

use std::sync::{Arc, LazyLock};

use agentwrit_e2e::Brokers;
use identity_provider::Algorithm;
use postgres_server::PostgresServer;

use crate::issuer::{Issuer, register};

static SERVER: LazyLock<Arc<PostgresServer>> = LazyLock::new(|| Arc::new(PostgresServer::start()));

const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_once_when_assertion_is_used_at_two_brokers_at_once() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let issuer = Issuer::start(Algorithm::Es256);
    issuer.trusted_by(brokers.at(0), &admin).await;
    for _ in 0..ROUNDS {
        let token = issuer.token();
        let (here, there) =
            tokio::join!(register(brokers.at(0), "oidc", &token), register(brokers.at(1), "oidc", &token));
        let (first, refused) = if here.status == 200 { (here, there) } else { (there, here) };
        assert_eq!(first.status, 200, "{first:?} {refused:?}");
        refused.refused(401, "unauthorized", "attestation failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_that_one_broker_removes_attests_nothing_at_other() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let issuer = Issuer::start(Algorithm::EdDsa);
    let rule = issuer.trusted_by(brokers.at(0), &admin).await;
    assert_eq!(register(brokers.at(1), "oidc", &issuer.token()).await.status, 200);
    let path = format!("/v1/admin/trust-rules/{rule}");
    assert_eq!(brokers.at(0).request(http::Method::DELETE, &path).bearer(&admin).await.status, 204);
    let refused = register(brokers.at(1), "oidc", &issuer.token()).await;
    refused.refused(401, "unauthorized", "attestation failed");
}

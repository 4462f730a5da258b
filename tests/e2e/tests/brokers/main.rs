//! Several real brokers on one PostgreSQL database: contract §10, and what holds under faults.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod authority;
mod clocks;
mod configuration;
mod failover;
mod feed;
mod hung_database;
mod partition;
mod pgbouncer;
mod rounds;
mod sender_constrained;
mod single_use;
mod trail;
mod withdrawn_keys;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use agentwrit_e2e::{Agent, Broker};
use postgres_server::PostgresServer;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Server of the tests that do not stop it.
static SERVER: LazyLock<Arc<PostgresServer>> = LazyLock::new(|| Arc::new(PostgresServer::start()));

/// Time within which the other brokers go on after a fault of one.
const RECOVERY: Duration = Duration::from_secs(2);

async fn enrol(broker: &Broker, admin: &str, task: &str) -> Agent {
    broker.enrol(admin, task, json!({"allowed_scope": ["read:data:*"]})).await
}

/// Polls until `holds` returns true. Fails after `limit`.
async fn within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

//! Withdrawn signing keys stay withdrawn.

use std::sync::Arc;

use agentwrit_e2e::{Broker, Brokers, next_second, protected_header};
use postgres_server::{PostgresServer, Stop};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{RECOVERY, SERVER, within};

async fn withdraw(broker: &Broker, admin: &str, kid: &str) -> u16 {
    broker.post(&format!("/v1/admin/keys/{kid}/withdraw")).bearer(admin).json(&json!({"reason": "leaked"})).await.status
}

/// Returns the id of the key that signed a token.
fn kid_of(token: &str) -> String {
    protected_header(token)["kid"].as_str().unwrap().to_owned()
}

/// Returns the state of a key.
async fn state(broker: &Broker, admin: &str, kid: &str) -> Value {
    let keys = broker.get("/v1/admin/keys").bearer(admin).await.json();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap_or(&Value::Null);
    key["state"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_stays_withdrawn_when_database_loses_its_withdrawal_and_every_broker_was_killed() {
    let server = Arc::new(PostgresServer::start());
    let mut brokers = Brokers::start(&server, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let kid = kid_of(&admin);
    let standby = block_in_place(|| {
        let standby = server.standby();
        standby.stop(Stop::Fast);
        standby
    });
    assert_eq!(withdraw(brokers.at(0), &admin, &kid).await, 200);
    brokers.kill(0).await;
    brokers.kill(1).await;
    block_in_place(|| {
        server.stop(Stop::Immediate);
        standby.start_again();
        standby.promote();
    });
    for number in 0..2 {
        brokers.link(number).lead_to(standby.socket());
    }
    brokers.server = Arc::new(standby);
    // The second one may not have read of the withdrawal.
    for number in [1, 0] {
        brokers.start_one(number).await;
    }
    for number in 0..2 {
        let healthy = async || brokers.at(number).get("/v1/health").await.status == 200;
        within(RECOVERY * 5, "the broker is healthy", healthy).await;
    }
    next_second().await;
    for number in 0..2 {
        let broker = brokers.at(number);
        let admin = broker.admin_token().await;
        assert_eq!(state(broker, &admin, &kid).await, "withdrawn", "broker {number}");
        assert_ne!(kid_of(&admin), kid, "broker {number}");
        assert!(brokers.at(1 - number).accepts(&admin).await);
        let keys = broker.get("/.well-known/jwks.json").await.json();
        assert!(keys["keys"].as_array().unwrap().iter().all(|key| key["kid"] != *kid), "broker {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_does_not_start_on_key_table_from_before_a_withdrawal_until_withdraw_key_makes_another() {
    let mut brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let kid = kid_of(&admin);
    let sql = |sql: &str| block_in_place(|| brokers.server.query(&brokers.database, sql));
    sql("CREATE TABLE saved AS SELECT * FROM signing_keys");
    assert_eq!(withdraw(brokers.at(0), &admin, &kid).await, 200);
    sql("BEGIN; DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM saved; COMMIT");
    brokers.kill(1).await;
    let environment = brokers.environment(1);
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let stopped = Broker::refuses_to_start(&environment).await;
    assert!(stopped.output.contains("agentwrit-broker withdraw-key"), "{}", stopped.output);
    assert!(!stopped.output.contains("restore"), "{}", stopped.output);
    assert!(!brokers.at(0).accepts(&admin).await, "the other broker goes on without the key");

    let checked = Broker::run_in(brokers.at(0).directory(), &environment, &["check", "--probe"]).await;
    let warning = format!("the row of the ended signing key `{kid}` was put back");
    assert!(checked.output.contains(&warning), "{}", checked.output);
    let replaced = Broker::run_in(brokers.at(0).directory(), &environment, &["withdraw-key", &kid]).await;
    assert!(replaced.status.success(), "{}", replaced.output);
    brokers.start_one(1).await;
    for number in 0..2 {
        let token = brokers.at(number).admin_token().await;
        assert!(brokers.at(0).accepts(&token).await && brokers.at(1).accepts(&token).await, "broker {number}");
        assert_eq!(state(brokers.at(number), &token, &kid).await, "withdrawn", "broker {number}");
        assert!(!brokers.at(number).accepts(&admin).await, "broker {number}");
    }
    let checked = Broker::run_in(brokers.at(0).directory(), &environment, &["check", "--probe"]).await;
    assert!(!checked.output.contains(&warning), "{}", checked.output);
}

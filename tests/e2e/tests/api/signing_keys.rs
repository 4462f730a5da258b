//! `/v1/admin/keys`

use std::{fs, path::Path, time::Duration};

use agentwrit_e2e::{Broker, next_second, protected_header};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const PATH: &str = "/v1/admin/keys";

fn path_of(key: &Value, change: &str) -> String {
    format!("{PATH}/{}/{change}", key["kid"].as_str().unwrap())
}

fn record(state: &str, times: &[&str]) -> Value {
    let mut record = json!({"kid": "$sentence", "state": state, "public_key": "$sentence", "created_at": "$time"});
    for time in times {
        record[time] = json!("$time");
    }
    record
}

fn changed(state: &str, times: &[&str]) -> Value {
    let mut record = record(state, times);
    record["cursor"] = json!("$cursor");
    record
}

async fn kids(broker: &Broker) -> Vec<Value> {
    let keys = broker.get("/.well-known/jwks.json").await.json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

#[tokio::test]
async fn lists_key_that_signs() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let listed = json!({"keys": [record("active", &["activated_at"])], "total": 1, "limit": 100, "offset": 0});
    let listed = broker.get(PATH).bearer(&admin).await.expect(200, listed);
    assert_eq!(protected_header(&admin)["kid"], listed["keys"][0]["kid"]);
}

#[tokio::test]
async fn prepares_activates_and_retires_keys() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let reason = json!({"reason": "yearly"});
    let first = broker.get(PATH).bearer(&admin).await.json()["keys"][0].clone();
    let second = broker.post(PATH).bearer(&admin).json(&reason).await.expect(201, changed("prepared", &[]));
    assert_eq!(kids(&broker).await, [first["kid"].clone(), second["kid"].clone()]);

    let activate = path_of(&second, "activate");
    let (detail, hint) = broker.post(&activate).bearer(&admin).await.problem(409, "conflict");
    assert!(detail.starts_with("verifiers may not have the key before 20"), "{detail}");
    assert!(hint.unwrap().contains("`\"force\":true`"));
    let force = json!({"force": true});
    let active = changed("active", &["activated_at"]);
    broker.post(&activate).bearer(&admin).json(&force).await.expect(200, active.clone());
    broker.post(&activate).bearer(&admin).await.expect(200, active);
    assert_eq!(protected_header(&broker.admin_token().await)["kid"], second["kid"]);
    assert!(broker.accepts(&admin).await, "the former key verifies");

    let (detail, _) = broker.post(&path_of(&first, "retire")).bearer(&admin).await.problem(409, "conflict");
    assert!(detail.starts_with("tokens of the key may be valid before 20"), "{detail}");
    broker.post(&path_of(&second, "retire")).bearer(&admin).await.refused(409, "conflict", "the key is active");
    let third = broker.post(PATH).bearer(&admin).await.json();
    broker.post(&path_of(&third, "retire")).bearer(&admin).await.expect(200, changed("retired", &[]));
    let again = broker.post(&path_of(&third, "activate")).bearer(&admin).json(&force).await;
    again.refused(409, "conflict", "the key is retired");
    assert_eq!(kids(&broker).await, [second["kid"].clone(), first["kid"].clone()]);
    let page = broker.get(&format!("{PATH}?limit=1&cursor=1")).bearer(&admin).await.json();
    assert_eq!(
        (&page["keys"][0]["kid"], &page["next_cursor"], &page["total"]),
        (&second["kid"], &json!("2"), &json!(3))
    );
}

#[tokio::test]
async fn withdrawal_kills_tokens_of_key_at_once_and_those_of_next_key_are_valid() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    let first = broker.get(PATH).bearer(&admin).await.json()["keys"][0].clone();
    let withdraw = path_of(&first, "withdraw");
    let body = json!({"reason": "the key was in a backup that was sold"});
    let withdrawn = changed("withdrawn", &["activated_at"]);
    broker.post(&withdraw).bearer(&admin).json(&body).await.expect(200, withdrawn.clone());
    for token in [&admin, &agent] {
        assert!(!broker.accepts(token).await);
        broker.get(PATH).bearer(token).await.problem(401, "unauthorized");
    }
    let admin = broker.admin_token().await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    assert!(broker.accepts(&agent).await);
    broker.post(&withdraw).bearer(&admin).await.expect(200, withdrawn);
    let events = broker.get("/v1/audit/events?event_type=key_withdrawn").bearer(&admin).await.json();
    assert_eq!((&events["total"], &events["events"][0]["resource"]), (&json!(1), &first["kid"]));
    assert!(events["events"][0]["detail"].as_str().unwrap().contains("the key was in a backup that was sold"));

    let (_, directory) = broker.terminate().await;
    let broker = Broker::start_in(directory, &[]).await;
    assert!(broker.accepts(&agent).await && !kids(&broker).await.contains(&first["kid"]));
}

#[tokio::test]
async fn rotates_by_itself_once_new_key_was_published_long_enough() {
    let broker = Broker::start_with(&[("AA_KEY_PREPARE_FOR", "1")]).await;
    let admin = broker.admin_token().await;
    let scheduled = changed("prepared", &["activates_at"]);
    let second = broker.post(&format!("{PATH}/rotate")).bearer(&admin).await.expect(200, scheduled);
    let until = Instant::now() + Duration::from_secs(20);
    while protected_header(&broker.admin_token().await)["kid"] != second["kid"] {
        assert!(Instant::now() < until, "the key does not sign");
        next_second().await;
    }
    assert!(broker.accepts(&admin).await);
    let keys = broker.get(PATH).bearer(&admin).await.json();
    let states = [&keys["keys"][0]["state"], &keys["keys"][1]["state"]];
    assert_eq!(states, [&json!("retiring"), &json!("active")]);
    let metrics = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    assert!(metrics.contains("agentwrit_key_rotation_blocked 0\n"), "{metrics}");
}

#[tokio::test]
async fn rejects_unknown_keys_and_malformed_requests() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for change in ["activate", "retire", "withdraw"] {
        let answer = broker.post(&format!("{PATH}/no-such-key/{change}")).bearer(&admin).await;
        answer.refused(404, "not_found", "no such signing key");
    }
    for (body, field) in
        [(json!({"wait": 26}), "wait"), (json!({"force": 1}), "force"), (json!({"reason": 7}), "reason")]
    {
        broker.post(PATH).bearer(&admin).json(&body).await.refused_for(400, "invalid_request", field);
    }
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    broker.get(PATH).bearer(&agent).await.problem(403, "insufficient_scope");
    broker.post(&format!("{PATH}/rotate")).bearer(&agent).await.problem(403, "insufficient_scope");
    assert_eq!(kids(&broker).await.len(), 1);
}

/// Prepares, activates and withdraws keys, one after another. Notes the ids of the keys whose withdrawal was acknowledged.
async fn replace_keys(broker: &Broker, withdrawn: &mut Vec<Value>) {
    let mut admin = broker.admin_token().await;
    loop {
        let former = protected_header(&admin)["kid"].clone();
        let next = broker.post(PATH).bearer(&admin).await.json();
        broker.post(&path_of(&next, "activate")).bearer(&admin).json(&json!({"force": true})).await;
        admin = broker.admin_token().await;
        let withdrawal = broker.post(&path_of(&json!({"kid": former}), "withdraw")).bearer(&admin).await;
        assert_eq!(withdrawal.status, 200);
        withdrawn.push(former);
    }
}

/// Names of the files in the directory of the keys, and of files beside the active one that were not written to their end.
fn names_of_key_files(directory: &Path) -> Vec<String> {
    let names = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let beside = names(directory).into_iter().filter(|name| name.starts_with(".signing.key"));
    names(&directory.join("signing.key.d")).into_iter().chain(beside).collect()
}

#[tokio::test]
async fn broker_killed_while_keys_are_replaced_starts_with_one_active_key_and_withdrawn_ones_stay_so() {
    let mut broker = Broker::start().await;
    let mut withdrawn = Vec::new();
    for round in 0..12 {
        // At another point each time. What was begun goes on while the client has gone.
        let until = Duration::from_millis(20 + 17 * round);
        assert!(timeout(until, replace_keys(&broker, &mut withdrawn)).await.is_err());
        let directory = broker.kill().await;
        broker = Broker::start_in(directory, &[]).await;
        let admin = broker.admin_token().await;
        let keys = broker.get(&format!("{PATH}?limit=1000")).bearer(&admin).await.json();
        let keys = keys["keys"].as_array().unwrap();
        let of_state = |state: &str| keys.iter().filter(|key| key["state"] == state).collect::<Vec<_>>();
        assert_eq!(of_state("active").len(), 1, "round {round}: {keys:#?}");
        assert_eq!(protected_header(&admin)["kid"], of_state("active")[0]["kid"], "round {round}");
        for kid in &withdrawn {
            assert!(of_state("withdrawn").iter().any(|key| key["kid"] == *kid), "round {round}: {kid} of {keys:#?}");
        }
        let ended: Vec<&Value> = of_state("withdrawn").into_iter().chain(of_state("retired")).collect();
        for name in names_of_key_files(broker.directory()) {
            let is_of_ended_key = ended.iter().any(|key| name.contains(key["kid"].as_str().unwrap()));
            assert!(!name.starts_with('.') && !is_of_ended_key, "round {round}: {name} of {keys:#?}");
        }
        let published = of_state("active").len() + of_state("prepared").len() + of_state("retiring").len();
        assert_eq!(kids(&broker).await.len(), published, "round {round}");
        for key in of_state("prepared").into_iter().chain(of_state("retiring")) {
            assert_eq!(broker.post(&path_of(key, "withdraw")).bearer(&admin).await.status, 200);
        }
    }
    assert!(withdrawn.len() > 3, "{} keys were replaced", withdrawn.len());
}

//! Sender-constrained tokens at several brokers behind one URL. Each broker has a replay table of its own.

use std::time::Duration;

use agentwrit_e2e::{Brokers, DpopAgent, Response, payload};
use serde_json::{Value, json};

use crate::{SERVER, enrol};

/// URL by which clients reach all brokers.
const URL: &str = "https://brokers.example";

async fn start(count: usize) -> Brokers {
    Brokers::start_with(&SERVER, count, &[("AA_EXTERNAL_URL", URL)]).await
}

/// Sends a request to a broker, with a proof for the URL of all.
async fn send(brokers: &Brokers, number: usize, agent: &DpopAgent, path: &str, body: Option<&Value>) -> Response {
    agent.send_as(brokers.at(number), path, &format!("{URL}{path}"), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broker_takes_proofs_for_external_url_and_keeps_binding() {
    let brokers = start(3).await;
    let admin = brokers.at(0).admin_token().await;
    let launch = json!({"allowed_scope": ["read:data:*"], "sender_constrained": true});
    let mut agent = DpopAgent::register(brokers.at(0), &admin, "task-1", launch).await;
    let cnf = json!({"jkt": agent.thumbprint()});
    for number in [1, 2, 0] {
        let bearer = brokers.at(number).renew(&agent.token).await;
        bearer.problem(401, "unauthorized");
        let renewed = send(&brokers, number, &agent, "/v1/token/renew", None).await;
        assert_eq!(renewed.status, 200, "{renewed:?}");
        agent.token = renewed.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(payload(&agent.token)["cnf"], cnf);
    }
}

/// RFC 9449 §11.1: what a thief gains who reads a request on its way, within the window and at another broker only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_at_another_broker_has_no_effect_on_token_that_proof_renewed() {
    let brokers = start(2).await;
    let admin = brokers.at(0).admin_token().await;
    let launch = json!({"allowed_scope": ["read:data:*"], "sender_constrained": true});
    let agent = DpopAgent::register(brokers.at(0), &admin, "task-1", launch).await;
    let renew = "/v1/token/renew";
    let request = |number: usize, proof: &str| {
        let request = brokers.at(number).post(renew).header("authorization", &format!("DPoP {}", agent.token));
        request.header("dpop", proof)
    };
    let nonce = agent.nonce_as(brokers.at(0), &format!("{URL}/v1/delegate")).await;
    let proof = agent.proof("POST", &format!("{URL}{renew}"), nonce.as_deref());
    assert_eq!(request(0, &proof).await.status, 200);
    request(0, &proof).await.problem(401, "unauthorized");
    request(1, &proof).await.problem(401, "unauthorized");
}

/// A proof does not cover the body of its request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_delegation_replayed_at_another_broker_for_another_delegate() {
    let brokers = start(2).await;
    let admin = brokers.at(0).admin_token().await;
    let launch = json!({"allowed_scope": ["read:data:*"], "sender_constrained": true});
    let agent = DpopAgent::register(brokers.at(0), &admin, "task-1", launch.clone()).await;
    let honest = DpopAgent::register(brokers.at(0), &admin, "task-1", launch.clone()).await;
    let thief = DpopAgent::register(brokers.at(0), &admin, "task-2", launch).await;
    let url = format!("{URL}/v1/delegate");
    for number in [0, 1] {
        // For a few seconds after its start a broker accepts proofs with its own nonces only.
        while agent.nonce_as(brokers.at(number), &url).await.is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let request = |number: usize, to: &str, proof: &str| {
        let request = brokers.at(number).post("/v1/delegate").header("authorization", &format!("DPoP {}", agent.token));
        request.header("dpop", proof).json(&json!({"delegate_to": to, "scope": ["read:data:*"]}))
    };
    let proof = agent.proof("POST", &url, None);
    assert_eq!(request(0, &honest.id, &proof).await.status, 200);
    let [same, other] = [request(0, &thief.id, &proof).await, request(1, &thief.id, &proof).await];
    let problems = [&same, &other].map(|response| {
        response.problem(401, "unauthorized");
        let problem = response.json();
        let challenge = response.header("www-authenticate").map(str::to_owned);
        (problem["detail"].clone(), problem["hint"].clone(), challenge)
    });
    assert_eq!(problems[0], problems[1]);
    assert_eq!(request(1, &thief.id, &agent.proof("POST", &url, None)).await.status, 200, "a fresh proof");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_of_each_broker_binds_what_it_issues_and_brokers_warn_of_difference() {
    let mut brokers = Brokers::prepare(&SERVER, 2, &[]).await;
    brokers.set(1, &[("AA_SENDER_CONSTRAINED", "required")]);
    brokers.start_one(0).await;
    brokers.start_one(1).await;
    let difference = "AA_SENDER_CONSTRAINED is `required` here and `allowed` for the other brokers of this database";
    brokers.at(1).says(difference).await;
    let admin = brokers.at(0).admin_token().await;
    let agent = enrol(brokers.at(0), &admin, "task-1").await;
    assert_eq!(payload(&agent.token)["cnf"], Value::Null);
    let renewed = brokers.at(1).renewed(&agent.token).await;
    assert!(payload(&renewed)["cnf"]["jkt"].is_string());
    // The other broker does not loosen it.
    brokers.at(0).renew(&renewed).await.problem(401, "unauthorized");
}

//! One audit trail, whichever broker wrote an event and whichever lists it.

use std::sync::Arc;

use agentwrit_e2e::{Brokers, assert_whole_chain, payload};
use tokio::task::JoinSet;

use crate::{SERVER, enrol};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_all_brokers_form_one_chain_in_order_of_iat_and_each_broker_lists_it() {
    let brokers = Brokers::start(&SERVER, 3).await;
    let admin = brokers.at(0).admin_token().await;
    let brokers = Arc::new(brokers);
    let mut clients = JoinSet::new();
    for number in 0..6 {
        let (brokers, admin) = (Arc::clone(&brokers), admin.clone());
        clients.spawn(async move {
            let mut tokens = Vec::new();
            for round in 0..8 {
                let broker = brokers.at((number + round) % 3);
                tokens.push(enrol(broker, &admin, &format!("task-{number}")).await.token);
            }
            tokens
        });
    }
    let tokens = clients.join_all().await.concat();
    let mut trails = Vec::new();
    for number in 0..3 {
        trails.push(brokers.at(number).events(&admin, "").await);
    }
    let [first, second, third] = trails.try_into().unwrap();
    assert_eq!((&first, &first), (&second, &third));
    assert_whole_chain(&first);
    let issued_at: Vec<u64> = first
        .iter()
        .filter(|event| event["event_type"] == "token_issued")
        .filter_map(|event| {
            let detail = event["detail"].as_str().unwrap();
            tokens.iter().map(|token| payload(token)).find(|claims| detail.contains(claims["jti"].as_str().unwrap()))
        })
        .map(|claims| claims["iat"].as_u64().unwrap())
        .collect();
    assert_eq!(issued_at.len(), tokens.len());
    assert!(issued_at.is_sorted(), "{issued_at:?}");
}

//! Launch tokens and nonces are used once, at whichever broker.

use agentwrit_e2e::{Brokers, Registration, Response};

use crate::SERVER;

const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_once_when_launch_token_is_used_at_two_brokers_at_once() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    for _ in 0..ROUNDS {
        let launch = brokers.at(0).launch_token(&admin, &["read:data:x"]).await;
        let [here, there] = [
            Registration::new(&launch, &brokers.at(0).nonce().await, &["read:data:x"]),
            Registration::new(&launch, &brokers.at(1).nonce().await, &["read:data:x"]),
        ];
        let responses = tokio::join!(register(&brokers, 0, &here), register(&brokers, 1, &there));
        one_succeeds(responses, "launch token already consumed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_once_when_nonce_is_used_at_two_brokers_at_once() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    for _ in 0..ROUNDS {
        let nonce = brokers.at(1).nonce().await;
        let [here, there] = [
            Registration::new(&brokers.at(0).launch_token(&admin, &["read:data:x"]).await, &nonce, &["read:data:x"]),
            Registration::new(&brokers.at(1).launch_token(&admin, &["read:data:x"]).await, &nonce, &["read:data:x"]),
        ];
        let responses = tokio::join!(register(&brokers, 0, &here), register(&brokers, 1, &there));
        one_succeeds(responses, "nonce already consumed");
    }
}

#[tokio::test]
async fn one_of_renewals_of_same_token_at_two_brokers_at_once_succeeds() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    for _ in 0..ROUNDS {
        let (token, _) = brokers.at(0).agent(&admin, &["read:data:x"]).await;
        let (here, there) = tokio::join!(brokers.at(0).renew(&token), brokers.at(1).renew(&token));
        let mut statuses = [here.status, there.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }
}

async fn register(brokers: &Brokers, number: usize, registration: &Registration) -> Response {
    brokers.at(number).post("/v1/register").json(&registration.0).await
}

#[track_caller]
fn one_succeeds((here, there): (Response, Response), detail: &str) {
    let refused = if here.status == 200 { &there } else { &here };
    assert_eq!(here.status.min(there.status), 200, "{here:?} {there:?}");
    refused.refused(401, "unauthorized", detail);
}

//! `awrit keys export`.

use agentwrit_e2e::Broker;

#[tokio::test]
async fn exports_key_set_of_broker() {
    let broker = Broker::start().await;
    let answer = broker.get("/.well-known/jwks.json").await;
    let printed = broker.awrit(&["keys", "export"]).await.json();
    assert_eq!(printed["keys"], answer.json()["keys"]);
    broker.awrit(&["keys", "export", "--output", "keys.json"]).await.is(0, "", "");
    let file = std::fs::read(broker.directory().join("keys.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&file).unwrap(), printed);
}

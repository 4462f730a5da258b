//! Base64 as command line tools write it: wrapped, and with a line break at the end.

use agentwrit_e2e::Broker;
use serde_json::json;

fn wrapped(text: &str, line_break: &str) -> String {
    let (start, rest) = text.split_at(20);
    format!("{start}{line_break}{rest}{line_break}")
}

#[tokio::test]
async fn registers_key_and_signature_with_line_breaks() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for line_break in ["\n", "\r\n", "\r"] {
        let registration = broker.registration(&admin, &["read:data:x"]).await;
        let text = |member: &str| registration.0[member].as_str().unwrap().to_owned();
        let (key, signature) = (wrapped(&text("public_key"), line_break), wrapped(&text("signature"), line_break));
        let registration = registration.with("public_key", json!(key)).with("signature", json!(signature));
        assert_eq!(broker.post("/v1/register").json(&registration.0).await.status, 200, "{line_break:?}");
    }
}

#[tokio::test]
async fn rejects_other_characters_in_base64() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let registration = broker.registration(&admin, &["read:data:x"]).await;
    let key = registration.0["public_key"].as_str().unwrap().to_owned();
    for other in [" ", "\t", "\u{b}", "-", "\\n"] {
        let registration = registration.clone().with("public_key", json!(wrapped(&key, other)));
        let answer = broker.post("/v1/register").json(&registration.0).await;
        answer.refused(401, "unauthorized", "invalid Ed25519 public key");
    }
}

//! `GET /.well-known/jwks.json`

use agentwrit_e2e::{Broker, protected_header};
use agentwrit_verify::{KeySet, Verifier, VerifyError};
use serde_json::json;

const PATH: &str = "/.well-known/jwks.json";

#[tokio::test]
async fn serves_key_set_publicly_with_cache_headers() {
    let broker = Broker::start().await;
    let answer = broker.get(PATH).await;
    let key =
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "$sentence", "x": "$sentence"});
    let body = answer.expect(200, json!({"keys": [key]}));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));

    let token = broker.admin_token().await;
    assert_eq!(protected_header(&token)["kid"], body["keys"][0]["kid"]);
}

#[tokio::test]
async fn answers_304_for_unchanged_key_set() {
    let broker = Broker::start().await;
    let first = broker.get(PATH).await;
    let tag = first.header("etag").expect("an ETag").to_owned();
    for value in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = broker.get(PATH).header("if-none-match", &value).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{value}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert_eq!(again.header("cache-control"), Some("public, max-age=300"));
    }
    assert_eq!(broker.get(PATH).header("if-none-match", "\"other\"").await.status, 200);
}

#[tokio::test]
async fn tokens_verify_offline_against_key_set() {
    let (broker, other) = tokio::join!(Broker::start(), Broker::start());
    let keys = KeySet::from_jwks(&broker.get(PATH).await.body).unwrap();
    let (token, id) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    let (foreign, _) = other.agent(&other.admin_token().await, &["read:data:x"]).await;
    let verifier = Verifier::builder().issuer("https://agentwrit.local").keys(keys).without_revocations().build();

    drop(broker); // no request to the broker
    let claims = verifier.verify(&token).unwrap();
    assert_eq!(claims.agent_id().unwrap().as_str(), id);
    assert!(matches!(verifier.verify(&foreign), Err(VerifyError::UnknownKey { .. })));
}

#[tokio::test]
async fn keeps_key_across_restart() {
    let broker = Broker::start().await;
    let before = broker.get(PATH).await.json();
    let (_, directory) = broker.terminate().await;
    let broker = Broker::start_in(directory, &[]).await;
    assert_eq!(broker.get(PATH).await.json(), before);
}

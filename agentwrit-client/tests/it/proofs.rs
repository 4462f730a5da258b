//! Proofs for tokens that are bound to the agent's key (RFC 9449).

use std::{collections::BTreeSet, time::Duration};

use agentwrit_client::{Agent, AgentKey, Client, ClientError};
use agentwrit_verify::{ClaimSet, SenderConstraint, Subject, UnixTime, testing::TestIssuer};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::broker::{FakeBroker, Request, app_at, problem};

pub(crate) const ID: &str = "spiffe://agentwrit.local/agent/billing/invoice-1/0123456789abcdef";
const REGISTER: &str = "POST /v1/register";
const RENEW: &str = "POST /v1/token/renew";
const RELEASE: &str = "POST /v1/token/release";
const DELEGATE: &str = "POST /v1/delegate";
pub(crate) const NONCE_CHALLENGE: &str = r#"DPoP error="use_dpop_nonce", algs="EdDSA Ed25519""#;
const PROOF_CHALLENGE: &str = r#"DPoP error="invalid_dpop_proof", algs="EdDSA Ed25519""#;

/// Returns a token of the agent, bound to `key` if there is one.
pub(crate) fn token(issuer: &TestIssuer, key: Option<&AgentKey>) -> String {
    let cnf = key.map(|key| SenderConstraint { jkt: key.thumbprint() });
    issuer.sign(&ClaimSet { sub: Subject::parse(ID).unwrap(), cnf, ..issuer.claims(&["read:data:x"]) })
}

pub(crate) fn key(seed: u8) -> AgentKey {
    AgentKey::from_seed(&[seed; 32])
}

fn registered(token: &str, token_type: Option<&str>) -> Value {
    json!({"agent_id": ID, "access_token": token, "expires_in": 300, "token_type": token_type})
}

async fn broker() -> FakeBroker {
    let broker = FakeBroker::with_app().await;
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker
}

async fn register(broker: &FakeBroker, issuer: &TestIssuer, key: &AgentKey) -> Result<Agent, ClientError> {
    let app = app_at(&broker.url, issuer.clock().clone());
    let request = app.agent("billing", "invoice-1").scope(["read:data:x"]).unwrap();
    request.signing_key(key.clone()).sender_constrained().create().await
}

/// Returns an agent with a bound token.
pub(crate) fn bound_agent(issuer: &TestIssuer, url: &str, key: &AgentKey) -> Agent {
    let client = Client::builder(url).retries(0).clock(issuer.clock().clone()).build().unwrap();
    client.agent_with_key(token(issuer, Some(key)), key).unwrap()
}

/// Returns the claims of the proof of a request, after the checks of RFC 9449 §4.3 that need no state.
pub(crate) fn proof_claims(request: &Request, key: &AgentKey) -> Value {
    let authorization = request.authorization().unwrap();
    let token = authorization.strip_prefix("DPoP ").unwrap_or_else(|| panic!("{authorization}"));
    assert_eq!(request.headers.get_all("dpop").iter().count(), 1);
    let proof = request.headers["dpop"].to_str().unwrap();
    let parts: Vec<&str> = proof.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{proof}") };
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap();
    let object = |part: &str| serde_json::from_slice::<Value>(&decode(part)).unwrap();
    let jwk = object(header)["jwk"].clone();
    assert_eq!(object(header)["typ"], "dpop+jwt");
    assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["d"]), (&json!("OKP"), &json!("Ed25519"), &Value::Null));
    let public: [u8; 32] = decode(jwk["x"].as_str().unwrap()).try_into().unwrap();
    assert_eq!(agentwrit_verify::Thumbprint::of_ed25519(&public), key.thumbprint());
    let signed = format!("{header}.{claims}");
    let signature = Signature::from_slice(&decode(signature)).unwrap();
    VerifyingKey::from_bytes(&public).unwrap().verify_strict(signed.as_bytes(), &signature).unwrap();
    let claims = object(claims);
    assert_eq!(claims["ath"], BASE64URL_NOPAD.encode(&Sha256::digest(token)));
    claims
}

#[tokio::test]
async fn proves_key_in_requests_of_bound_agent_to_broker() {
    let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
    let (first, second) = (token(&issuer, Some(&key)), token(&issuer, Some(&key)));
    broker.on(REGISTER, 200, &registered(&first, Some("DPoP")));
    broker.on(RENEW, 200, &json!({"access_token": second, "expires_in": 300, "token_type": "DPoP"}));
    broker.on(DELEGATE, 200, &json!({"access_token": token(&issuer, Some(&self::key(8))), "expires_in": 60}));
    broker.on_raw(RELEASE, 204, &[], "");

    let agent = register(&broker, &issuer, &key).await.unwrap();
    assert!(agent.is_bound());
    assert_eq!(broker.requests(REGISTER)[0].json()["sender_constrained"], true);
    assert_eq!(agent.authorization(), format!("DPoP {first}"));
    agent.renew().await.unwrap();
    let delegated = agent.delegate(agent.id(), ["read:data:x"], Duration::from_secs(60)).await.unwrap();
    assert!(delegated.is_bound());
    agent.release().await.unwrap();

    let mut jtis = BTreeSet::new();
    for (line, token) in [(RENEW, &first), (DELEGATE, &second), (RELEASE, &second)] {
        let request = &broker.requests(line)[0];
        assert_eq!(request.authorization(), Some(&*format!("DPoP {token}")));
        let claims = proof_claims(request, &key);
        let path = line.strip_prefix("POST ").unwrap();
        assert_eq!((&claims["htm"], &claims["htu"]), (&json!("POST"), &json!(format!("{}{path}", broker.url))));
        assert_eq!(claims["iat"], agentwrit_verify::Clock::now(issuer.clock()).seconds());
        assert_eq!(claims["nonce"], Value::Null);
        assert!(jtis.insert(claims["jti"].as_str().unwrap().to_owned()), "{claims}");
    }
}

#[tokio::test]
async fn rejects_registered_token_that_is_not_bound_to_key_of_agent() {
    let (issuer, key) = (TestIssuer::new(), key(9));
    for (token, token_type, reason) in [
        (token(&issuer, None), None, "the token is not bound to the agent's key, as was asked for"),
        (token(&issuer, None), Some("DPoP"), "the token type is DPoP, but the token names no key"),
        (token(&issuer, Some(&self::key(8))), Some("DPoP"), "the token is bound to another key than the agent's"),
    ] {
        let broker = broker().await;
        broker.on(REGISTER, 200, &registered(&token, token_type));
        let error = register(&broker, &issuer, &key).await.unwrap_err();
        let ClientError::MalformedResponse { reason: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!((&**found, error.received_secret().unwrap().secret.expose()), (reason, &*token));
    }
}

#[tokio::test]
async fn rejects_renewal_that_loosens_token() {
    let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
    for token in [token(&issuer, None), token(&issuer, Some(&self::key(8)))] {
        broker.on(RENEW, 200, &json!({"access_token": token, "expires_in": 300}));
    }
    broker.on(DELEGATE, 200, &json!({"access_token": token(&issuer, None), "expires_in": 60}));
    let agent = bound_agent(&issuer, &broker.url, &key);
    let before = agent.token();
    for _ in 0..2 {
        let error = agent.renew().await.unwrap_err();
        assert!(error.to_string().ends_with("the token is not bound to the agent's key"), "{error}");
        assert_eq!(agent.token().expose(), before.expose());
    }
    let error = agent.delegate(agent.id(), ["read:data:x"], Duration::from_secs(60)).await.unwrap_err();
    assert!(error.to_string().ends_with("the token is not bound to the delegate's key"), "{error}");
}

#[tokio::test]
async fn signs_nonce_that_broker_demands_once() {
    let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
    let rejection = problem(401, "unauthorized", "…").to_string();
    let headers = |nonce| [("www-authenticate", NONCE_CHALLENGE), ("dpop-nonce", nonce)];
    broker.on_raw(RENEW, 401, &headers("first"), rejection.clone());
    let second = token(&issuer, Some(&key));
    let body = json!({"access_token": second, "expires_in": 300}).to_string();
    broker.on_raw(RENEW, 200, &[("dpop-nonce", "second")], body);
    broker.on_raw(RELEASE, 401, &headers("third"), rejection.clone());
    broker.on_raw(RELEASE, 401, &headers("fourth"), rejection);

    let agent = bound_agent(&issuer, &broker.url, &key);
    agent.renew().await.unwrap();
    let nonces = |line| -> Vec<Value> {
        broker.requests(line).iter().map(|request| proof_claims(request, &key)["nonce"].clone()).collect()
    };
    assert_eq!(nonces(RENEW), [Value::Null, json!("first")]);
    let jtis: BTreeSet<_> =
        broker.requests(RENEW).iter().map(|request| proof_claims(request, &key)["jti"].to_string()).collect();
    assert_eq!(jtis.len(), 2);
    assert_eq!(agent.release().await.unwrap_err().status(), Some(401));
    assert_eq!(nonces(RELEASE), [json!("second"), json!("third")], "one more attempt, not two");
}

#[tokio::test]
async fn signs_time_of_broker_when_own_clock_is_wrong() {
    let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
    issuer.clock().set(UnixTime::parse_rfc3339("2026-11-21T08:00:00Z").unwrap());
    let date = ("date", "Sat, 21 Nov 2026 07:51:00 GMT");
    broker.on_raw(RELEASE, 401, &[("www-authenticate", PROOF_CHALLENGE), date], "");
    broker.on_raw(RELEASE, 204, &[date], "");
    let agent = bound_agent(&issuer, &broker.url, &key);
    agent.release().await.unwrap();
    agent.release().await.unwrap();
    let times: Vec<Value> =
        broker.requests(RELEASE).iter().map(|request| proof_claims(request, &key)["iat"].clone()).collect();
    let now = issuer.clock();
    let now = agentwrit_verify::Clock::now(now).seconds();
    assert_eq!(times, [json!(now), json!(now - 540), json!(now - 540)]);
}

/// A server that has proofs signed for the future could use them then (RFC 9449 §11.2).
#[tokio::test]
async fn error_names_clocks_when_broker_is_more_than_ten_minutes_ahead_or_behind() {
    for (date, error) in [
        ("Sat, 21 Nov 2026 07:49:59 GMT", "the broker's clock is 601 s behind this machine's"),
        ("Sat, 21 Nov 2026 08:10:01 GMT", "the broker's clock is 601 s ahead of this machine's"),
        ("Sat, 21 Nov 2099 08:00:00 GMT", "the broker's clock is 2303683200 s ahead of this machine's"),
    ] {
        let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
        issuer.clock().set(UnixTime::parse_rfc3339("2026-11-21T08:00:00Z").unwrap());
        let date = ("date", date);
        broker.on_raw(RELEASE, 401, &[("www-authenticate", PROOF_CHALLENGE), date], "");
        broker.on_raw(RELEASE, 204, &[], "");
        let agent = bound_agent(&issuer, &broker.url, &key);
        let rejected = agent.release().await.unwrap_err();
        assert!(rejected.to_string().contains(error) && rejected.status() == Some(401), "{rejected}");
        agent.release().await.unwrap();
        let times: Vec<Value> =
            broker.requests(RELEASE).iter().map(|request| proof_claims(request, &key)["iat"].clone()).collect();
        let now = json!(agentwrit_verify::Clock::now(issuer.clock()).seconds());
        assert_eq!(times, [now.clone(), now], "neither sent again nor corrected");
    }
}

#[tokio::test]
async fn does_not_sign_again_when_time_and_nonce_were_right() {
    let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
    issuer.clock().set(UnixTime::parse_rfc3339("2026-11-21T08:00:00Z").unwrap());
    let date = ("date", "Sat, 21 Nov 2026 08:00:04 GMT");
    broker.on_raw(RELEASE, 401, &[("www-authenticate", PROOF_CHALLENGE), date, ("dpop-nonce", "next")], "");
    let agent = bound_agent(&issuer, &broker.url, &key);
    assert_eq!(agent.release().await.unwrap_err().status(), Some(401));
    assert_eq!(broker.count(RELEASE), 1);
}

#[tokio::test]
async fn bound_token_needs_its_key() {
    let (broker, issuer, key) = (broker().await, TestIssuer::new(), key(9));
    let bound = token(&issuer, Some(&key));
    let client = Client::new(&broker.url).unwrap();
    let field = |error: ClientError| {
        let ClientError::InvalidInput { field, .. } = error else { panic!("{error:?}") };
        field
    };
    assert_eq!(field(client.agent(bound.clone()).unwrap_err()), "token");
    assert_eq!(field(client.release(&bound.clone().into()).await.unwrap_err()), "token");
    assert_eq!(field(client.agent_with_key(bound.clone(), &self::key(8)).unwrap_err()), "key");
    assert_eq!(broker.request_lines(), Vec::<String>::new());
    let agent = client.agent_with_key(bound, &key).unwrap();
    let headers = agent.request_headers(&http::Method::PUT, "https://records.example:8443/P-1?a=b#c").unwrap();
    let request = Request { line: String::new(), headers, body: axum::body::Bytes::new() };
    let claims = proof_claims(&request, &key);
    assert_eq!((&claims["htm"], &claims["htu"]), (&json!("PUT"), &json!("https://records.example:8443/P-1")));
    assert!(agent.request_headers(&http::Method::GET, "/P-1").is_err());
}

#[tokio::test]
async fn delegate_signs_with_own_key_and_no_one_else_can() {
    let (broker, issuer) = (broker().await, TestIssuer::new());
    let (delegator_key, delegate_key) = (key(9), key(8));
    let (delegator, delegate) =
        (bound_agent(&issuer, &broker.url, &delegator_key), bound_agent(&issuer, &broker.url, &delegate_key));
    let for_delegate = token(&issuer, Some(&delegate_key));
    broker.on_raw(RELEASE, 204, &[], "");
    delegate.accept(for_delegate.clone()).unwrap().release().await.unwrap();
    proof_claims(&broker.requests(RELEASE)[0], &delegate_key);

    let error = delegator.accept(for_delegate.clone()).unwrap_err();
    assert_eq!(error.to_string(), "invalid delegated token: it is bound to a key that is not this agent's");
    let keyless = Client::new(&broker.url).unwrap().agent(token(&issuer, None)).unwrap();
    assert_eq!(keyless.accept(for_delegate).unwrap_err(), error);
}

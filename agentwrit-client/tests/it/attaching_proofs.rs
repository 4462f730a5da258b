//! Proofs on requests to resource servers (RFC 9449 §7).

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use agentwrit_client::{AuthorizeError, AuthorizeLayer, AuthorizeMiddleware, ClientError, Origins, ProofRetryPolicy};
use agentwrit_verify::testing::TestIssuer;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::{Value, json};
use tower::{Layer, ServiceBuilder, ServiceExt, retry::RetryLayer, service_fn};

use crate::{
    broker::{self, FakeBroker},
    proofs::{NONCE_CHALLENGE, bound_agent, key, proof_claims, token},
};

fn origins() -> Origins {
    Origins::new(["https://records.example"]).unwrap()
}

fn recorded(headers: HeaderMap) -> broker::Request {
    broker::Request { line: String::new(), headers, body: axum::body::Bytes::new() }
}

#[tokio::test]
async fn layer_signs_method_and_uri_of_each_request() {
    let (issuer, key) = (TestIssuer::new(), key(9));
    let layer = AuthorizeLayer::new(bound_agent(&issuer, "http://localhost:1", &key), origins());
    let mut jtis = Vec::new();
    for (method, uri, htu) in [
        (Method::GET, "https://records.example/P-1?a=b", "https://records.example/P-1"),
        (Method::POST, "https://RECORDS.example:443", "https://RECORDS.example:443/"),
        (Method::GET, "https://records.example/a%2Fb/../c", "https://records.example/a%2Fb/../c"),
    ] {
        let seen = Arc::<Mutex<HeaderMap>>::default();
        let network = service_fn(|request: Request<()>| {
            request.headers().clone_into(&mut seen.lock().unwrap());
            ready(Ok::<_, ClientError>(Response::new(())))
        });
        let request = Request::builder().method(method.clone()).uri(uri).body(()).unwrap();
        layer.layer(network).oneshot(request).await.unwrap();
        let claims = proof_claims(&recorded(seen.lock().unwrap().clone()), &key);
        assert_eq!((&claims["htm"], &claims["htu"]), (&json!(method.as_str()), &json!(htu)));
        jtis.push(claims["jti"].clone());
    }
    jtis.dedup();
    assert_eq!(jtis.len(), 3);
}

#[tokio::test]
async fn layer_adds_no_proof_for_other_origins() {
    let (issuer, key) = (TestIssuer::new(), key(9));
    let layer = AuthorizeLayer::new(bound_agent(&issuer, "http://localhost:1", &key), origins());
    let network = service_fn(|request: Request<()>| {
        assert!(request.headers().is_empty(), "{:?}", request.headers());
        ready(Ok::<_, ClientError>(Response::new(())))
    });
    layer.layer(network).oneshot(Request::get("https://elsewhere.example/").body(()).unwrap()).await.unwrap();
}

/// Sends a request through a server that demands `nonce`; returns the status and the nonces that were signed.
async fn send_to_nonce_server(layer: &AuthorizeLayer, nonce: &'static str) -> (StatusCode, Vec<Value>) {
    let key = key(9);
    let seen = Arc::<Mutex<Vec<Value>>>::default();
    let nonces = Arc::clone(&seen);
    let network = service_fn(move |request: Request<&'static str>| {
        assert_eq!(*request.body(), "a body");
        let signed = proof_claims(&recorded(request.headers().clone()), &key)["nonce"].clone();
        let accepted = signed == nonce;
        nonces.lock().unwrap().push(signed);
        let response = if accepted {
            Response::builder().status(200)
        } else {
            Response::builder().status(401).header("dpop-nonce", nonce).header("www-authenticate", NONCE_CHALLENGE)
        };
        ready(Ok::<_, ClientError>(response.body(()).unwrap()))
    });
    let client =
        ServiceBuilder::new().layer(RetryLayer::new(ProofRetryPolicy::new())).layer(layer.clone()).service(network);
    let response = client.oneshot(Request::put("https://records.example/P-1").body("a body").unwrap()).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    (response.status(), seen)
}

#[tokio::test]
async fn retry_policy_signs_nonce_that_server_demands() {
    let issuer = TestIssuer::new();
    let layer = AuthorizeLayer::new(bound_agent(&issuer, "http://localhost:1", &key(9)), origins());
    let ok = StatusCode::OK;
    assert_eq!(send_to_nonce_server(&layer, "first").await, (ok, vec![Value::Null, json!("first")]));
    assert_eq!(send_to_nonce_server(&layer, "first").await, (ok, vec![json!("first")]), "the nonce is kept");
    assert_eq!(send_to_nonce_server(&layer, "second").await, (ok, vec![json!("first"), json!("second")]));
}

fn client(agent: impl agentwrit_client::AuthorizationProvider, url: &str) -> ClientWithMiddleware {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    ClientBuilder::new(http).with(AuthorizeMiddleware::new(agent, Origins::new([url]).unwrap())).build()
}

#[tokio::test]
async fn middleware_signs_again_with_nonce_unless_body_is_stream() {
    let (records, issuer, key) = (FakeBroker::start().await, TestIssuer::new(), key(9));
    let headers = |nonce| [("www-authenticate", NONCE_CHALLENGE), ("dpop-nonce", nonce)];
    records.on_raw("PUT /P-1?a=b", 401, &headers("first"), "");
    records.on_raw("PUT /P-1?a=b", 200, &[], "");
    records.on_raw("POST /P-2", 401, &headers("second"), "");
    let client = client(bound_agent(&issuer, &records.url, &key), &records.url);
    let response = client.put(format!("{}/P-1?a=b", records.url)).body("a body").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let requests = records.requests("PUT /P-1?a=b");
    let claims: Vec<Value> = requests.iter().map(|request| proof_claims(request, &key)).collect();
    assert_eq!([&claims[0]["nonce"], &claims[1]["nonce"]], [&Value::Null, &json!("first")]);
    assert_eq!(claims[1]["htu"], format!("{}/P-1", records.url));
    assert_eq!((claims.len(), &*requests[1].body), (2, b"a body".as_slice()));

    let stream = reqwest::Body::wrap(reqwest::Body::from("a stream"));
    let response = client.post(format!("{}/P-2", records.url)).body(stream).send().await.unwrap();
    assert_eq!((response.status(), records.count("POST /P-2")), (StatusCode::UNAUTHORIZED, 1));
}

#[tokio::test]
async fn delegator_can_not_send_token_that_is_bound_to_delegate() {
    let (broker, issuer) = (FakeBroker::start().await, TestIssuer::new());
    let (delegator, delegate) = (key(9), key(8));
    let bound = token(&issuer, Some(&delegate));
    broker.on("POST /v1/delegate", 200, &json!({"access_token": bound, "expires_in": 60}));
    let agent = bound_agent(&issuer, &broker.url, &delegator);
    let delegated = agent.delegate(agent.id(), ["read:data:x"], Duration::from_secs(60)).await.unwrap();
    let layer = AuthorizeLayer::new(delegated, origins());
    let network = service_fn(|_: Request<()>| ready(Ok::<_, ClientError>(Response::new(()))));
    let request = Request::get("https://records.example/").body(()).unwrap();
    let error = layer.layer(network).oneshot(request).await.unwrap_err();
    let reason = "it is bound to a key that this process does not have";
    assert_eq!(error, AuthorizeError::NoToken(ClientError::NoToken { reason }));
}

//! Tokens on requests to resource servers, and on no others.

use std::sync::{Arc, Mutex};

use agentwrit_client::{
    AtLeast, AuthorizationProvider, AuthorizeLayer, AuthorizeMiddleware, ClientError, Origins, RequestCredentials,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower::{Layer, ServiceExt, service_fn};

use crate::broker::FakeBroker;

/// Provider with or without a token.
struct Source(Result<&'static str, ClientError>);

impl AuthorizationProvider for Source {
    fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        self.0.clone().map(HeaderValue::from_static).map(RequestCredentials::new)
    }
}

const NO_TOKEN: ClientError = ClientError::NoToken { reason: "it was released" };

/// The headers that reach the network.
async fn sent(layer: &AuthorizeLayer, request: Request<()>) -> Result<HeaderMap, String> {
    let seen = Arc::<Mutex<Option<HeaderMap>>>::default();
    let network = service_fn(|request: Request<()>| {
        *seen.lock().unwrap() = Some(request.headers().clone());
        async { Ok::<_, std::io::Error>(Response::new(())) }
    });
    let response = layer.layer(network).oneshot(request).await;
    let headers = seen.lock().unwrap().take();
    response.map(|_| headers.unwrap()).map_err(|error| error.to_string())
}

fn layer(source: Result<&'static str, ClientError>) -> AuthorizeLayer {
    AuthorizeLayer::new(Arc::new(Source(source)), Origins::new(["https://records.example"]).unwrap())
}

#[tokio::test]
async fn layer_adds_token_for_given_origins_only() {
    let layer = layer(Ok("Bearer agent-token"));
    for uri in ["https://records.example/P-1", "https://records.example:443/", "https://RECORDS.example/P-1?a=b"] {
        let headers = sent(&layer, Request::get(uri).body(()).unwrap()).await.unwrap();
        assert_eq!(headers["authorization"], "Bearer agent-token", "{uri}");
        assert!(headers["authorization"].is_sensitive());
    }
    for uri in [
        "http://records.example/P-1",
        "https://records.example:8443/",
        "https://elsewhere.example/https://records.example",
        "https://records.example@elsewhere.example/",
        "/P-1",
        "records.example:443",
        "*",
    ] {
        let headers = sent(&layer, Request::get(uri).body(()).unwrap()).await.unwrap();
        assert!(headers.is_empty(), "{uri}: {headers:?}");
    }
}

#[tokio::test]
async fn requires_cursor_of_given_origins_only() {
    let at_least = AtLeast::new();
    let layer = layer(Ok("Bearer agent-token")).at_least(&at_least);
    let to = |uri: &str| Request::get(uri).body(()).unwrap();
    assert!(!sent(&layer, to("https://records.example/")).await.unwrap().contains_key("agentwrit-at-least"));
    at_least.raise(Some(&agentwrit_verify::FeedCursor::parse("9f2c.1842").unwrap()));
    let headers = sent(&layer, to("https://records.example/")).await.unwrap();
    assert_eq!(headers["agentwrit-at-least"], "9f2c.1842");
    assert!(sent(&layer, to("https://elsewhere.example/")).await.unwrap().is_empty());
}

#[tokio::test]
async fn keeps_existing_authorization_header() {
    let request = || Request::get("https://records.example/").header("Authorization", "Basic eDp5").body(()).unwrap();
    for source in [Ok("Bearer agent-token"), Err(NO_TOKEN)] {
        assert_eq!(sent(&layer(source), request()).await.unwrap()["authorization"], "Basic eDp5");
    }
}

#[tokio::test]
async fn sends_nothing_to_given_origins_without_token() {
    let layer = layer(Err(NO_TOKEN));
    let error = sent(&layer, Request::get("https://records.example/").body(()).unwrap()).await.unwrap_err();
    assert_eq!(error, "request not sent: agent has no valid token: it was released");
    assert!(sent(&layer, Request::get("https://elsewhere.example/").body(()).unwrap()).await.is_ok());
}

fn client(source: Result<&'static str, ClientError>, origins: &[&str]) -> ClientWithMiddleware {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let middleware = AuthorizeMiddleware::new(Source(source), Origins::new(origins).unwrap());
    ClientBuilder::new(http).with(middleware).build()
}

fn authorizations(server: &FakeBroker, line: &str) -> Vec<Option<String>> {
    server.requests(line).iter().map(|request| request.authorization().map(str::to_owned)).collect()
}

#[tokio::test]
async fn middleware_adds_token_for_given_origins_only() {
    let (records, elsewhere) = (FakeBroker::start().await, FakeBroker::start().await);
    let client = client(Ok("Bearer agent-token"), &[&records.url]);
    client.get(format!("{}/P-1", records.url)).send().await.unwrap();
    client.get(format!("{}/P-1", records.url)).header("Authorization", "Basic eDp5").send().await.unwrap();
    client.get(format!("{}/P-1", elsewhere.url)).send().await.unwrap();
    let own = [Some("Bearer agent-token".to_owned()), Some("Basic eDp5".to_owned())];
    assert_eq!(authorizations(&records, "GET /P-1"), own);
    assert_eq!(authorizations(&elsewhere, "GET /P-1"), [None]);
}

#[tokio::test]
async fn redirect_to_other_origin_has_no_token() {
    let (records, elsewhere) = (FakeBroker::start().await, FakeBroker::start().await);
    records.on_raw("GET /here", 307, &[("location", "/there")], "");
    records.on_raw("GET /away", 307, &[("location", &format!("{}/P-1", elsewhere.url))], "");
    let client = client(Ok("Bearer agent-token"), &[&records.url, &elsewhere.url]);
    client.get(format!("{}/here", records.url)).send().await.unwrap();
    client.get(format!("{}/away", records.url)).send().await.unwrap();
    assert_eq!(authorizations(&records, "GET /there"), [Some("Bearer agent-token".to_owned())]);
    assert_eq!(authorizations(&elsewhere, "GET /P-1"), [None], "also if it is named itself");
}

#[tokio::test]
async fn error_of_middleware_has_reason_for_missing_token() {
    let records = FakeBroker::start().await;
    let error = client(Err(NO_TOKEN), &[&records.url]).get(&records.url).send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error:?}") };
    assert_eq!(error.downcast_ref::<ClientError>(), Some(&NO_TOKEN));
    assert_eq!(records.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn does_not_retry_after_401() {
    let records = FakeBroker::start().await;
    records.on_raw("GET /P-1", 401, &[("www-authenticate", r#"Bearer error="invalid_token""#)], "");
    let response = client(Ok("Bearer agent-token"), &[&records.url]).get(format!("{}/P-1", records.url)).send().await;
    assert_eq!(response.unwrap().status(), 401);
    assert_eq!(records.count("GET /P-1"), 1);
}

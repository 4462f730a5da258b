//! Tokens that are bound to a key (RFC 9449) in gRPC: tonic's client and server over HTTP/2, with the generated health service.

use agentwrit_client::{Agent, AuthorizeLayer, Client, NewLaunchToken, Origins, Registration};
use agentwrit_e2e::{ADMIN_SECRET, Broker, DpopAgent};
use agentwrit_tower::{Authenticate, RequireScope};
use agentwrit_verify::remote::Follower;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status,
    body::Body,
    service::LayerExt,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_check_response, health_client::HealthClient},
};
use tower::{Layer, Service};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const SCOPE: &str = "call:health:*";
const SERVING: i32 = health_check_response::ServingStatus::Serving as i32;

/// A broker, and a gRPC server that takes bound tokens and bearer tokens.
struct Site {
    broker: Broker,
    admin: String,
    url: String,
    channel: Channel,
    _follower: Follower,
}

impl Site {
    async fn start() -> Self {
        let broker = Broker::start().await;
        let admin = broker.admin_token().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("records", ServingStatus::Serving).await;
        let by_method = RequireScope::new("call:health:{method}").path("/grpc.health.v1.Health/{method}");
        let authenticate = Authenticate::new(follower.verifier().build()).external_url(&url);
        let server = Server::builder().layer(authenticate).add_service(by_method.named_layer(health));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect().await.unwrap();
        Self { broker, admin, url, channel, _follower: follower }
    }

    async fn agent(&self, scope: &str, bound: bool) -> DpopAgent {
        let launch = json!({"allowed_scope": [scope], "sender_constrained": bound});
        DpopAgent::register(&self.broker, &self.admin, "task-1", launch).await
    }

    /// Calls `Check` with these headers.
    async fn check(&self, headers: &[(&'static str, &str)]) -> Result<i32, Status> {
        let called = HealthClient::new(self.channel.clone()).check(request(headers)).await;
        called.map(|response| response.into_inner().status)
    }

    /// Calls `Check` with a token in the scheme `DPoP` and a proof.
    async fn check_with_proof(&self, token: &str, proof: &str) -> Result<i32, Status> {
        self.check(&[("authorization", &format!("DPoP {token}")), ("dpop", proof)]).await
    }

    /// Nonce that the server demands for some seconds after its start.
    async fn nonce(&self, agent: &DpopAgent) -> Option<String> {
        let proof = agent.proof("POST", &format!("{}{CHECK}", self.url), None);
        let status = self.check_with_proof(&agent.token, &proof).await.err()?;
        assert_rejected(&status, "use_dpop_nonce");
        Some(status.metadata().get("dpop-nonce").expect("a nonce").to_str().unwrap().to_owned())
    }
}

fn request(headers: &[(&'static str, &str)]) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest { service: "records".to_owned() });
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

fn challenges(status: &Status) -> String {
    let challenges = status.metadata().get_all("www-authenticate").iter();
    challenges.map(|challenge| challenge.to_str().unwrap()).collect::<Vec<_>>().join(", ")
}

/// Asserts that the call was rejected for its proof, or for the lack of one.
#[track_caller]
fn assert_rejected(status: &Status, error: &str) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(challenges(status).contains(&format!(r#"DPoP error="{error}", algs="EdDSA Ed25519""#)), "{status:?}");
}

#[tokio::test]
async fn accepts_proof_for_method_of_service_once() {
    let site = Site::start().await;
    let agent = site.agent(SCOPE, true).await;
    let nonce = site.nonce(&agent).await;
    let url = format!("{}{CHECK}", site.url);
    let proof = agent.proof("POST", &url, nonce.as_deref());
    assert_eq!(site.check_with_proof(&agent.token, &proof).await.unwrap(), SERVING);
    let replayed = site.check_with_proof(&agent.token, &proof).await.unwrap_err();
    assert_rejected(&replayed, "invalid_dpop_proof");
    assert_eq!(replayed.message(), "the proof of the token's key is not accepted");
    let fresh = agent.proof("POST", &url, nonce.as_deref());
    assert_eq!(site.check_with_proof(&agent.token, &fresh).await.unwrap(), SERVING);
}

#[tokio::test]
async fn rejects_proofs_of_other_calls_keys_and_tokens() {
    let site = Site::start().await;
    let (agent, thief) = (site.agent(SCOPE, true).await, site.agent(SCOPE, true).await);
    let nonce = site.nonce(&agent).await;
    let proof = |method: &str, url: &str| agent.proof(method, url, nonce.as_deref());
    let url = format!("{}{CHECK}", site.url);
    for (name, proof) in [
        ("another method of the service", proof("POST", &format!("{}{WATCH}", site.url))),
        ("path in lower case", proof("POST", &url.to_lowercase())),
        ("another method of HTTP", proof("GET", &url)),
        ("another scheme", proof("POST", &url.replace("http:", "https:"))),
        ("another authority", proof("POST", &format!("http://records.example{CHECK}"))),
        ("another key", thief.proof_of(&agent.token, "POST", &url, nonce.as_deref())),
        ("another token", agent.proof_of(&thief.token, "POST", &url, nonce.as_deref())),
        ("no proof", "nonsense".to_owned()),
    ] {
        let rejected = site.check_with_proof(&agent.token, &proof).await;
        assert_rejected(&rejected.expect_err(name), "invalid_dpop_proof");
    }
    let dpop = format!("DPoP {}", agent.token);
    let (first, second) = (proof("POST", &url), proof("POST", &url));
    let twice = site.check(&[("authorization", &dpop), ("dpop", &first), ("dpop", &second)]).await;
    assert_rejected(&twice.unwrap_err(), "invalid_dpop_proof");
    assert_eq!(site.check_with_proof(&agent.token, &first).await.unwrap(), SERVING);
}

#[tokio::test]
async fn challenges_are_metadata_of_status() {
    let site = Site::start().await;
    let (bound, unbound) = (site.agent(SCOPE, true).await, site.agent(SCOPE, false).await);
    let nothing = site.check(&[]).await.unwrap_err();
    assert_eq!(nothing.code(), Code::Unauthenticated);
    let schemes = challenges(&nothing);
    assert!(schemes.contains(r#"Bearer realm="agentwrit""#) && schemes.contains("DPoP "), "{schemes}");

    let bearer = site.check(&[("authorization", &format!("Bearer {}", bound.token))]).await.unwrap_err();
    assert_rejected(&bearer, "invalid_token");
    let proof = unbound.proof("POST", &format!("{}{CHECK}", site.url), None);
    assert_rejected(&site.check_with_proof(&unbound.token, &proof).await.unwrap_err(), "invalid_token");
    let bearer = site.check(&[("authorization", &format!("Bearer {}", unbound.token))]).await;
    assert_eq!(bearer.unwrap(), SERVING, "a bearer token in its own scheme");
}

#[tokio::test]
async fn proof_does_not_replace_scope() {
    let site = Site::start().await;
    let agent = site.agent("call:health:Check", true).await;
    let nonce = site.nonce(&agent).await;
    let watch = |site: &Site, agent: &DpopAgent| {
        let proof = agent.proof("POST", &format!("{}{WATCH}", site.url), nonce.as_deref());
        let headers = [("authorization", &*format!("DPoP {}", agent.token)), ("dpop", &*proof)];
        let (mut client, request) = (HealthClient::new(site.channel.clone()), request(&headers));
        async move { client.watch(request).await }
    };
    let denied = watch(&site, &agent).await.unwrap_err();
    assert_eq!((denied.code(), denied.metadata().get("dpop-nonce")), (Code::PermissionDenied, None), "{denied:?}");
    assert!(challenges(&denied).contains(r#"error="insufficient_scope""#), "{denied:?}");

    // A streamed response needs one proof, at its start.
    let watching = site.agent("call:health:Watch", true).await;
    let mut statuses = watch(&site, &watching).await.unwrap().into_inner();
    assert_eq!(statuses.message().await.unwrap().unwrap().status, SERVING);
}

/// Registers an agent with a bound token by the client.
async fn register(site: &Site) -> Agent {
    let client = Client::new(&site.broker.url).unwrap();
    let policy = NewLaunchToken::new("a test", [SCOPE]).unwrap().sender_constrained();
    let launch_token = client.admin(ADMIN_SECRET).unwrap().create_launch_token(&policy).await.unwrap();
    client.register(launch_token.token(), &Registration::new("orch", "task-1", [SCOPE]).unwrap()).await.unwrap()
}

/// The generated client over the channel with the layer around it.
async fn check_by_layer<S>(client: &mut HealthClient<S>) -> Result<i32, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send,
{
    client.check(request(&[])).await.map(|response| response.into_inner().status)
}

#[tokio::test]
async fn layer_of_client_signs_calls_of_generated_client_with_origin() {
    let site = Site::start().await;
    let agent = register(&site).await;
    let authorized = AuthorizeLayer::new(agent, Origins::new([&site.url]).unwrap()).layer(site.channel.clone());
    let mut client = HealthClient::with_origin(authorized.clone(), site.url.parse().unwrap());
    // The first call learns the nonce that a server demands in the first seconds after its start.
    if let Err(status) = check_by_layer(&mut client).await {
        assert_rejected(&status, "use_dpop_nonce");
    }
    for _ in 0..2 {
        assert_eq!(check_by_layer(&mut client).await.unwrap(), SERVING);
    }
    // Without its origin the client's requests have no scheme and no host, and so no token.
    let status = check_by_layer(&mut HealthClient::new(authorized)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(challenges(&status).contains(r#"Bearer realm="agentwrit""#), "{status:?}");
}

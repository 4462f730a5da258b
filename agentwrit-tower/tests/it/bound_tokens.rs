//! Tokens that are bound to a key: proofs, challenges of both schemes, external URLs, trusted proxies and TLS client keys.

use std::time::Duration;

use agentwrit_tower::testing::{TestIssuer, TestKey};
use agentwrit_tower::verify::VerifyError;
use agentwrit_tower::verify::proof::{NonceKey, ProofError, ProofVerifier};
use agentwrit_tower::{
    Authenticate, ClientKey, PeerAddress, ProofSettingsError, Rejection, RequireScope, TokenSource, Verified,
};
use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, TE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tower::ServiceBuilder;
use tower_layer::Layer;
use tracing::Level;

use crate::support::{CollectedResponse, INVALID_TOKEN, Inner, Log, bearer, get, get_without_token, send};

const URL: &str = "https://api.example.com";
const DATA: &str = "https://api.example.com/data";
const DPOP: &str = "dpop";
const BEARER_FOR_DPOP: &str = r#"DPoP error="invalid_token", algs="EdDSA Ed25519""#;
const BAD_PROOF: &str = r#"DPoP error="invalid_dpop_proof", algs="EdDSA Ed25519""#;

type Call = Request<Full<Bytes>>;

struct Scene {
    issuer: TestIssuer,
    key: TestKey,
    token: String,
}

impl Scene {
    fn new() -> Self {
        let (issuer, key) = (TestIssuer::new(), TestKey::new());
        let token = issuer.bound_token(&["read:data:7"], key.thumbprint());
        Self { issuer, key, token }
    }

    fn layer(&self) -> RequireScope {
        RequireScope::new("read:data:7").verifier(self.issuer.verifier())
    }

    /// Passes the time after its start in which a layer demands a nonce.
    fn pass_start(&self) {
        self.issuer.clock().advance(Duration::from_secs(6));
    }

    /// `GET <URL>` with the token and a fresh proof.
    fn get<B: Default>(&self, url: &str) -> Request<B> {
        self.key.request(&self.issuer, Method::GET, url, &self.token)
    }

    /// The same request without its proof.
    fn get_without_proof<B: Default>(&self, url: &str) -> Request<B> {
        let mut request = self.get(url);
        request.headers_mut().remove(DPOP);
        request
    }
}

fn challenges(response: &CollectedResponse) -> Vec<&str> {
    response.headers.get_all(WWW_AUTHENTICATE).iter().map(|value| value.to_str().unwrap()).collect()
}

/// Reason of the rejection.
fn cause(response: &CollectedResponse) -> &'static str {
    response.extensions.get::<Rejection>().unwrap().reason()
}

#[tokio::test]
async fn accepts_bound_token_with_proof_once() {
    let (scene, inner) = (Scene::new(), Inner::default());
    let service = scene.layer().external_url(URL).layer(inner.service());
    scene.pass_start();
    let request: Call = scene.get(DATA);
    assert_eq!(send(&service, request.clone()).await.status, StatusCode::OK);
    let replayed = send(&service, request).await;
    assert_eq!((replayed.status, cause(&replayed)), (StatusCode::UNAUTHORIZED, "proof_replayed"));
    assert_eq!(challenges(&replayed), [BAD_PROOF]);
    assert_eq!(send(&service, scene.get::<Full<Bytes>>(DATA)).await.status, StatusCode::OK, "with a fresh proof");
    assert_eq!(inner.calls(), 2);
}

#[tokio::test]
async fn rejects_proof_that_does_not_match_request() {
    let scene = Scene::new();
    let service = scene.layer().external_url(URL).layer(Inner::default().service());
    scene.pass_start();
    let thief = TestKey::with_seed([9; 32]);
    let of_thief: Call = thief.request(&scene.issuer, Method::GET, DATA, &scene.token);
    let other_method = scene.key.proof(&scene.issuer, &Method::POST, DATA, &scene.token);
    let other_url = scene.key.proof(&scene.issuer, &Method::GET, "https://api.example.com/other", &scene.token);
    let other_host = scene.key.proof(&scene.issuer, &Method::GET, "https://other.example/data", &scene.token);
    let other_token = scene.key.proof(&scene.issuer, &Method::GET, DATA, "other");
    let with = |proof: String| {
        let mut request: Call = scene.get_without_proof(DATA);
        request.headers_mut().insert(DPOP, proof.parse().unwrap());
        request
    };
    let mut several: Call = scene.get(DATA);
    several
        .headers_mut()
        .append(DPOP, scene.key.proof(&scene.issuer, &Method::GET, DATA, &scene.token).parse().unwrap());
    for (request, expected) in [
        (of_thief, "proof_wrong_key"),
        (with(other_method), "proof_wrong_method"),
        (with(other_url), "proof_wrong_url"),
        (with(other_host), "proof_wrong_url"),
        (with(other_token), "proof_wrong_token"),
        (with("x".repeat(2049)), "proof_too_long"),
        (with("a.b.c".into()), "proof_malformed"),
        (several, "proof_several"),
        (scene.get_without_proof(DATA), "proof_missing"),
    ] {
        let response = send(&service, request).await;
        assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, expected));
        assert_eq!(challenges(&response), [BAD_PROOF], "{expected}");
    }
}

/// RFC 9449 §7.2.
#[tokio::test]
async fn rejects_bound_token_as_bearer_and_unbound_token_as_dpop() {
    let scene = Scene::new();
    let service = scene.layer().external_url(URL).layer(Inner::default().service());
    scene.pass_start();
    let response = send(&service, get::<Full<Bytes>>("/data", &bearer(&scene.token))).await;
    assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "proof_required"));
    assert_eq!(challenges(&response), [BEARER_FOR_DPOP]);
    let hint = response.json()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("send `Authorization: DPoP <token>`"), "{hint}");

    let unbound = scene.issuer.token(&["read:data:7"]);
    let response = send(&service, scene.key.request::<Full<Bytes>>(&scene.issuer, Method::GET, DATA, &unbound)).await;
    assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "not_sender_constrained"));
    assert_eq!(challenges(&response), [BEARER_FOR_DPOP]);
    assert_eq!(send(&service, get::<Full<Bytes>>("/data", &bearer(&unbound))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn challenges_list_both_schemes_and_only_dpop_for_bound_token() {
    let scene = Scene::new();
    let service = RequireScope::new("write:data:7")
        .verifier(scene.issuer.verifier())
        .external_url(URL)
        .challenge_parameter("resource_metadata", "https://api.example.com/metadata")
        .layer(Inner::default().service());
    scene.pass_start();
    let response = send(&service, get_without_token::<Full<Bytes>>("/data")).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        challenges(&response),
        [
            r#"Bearer realm="agentwrit", resource_metadata="https://api.example.com/metadata""#,
            r#"DPoP realm="agentwrit", algs="EdDSA Ed25519", resource_metadata="https://api.example.com/metadata""#,
        ]
    );
    let response = send(&service, scene.get::<Full<Bytes>>(DATA)).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    let of_bound = challenges(&response);
    assert!(of_bound[0].starts_with(r#"DPoP realm="agentwrit", error="insufficient_scope", scope="write:data:7""#));
    assert_eq!(of_bound.len(), 1);
}

#[tokio::test]
async fn accepts_every_configured_external_url_and_no_other() {
    let scene = Scene::new();
    let service = scene
        .layer()
        .external_url("https://api.example.com:443/svc2/")
        .external_url("http://127.0.0.1:9000")
        .layer(Inner::default().service());
    scene.pass_start();
    for (htu, status) in [
        ("https://API.example.com/svc2/data", StatusCode::OK),
        ("http://127.0.0.1:9000/data?page=2", StatusCode::OK),
        ("https://api.example.com/data", StatusCode::UNAUTHORIZED),
        ("http://127.0.0.1:9000/svc2/data", StatusCode::UNAUTHORIZED),
    ] {
        let mut request: Call = scene.get(htu);
        *request.uri_mut() = "/data".parse().unwrap();
        // `Host` decides nothing.
        request.headers_mut().insert("host", HeaderValue::from_static("api.example.com"));
        assert_eq!(send(&service, request).await.status, status, "{htu}");
    }
}

#[tokio::test]
async fn proof_names_path_that_client_sent_to_nested_router() {
    let scene = Scene::new();
    let inner = Router::new().route("/data", routing::get(|| async { "data" })).layer(scene.layer().external_url(URL));
    let app = Router::new().nest("/v1", inner);
    scene.pass_start();
    let accepted = send(&app, scene.get::<Body>("https://api.example.com/v1/data")).await;
    assert_eq!(accepted.status, StatusCode::OK);
    let mut request: Request<Body> = scene.get("https://api.example.com/data");
    *request.uri_mut() = "/v1/data".parse().unwrap();
    let rejected = send(&app, request).await;
    assert_eq!((rejected.status, cause(&rejected)), (StatusCode::UNAUTHORIZED, "proof_wrong_url"));
}

#[tokio::test]
async fn require_proof_rejects_unbound_tokens_also_those_of_outer_layer() {
    let scene = Scene::new();
    let unbound = bearer(&scene.issuer.token(&["read:data:7"]));
    let authenticates = Authenticate::new(scene.issuer.verifier()).external_url(URL);
    let services = [
        scene.layer().external_url(URL).require_proof().layer(Inner::default().service()),
        RequireScope::new("read:data:7")
            .require_proof()
            .external_url(URL)
            .verifier(scene.issuer.verifier())
            .layer(Inner::default().service()),
    ];
    let proofs = || ProofVerifier::builder().external_url(URL).unwrap();
    let beneath = [
        RequireScope::new("read:data:7").require_proof(),
        RequireScope::new("read:data:7").proofs(proofs().require_proof().build()),
    ]
    .map(|layer| ServiceBuilder::new().layer(authenticates.clone()).layer(layer).service(Inner::default().service()));
    scene.pass_start();
    for service in &services {
        let response = send(service, get::<Full<Bytes>>("/data", &unbound)).await;
        assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "not_sender_constrained"));
        assert_eq!(send(service, scene.get::<Full<Bytes>>(DATA)).await.status, StatusCode::OK);
    }
    for service in &beneath {
        let response = send(service, get::<Full<Bytes>>("/data", &unbound)).await;
        assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "not_sender_constrained"));
        assert_eq!(send(service, scene.get::<Full<Bytes>>(DATA)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn optional_layer_rejects_bound_token_without_proof() {
    let scene = Scene::new();
    let layer = Authenticate::optional(scene.issuer.verifier()).external_url(URL);
    let service = layer.layer(Inner::default().service());
    scene.pass_start();
    assert_eq!(send(&service, get_without_token::<Full<Bytes>>("/data")).await.status, StatusCode::OK);
    assert_eq!(send(&service, scene.get::<Full<Bytes>>(DATA)).await.status, StatusCode::OK);
    for request in [scene.get_without_proof(DATA), get::<Full<Bytes>>("/data", &bearer(&scene.token))] {
        assert_eq!(send(&service, request).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn layers_with_clones_of_one_verifier_accept_proof_once() {
    let scene = Scene::new();
    let proofs = ProofVerifier::builder().external_url(URL).unwrap().clock(scene.issuer.clock().clone()).build();
    let [one, other] = [0, 1].map(|_| scene.layer().proofs(proofs.clone()).layer(Inner::default().service()));
    scene.pass_start();
    let request: Call = scene.get(DATA);
    assert_eq!(send(&one, request.clone()).await.status, StatusCode::OK);
    assert_eq!(cause(&send(&other, request).await), "proof_replayed");
}

#[tokio::test]
async fn demands_nonce_in_dpop_nonce_header() {
    let scene = Scene::new();
    let proofs = ProofVerifier::builder().external_url(URL).unwrap().clock(scene.issuer.clock().clone());
    let proofs = proofs.nonces(NonceKey::from_bytes(&[5; 32])).build();
    let service = scene.layer().proofs(proofs).layer(Inner::default().service());
    scene.pass_start();
    let response = send(&service, scene.get::<Full<Bytes>>(DATA)).await;
    assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "proof_nonce_required"));
    assert_eq!(challenges(&response), [r#"DPoP error="use_dpop_nonce", algs="EdDSA Ed25519""#]);
    let nonce = response.header("dpop-nonce").unwrap();
    let mut request: Call = scene.get_without_proof(DATA);
    let proof = scene.key.proof_with_nonce(&scene.issuer, &Method::GET, DATA, &scene.token, nonce);
    request.headers_mut().insert(DPOP, proof.parse().unwrap());
    assert_eq!(send(&service, request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn names_remedy_once_where_bound_tokens_cannot_be_accepted() {
    let scene = Scene::new();
    let (unbound, bound) = (scene.issuer.token(&["read:data:7"]), scene.token.clone());
    let without_proofs = scene.layer().layer(Inner::default().service());
    let without_url = scene.layer().require_proof().layer(Inner::default().service());
    let without_peer = scene
        .layer()
        .external_hosts(["api.example.com"])
        .forwarded_from(["10.0.0.0/8"])
        .layer(Inner::default().service());
    scene.pass_start();
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let errors = || -> Vec<String> {
        log.lines().into_iter().filter(|(level, _)| *level == Level::ERROR).map(|(_, line)| line).collect()
    };
    for request in [get::<Full<Bytes>>("/data", &bearer(&bound)), scene.get(DATA)] {
        let response = send(&without_proofs, request).await;
        assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "proof_required"));
        assert_eq!(challenges(&response), [INVALID_TOKEN], "the scheme `DPoP` is not offered");
        assert_eq!(
            response.json()["hint"],
            "the token is bound to a key, and this service accepts unbound tokens only"
        );
    }
    let [line] = &errors()[..] else { panic!("{:?}", errors()) };
    assert!(line.contains("add `.external_url(…)`"), "{line}");
    let response =
        send(&without_proofs, scene.key.request::<Full<Bytes>>(&scene.issuer, Method::GET, DATA, &unbound)).await;
    assert_eq!(cause(&response), "not_sender_constrained");

    for (service, remedy) in [(&without_url, "add `.external_url(…)`"), (&without_peer, "`ConnectInfo<SocketAddr>`")]
    {
        let before = errors().len();
        for _ in 0..2 {
            let response = send(service, scene.get::<Full<Bytes>>(DATA)).await;
            assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "proof_no_external_url"));
            assert!(response.json()["hint"].as_str().unwrap().contains("its operator has to configure it"));
        }
        let lines = errors().split_off(before);
        assert!(matches!(&lines[..], [line] if line.contains(remedy)), "{lines:?}");
    }
}

#[tokio::test]
async fn takes_external_url_from_trusted_proxy_only() {
    let scene = Scene::new();
    let service = scene.layer().external_url(URL).forwarded_from(["10.0.0.0/8"]).layer(Inner::default().service());
    scene.pass_start();
    let request = |htu: &str, peer: [u8; 4]| {
        let mut request: Call = scene.get(htu);
        *request.uri_mut() = "/data".parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        headers.insert("x-forwarded-host", HeaderValue::from_static("api.example.com"));
        headers.insert("x-forwarded-prefix", HeaderValue::from_static("/svc2"));
        request.extensions_mut().insert(PeerAddress(peer.into()));
        request
    };
    for (htu, peer, status) in [
        ("https://api.example.com/svc2/data", [10, 0, 0, 1], StatusCode::OK),
        ("https://api.example.com/data", [10, 0, 0, 1], StatusCode::UNAUTHORIZED),
        ("https://api.example.com/svc2/data", [192, 0, 2, 1], StatusCode::UNAUTHORIZED),
        ("https://api.example.com/data", [192, 0, 2, 1], StatusCode::OK),
    ] {
        assert_eq!(send(&service, request(htu, peer)).await.status, status, "{htu} from {peer:?}");
    }
}

#[cfg(feature = "connect-info")]
#[tokio::test]
async fn takes_address_of_peer_from_connect_info() {
    use axum::extract::ConnectInfo;
    use std::net::SocketAddr;

    let scene = Scene::new();
    let service = scene
        .layer()
        .external_hosts(["api.example.com"])
        .forwarded_from(["10.0.0.1"])
        .layer(Inner::default().service());
    scene.pass_start();
    for (peer, status) in [("10.0.0.1:1", StatusCode::OK), ("10.0.0.2:1", StatusCode::UNAUTHORIZED)] {
        let mut request: Call = scene.get(DATA);
        request.headers_mut().insert("forwarded", HeaderValue::from_static("proto=https;host=api.example.com"));
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
        assert_eq!(send(&service, request).await.status, status, "{peer}");
    }
}

#[tokio::test]
async fn accepts_bound_token_over_connection_that_proved_its_key() {
    let scene = Scene::new();
    let proofs = ProofVerifier::builder().without_external_url().clock(scene.issuer.clock().clone()).build();
    let service = scene.layer().proofs(proofs).layer(Inner::default().service());
    scene.pass_start();
    let request = |key: &TestKey| {
        let mut request: Call = scene.get_without_proof(DATA);
        request.extensions_mut().insert(ClientKey::new(key.thumbprint()));
        request
    };
    assert_eq!(send(&service, request(&scene.key)).await.status, StatusCode::OK);
    let response = send(&service, request(&TestKey::with_seed([9; 32]))).await;
    assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "proof_missing"));
}

#[tokio::test]
async fn bound_token_in_cookie_needs_proof_too() {
    let scene = Scene::new();
    let layer = scene.layer().token_source(TokenSource::cookie("token")).external_url(URL);
    let service = layer.layer(Inner::default().service());
    scene.pass_start();
    let in_cookie = |mut request: Call| {
        request.headers_mut().remove(AUTHORIZATION);
        request.headers_mut().insert(COOKIE, format!("token={}", scene.token).parse().unwrap());
        request
    };
    assert_eq!(send(&service, in_cookie(scene.get(DATA))).await.status, StatusCode::OK);
    let response = send(&service, in_cookie(scene.get_without_proof(DATA))).await;
    assert_eq!((response.status, cause(&response)), (StatusCode::UNAUTHORIZED, "proof_required"));
}

#[tokio::test]
async fn grpc_call_is_a_post_whose_proof_is_metadata() {
    const METHOD: &str = "https://api.example.com/data.v1.Data/Read";
    let scene = Scene::new();
    let service = scene.layer().external_url(URL).layer(Inner::default().service());
    let call = |method: Method| {
        let mut request: Call = scene.key.request(&scene.issuer, method, METHOD, &scene.token);
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = "http://data.internal:8080/data.v1.Data/Read".parse().unwrap();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        request
    };
    // A service that has just started demands a nonce.
    let response = send(&service, call(Method::POST)).await;
    assert_eq!((response.status, response.header("grpc-status")), (StatusCode::OK, Some("16")));
    assert_eq!(challenges(&response), [r#"DPoP error="use_dpop_nonce", algs="EdDSA Ed25519""#]);
    assert!(response.header("dpop-nonce").is_some());
    scene.pass_start();
    assert_eq!(&*send(&service, call(Method::POST)).await.body, b"inner");
    let response = send(&service, call(Method::GET)).await;
    assert_eq!((response.header("grpc-status"), cause(&response)), (Some("16"), "proof_wrong_method"));
}

#[tokio::test]
async fn handler_sees_claims_of_bound_token() {
    let scene = Scene::new();
    let app = Router::new()
        .route(
            "/data",
            routing::get(|caller: Verified| async move { caller.sender_constraint().is_some().to_string() }),
        )
        .layer(Authenticate::new(scene.issuer.verifier()).external_url(URL));
    scene.pass_start();
    assert_eq!(&*send(&app, scene.get::<Body>(DATA)).await.body, b"true");
}

#[test]
fn rejects_settings_for_proofs_that_contradict_each_other() {
    let issuer = TestIssuer::new();
    let layer = || Authenticate::new(issuer.verifier());
    let proofs = || ProofVerifier::builder().without_external_url().build();
    for wrong in ["", "api.example.com", "https://api.example.com?tenant=1", "ftp://api.example.com"] {
        assert!(matches!(layer().try_external_url(wrong), Err(ProofSettingsError::Url(_))), "{wrong}");
    }
    assert!(matches!(layer().try_forwarded_from(["10.0.0.0/33"]), Err(ProofSettingsError::Proxy(_))));
    assert!(matches!(layer().proofs(proofs()).try_external_url(URL), Err(ProofSettingsError::Decided)));
    for contradiction in [
        (|layer: Authenticate, proofs| layer.proofs(proofs).require_proof()) as fn(_, _) -> _,
        |layer, proofs| layer.external_url(URL).proofs(proofs),
        |layer, _| layer.external_url("api.example.com"),
    ] {
        let (layer, proofs) = (layer(), proofs());
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| contradiction(layer, proofs)));
        assert!(built.is_err());
    }
    assert!(layer().proofs(proofs()).external_hosts(["localhost"]).try_forwarded_from(["::1"]).is_ok());
    for without_host in [layer(), layer().proofs(proofs()), layer().require_proof(), layer().external_hosts([""; 0])] {
        let rejected = without_host.try_forwarded_from(["::1"]).map(drop);
        assert_eq!(rejected, Err(ProofSettingsError::NoExternalHost));
    }
    let hosts = || layer().external_hosts(["api.example.com"]);
    assert!(matches!(hosts().try_external_url(URL), Err(ProofSettingsError::HostsAndUrls)));
    assert!(matches!(
        layer().external_url(URL).try_external_hosts(["b.example"]),
        Err(ProofSettingsError::HostsAndUrls)
    ));
    for wrong in ["", URL, "api.example.com/svc2", "user@api.example.com", "*.example.com/", "a b", "a:b", "a,b/"] {
        assert!(matches!(layer().try_external_hosts([wrong]), Err(ProofSettingsError::Host { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn rejection_names_subject_of_token_whose_proof_is_bad() {
    let scene = Scene::new();
    let service = scene.layer().external_url(URL).layer(Inner::default().service());
    scene.pass_start();
    let response = send(&service, scene.get_without_proof::<Full<Bytes>>(DATA)).await;
    let rejection = response.extensions.get::<Rejection>().unwrap();
    assert!(rejection.subject().is_some());
    assert!(matches!(rejection, Rejection::InvalidToken(VerifyError::Proof { error: ProofError::Missing, .. })));
}

/// RFC 9449 §4.3, check 9: proxies set `X-Forwarded-Host` from the `Host` that the client chose.
#[tokio::test]
async fn rejects_proof_for_forwarded_host_that_is_not_configured() {
    let scene = Scene::new();
    let service = scene.layer().external_url(URL).forwarded_from(["10.0.0.0/8"]).layer(Inner::default().service());
    scene.pass_start();
    for (htu, proto, host, expected) in [
        ("https://evil.example/data", "https", "evil.example", Some("proof_wrong_url")),
        ("https://api.example.com.evil/data", "https", "api.example.com.evil", Some("proof_wrong_url")),
        ("https://api.example.com:8443/data", "https", "api.example.com:8443", Some("proof_wrong_url")),
        ("http://api.example.com/data", "http", "api.example.com", Some("proof_wrong_url")),
        (DATA, "https", "evil.example", None),
        (DATA, "https", "API.example.com:443", None),
    ] {
        let response = send(&service, forwarded(&scene, htu, proto, host)).await;
        let found = (!response.status.is_success()).then(|| cause(&response));
        assert_eq!(found, expected, "{htu} at {proto}://{host}");
    }
}

#[tokio::test]
async fn takes_external_url_with_listed_host_only() {
    let scene = Scene::new();
    let layer = scene.layer().external_hosts(["api.example.com", "tenant.example:8443"]);
    let service = layer.forwarded_from(["10.0.0.0/8"]).layer(Inner::default().service());
    scene.pass_start();
    for (htu, proto, host, expected) in [
        (DATA, "https", "api.example.com", None),
        ("http://api.example.com/data", "http", "API.example.com:80", None),
        ("https://tenant.example:8443/data", "https", "tenant.example:8443", None),
        ("https://tenant.example/data", "https", "tenant.example", Some("proof_no_external_url")),
        ("https://evil.example/data", "https", "evil.example", Some("proof_no_external_url")),
        (DATA, "https", "evil.example", Some("proof_no_external_url")),
        ("https://evil.example/data", "https", "api.example.com", Some("proof_wrong_url")),
    ] {
        let response = send(&service, forwarded(&scene, htu, proto, host)).await;
        let found = (!response.status.is_success()).then(|| cause(&response));
        assert_eq!(found, expected, "{htu} at {proto}://{host}");
    }
}

/// `GET /data` from a trusted proxy, with a proof for `htu`.
fn forwarded(scene: &Scene, htu: &str, proto: &'static str, host: &'static str) -> Call {
    let mut request: Call = scene.get(htu);
    *request.uri_mut() = "/data".parse().unwrap();
    request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static(proto));
    request.headers_mut().insert("x-forwarded-host", HeaderValue::from_static(host));
    request.extensions_mut().insert(PeerAddress([10, 0, 0, 1].into()));
    request
}

#[tokio::test]
async fn nested_layers_with_one_proof_verifier_accept_request_once() {
    let scene = Scene::new();
    let proofs = || ProofVerifier::builder().external_url(URL).unwrap().clock(scene.issuer.clock().clone()).build();
    let (shared, own) = (proofs(), proofs());
    let changes_method = |mut request: Call| {
        if request.headers().contains_key("x-method-override") {
            *request.method_mut() = Method::DELETE;
        }
        request
    };
    let service = ServiceBuilder::new()
        .layer(Authenticate::new(scene.issuer.verifier()).proofs(shared.clone()))
        .layer(scene.layer().proofs(own))
        .map_request(changes_method)
        .layer(scene.layer().proofs(shared))
        .service(Inner::default().service());
    scene.pass_start();
    let request: Call = scene.get(DATA);
    assert_eq!(send(&service, request.clone()).await.status, StatusCode::OK);
    let replayed = send(&service, request).await;
    assert_eq!((replayed.status, cause(&replayed)), (StatusCode::UNAUTHORIZED, "proof_replayed"));

    let mut changed: Call = scene.get(DATA);
    changed.headers_mut().insert("x-method-override", HeaderValue::from_static("DELETE"));
    assert_eq!(cause(&send(&service, changed).await), "proof_wrong_method", "the other checks are made again");
}

#[tokio::test]
async fn rejection_closure_sees_no_proof_in_debug_output() {
    let scene = Scene::new();
    let layer = scene.layer().external_url(URL).on_rejection(|_, head| Response::new(format!("{:?}", head.headers)));
    let service = layer.layer(Inner::default().service());
    let response = send(&service, scene.get::<Full<Bytes>>(DATA)).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED, "a nonce is demanded at the start");
    let shown = String::from_utf8_lossy(&response.body);
    assert!(shown.contains(r#""dpop": Sensitive"#) && !shown.contains("eyJ"), "{shown}");
}

/// RFC 9449 §8.2.
#[tokio::test]
async fn response_to_accepted_request_has_next_nonce() {
    let scene = Scene::new();
    let proofs = || ProofVerifier::builder().external_url(URL).unwrap().clock(scene.issuer.clock().clone());
    let with_nonces = proofs().nonces(NonceKey::from_bytes(&[5; 32])).build();
    let service = scene.layer().proofs(with_nonces.clone()).layer(Inner::default().service());
    scene.pass_start();
    let mut nonce = with_nonces.fresh_nonce().unwrap();
    for _ in 0..3 {
        let mut request: Call = scene.get_without_proof(DATA);
        let proof = scene.key.proof_with_nonce(&scene.issuer, &Method::GET, DATA, &scene.token, &nonce);
        request.headers_mut().insert(DPOP, proof.parse().unwrap());
        let response = send(&service, request).await;
        assert_eq!(response.status, StatusCode::OK);
        nonce = response.header("dpop-nonce").expect("a nonce for the next request").to_owned();
        scene.issuer.clock().advance(Duration::from_secs(50));
    }
    // As metadata of a gRPC call.
    let mut call: Call = scene.get_without_proof(DATA);
    let proof = scene.key.proof_with_nonce(&scene.issuer, &Method::POST, DATA, &scene.token, &nonce);
    (*call.method_mut(), *call.version_mut()) = (Method::POST, Version::HTTP_2);
    for (name, value) in [(CONTENT_TYPE.as_str(), "application/grpc"), (TE.as_str(), "trailers"), (DPOP, &proof)] {
        call.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = send(&service, call).await;
    assert_eq!((&*response.body, response.header("dpop-nonce").is_some()), (b"inner".as_slice(), true));
    let unbound = scene.issuer.token(&["read:data:7"]);
    let response = send(&service, get::<Full<Bytes>>("/data", &bearer(&unbound))).await;
    assert_eq!((response.status, response.header("dpop-nonce")), (StatusCode::OK, None));
    let without_nonces = scene.layer().proofs(proofs().build()).layer(Inner::default().service());
    scene.pass_start();
    let response = send(&without_nonces, scene.get::<Full<Bytes>>(DATA)).await;
    assert_eq!((response.status, response.header("dpop-nonce")), (StatusCode::OK, None));
}

#[tokio::test]
async fn challenges_name_algorithms_of_layers_own_proof_verifier() {
    let scene = Scene::new();
    let proofs = ProofVerifier::builder().external_url(URL).unwrap().clock(scene.issuer.clock().clone());
    let service = scene.layer().proofs(proofs.accept_es256().build()).layer(Inner::default().service());
    scene.pass_start();
    let response = send(&service, get_without_token::<Full<Bytes>>("/data")).await;
    assert_eq!(challenges(&response)[1], r#"DPoP realm="agentwrit", algs="EdDSA Ed25519 ES256""#);
    let response = send(&service, scene.get_without_proof::<Full<Bytes>>(DATA)).await;
    assert_eq!(challenges(&response), [r#"DPoP error="invalid_dpop_proof", algs="EdDSA Ed25519 ES256""#]);
}

//! Conventions of every endpoint (contract §1).

use agentwrit_e2e::{ADMIN_SECRET, Broker};
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Each path with the methods that it has.
const ROUTES: [(&str, &[Method]); 22] = [
    ("/v1/health", &[Method::GET]),
    ("/v1/challenge", &[Method::GET]),
    ("/.well-known/jwks.json", &[Method::GET]),
    ("/v1/admin/auth", &[Method::POST]),
    ("/v1/app/auth", &[Method::POST]),
    ("/v1/register", &[Method::POST]),
    ("/v1/token/validate", &[Method::POST]),
    ("/v1/token/renew", &[Method::POST]),
    ("/v1/token/release", &[Method::POST]),
    ("/v1/delegate", &[Method::POST]),
    ("/v1/metrics", &[Method::GET]),
    ("/v1/revocations", &[Method::GET]),
    ("/v1/revoke", &[Method::POST]),
    ("/v1/admin/revocations", &[Method::GET]),
    ("/v1/audit/events", &[Method::GET]),
    ("/v1/app/agents", &[Method::GET]),
    ("/v1/app/audit/events", &[Method::GET]),
    ("/v1/admin/launch-tokens", &[Method::GET, Method::POST]),
    ("/v1/admin/launch-tokens/lt-0123456789abcdef", &[Method::DELETE]),
    ("/v1/app/launch-tokens", &[Method::POST]),
    ("/v1/admin/apps", &[Method::GET, Method::POST]),
    ("/v1/admin/apps/app-desk-0a1b2c", &[Method::GET, Method::PUT, Method::DELETE]),
];

/// Those that read a body.
const POSTS: [&str; 9] = [
    "/v1/admin/auth",
    "/v1/app/auth",
    "/v1/register",
    "/v1/token/validate",
    "/v1/delegate",
    "/v1/revoke",
    "/v1/admin/launch-tokens",
    "/v1/app/launch-tokens",
    "/v1/admin/apps",
];

/// The token without which the endpoint would not look at the body.
async fn tokens(broker: &Broker) -> impl Fn(&str) -> String {
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app = broker.app_token(&app).await;
    move |path| if path.starts_with("/v1/app/") { app.clone() } else { admin.clone() }
}

#[tokio::test]
async fn every_response_has_security_headers_and_request_id() {
    let broker = Broker::start().await;
    let paths = ROUTES.iter().map(|(path, _)| *path).chain(["/", "/v1", "/nowhere", "/v1/health/"]);
    for path in paths {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS] {
            let answer = broker.request(method.clone(), path).await;
            let shown = format!("{method} {path} → {}", answer.status);
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{shown}");
            assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{shown}");
            assert_eq!(answer.header("strict-transport-security"), None, "{shown}: there is no TLS");
            let caching = match path {
                "/.well-known/jwks.json" if answer.status == 200 => "public, max-age=300",
                "/v1/revocations" if answer.status == 200 => "no-cache",
                _ => "no-store",
            };
            assert_eq!(answer.header("cache-control"), Some(caching), "{shown}");
            let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{shown}: no request id"));
            assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{shown}: {id}");
        }
    }
}

#[tokio::test]
async fn echoes_well_formed_request_id() {
    let broker = Broker::start().await;
    let longest = "a".repeat(128);
    for id in ["a", "A-Z_a.z-09", longest.as_str()] {
        let answer = broker.get("/nowhere").header("x-request-id", id).await;
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.json()["request_id"], id);
    }
    let too_long = "a".repeat(129);
    for id in ["", "a b", "a/b", "a\"b", "é", "<script>", too_long.as_str()] {
        let answer = broker.get("/nowhere").header("x-request-id", id).await;
        let made = answer.header("x-request-id").unwrap();
        assert!(made.len() == 16 && made != id, "{id:?} → {made:?}");
        assert_eq!(answer.json()["request_id"], made);
    }
    let answer = broker.get("/nowhere").header("x-request-id", "one").header("x-request-id", "two").await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(16), "two ids are none");
}

#[tokio::test]
async fn answers_404_for_unknown_path() {
    let broker = Broker::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v2/health",
        "/v1/health/",
        "/v1/healthz",
        "//v1/health",
        "/v1//health",
        "/V1/health",
        "/%00",
    ] {
        broker.get(path).await.problem(404, "not_found");
        broker.post(path).json(&json!({})).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn answers_405_with_allow_for_other_methods() {
    let broker = Broker::start().await;
    for (path, methods) in ROUTES {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            if methods.contains(&method) {
                continue;
            }
            let answer = broker.request(method.clone(), path).await;
            answer.problem(405, "method_not_allowed");
            let allowed: Vec<_> = answer.header("allow").expect("an Allow header").split(',').map(str::trim).collect();
            for expected in methods {
                assert!(allowed.contains(&expected.as_str()), "{method} {path}: {allowed:?}");
            }
        }
    }
}

#[tokio::test]
async fn rejects_body_that_is_not_one_json_object() {
    let broker = Broker::start().await;
    let token = tokens(&broker).await;
    let bomb = format!("{{\"a\":{}", "[".repeat(200_000));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let bodies: [&[u8]; 14] = [
        b"",
        b"   ",
        b"{",
        b"{}}",
        b"{} x",
        b"[]",
        b"null",
        b"\"text\"",
        b"7",
        b"{\"secret\":\"\xff\"}",
        b"{\"a\":1,\"a\":2}",
        b"{\"x\":{\"a\":1,\"\\u0061\":2}}",
        bomb.as_bytes(),
        deep.as_bytes(),
    ];
    for path in POSTS.iter().filter(|path| !path.ends_with("/auth")) {
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            let answer = broker.post(path).bearer(&token(path)).body(body).await;
            assert_eq!(answer.status, 400, "{path} {shown}: {}", String::from_utf8_lossy(&answer.body));
            answer.problem(400, "invalid_request");
        }
    }
}

#[tokio::test]
async fn reads_json_of_any_content_type_and_ignores_unknown_members() {
    let broker = Broker::start().await;
    for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let body = json!({"secret": ADMIN_SECRET, "unknown": {"a": [1, 2]}});
        let answer = broker.post("/v1/admin/auth").header("content-type", content_type).json(&body).await;
        assert_eq!(answer.status, 200, "{content_type}");
    }
}

#[tokio::test]
async fn rejects_body_over_limit_with_413() {
    let broker = Broker::start().await;
    let token = tokens(&broker).await;
    let limit = 1024 * 1024;
    for path in POSTS {
        let too_large = vec![b' '; limit + 1];
        broker.post(path).bearer(&token(path)).body(too_large).await.problem(413, "payload_too_large");
        let largest = vec![b' '; limit];
        let answer = broker.post(path).bearer(&token(path)).body(largest).await;
        assert_ne!(answer.status, 413, "{path}: the limit itself is allowed");
    }
    // Also on endpoints that ignore the body.
    for path in ["/v1/token/renew", "/v1/token/release"] {
        let answer = broker.post(path).bearer(&token(path)).body(vec![b' '; limit + 1]).await;
        answer.problem(413, "payload_too_large");
    }
}

#[tokio::test]
async fn rejects_announced_body_over_limit_before_reading_it() {
    let broker = Broker::start().await;
    let announced = "POST /v1/register HTTP/1.1\r\nhost: x\r\ncontent-length: 1099511627776\r\n\r\n".to_owned();
    let mut chunked = "POST /v1/register HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..17 {
        chunked.extend(["10000\r\n", &" ".repeat(0x10000), "\r\n"]);
    }
    for request in [announced, chunked] {
        let mut connection = TcpStream::connect(broker.address()).await.unwrap();
        // The broker may answer and close before it has read all of this.
        connection.write_all(request.as_bytes()).await.ok();
        let mut status = [0; 12];
        connection.read_exact(&mut status).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 413");
    }
}

#[tokio::test]
async fn checks_bearer_token_before_the_request() {
    let broker = Broker::start().await;
    let token = broker.admin_token().await;
    let none = r#"Bearer realm="agentwrit""#;
    let invalid = r#"Bearer realm="agentwrit", error="invalid_token""#;
    let tampered = format!("Bearer {token}x");
    for (value, challenge) in [
        (None, none),
        (Some("Basic dXNlcjpwYXNz"), none),
        (Some("Bearer"), none),
        (Some("Bearer "), none),
        (Some(token.as_str()), none),
        (Some("Bearer nonsense"), invalid),
        (Some(tampered.as_str()), invalid),
    ] {
        for path in [
            "/v1/admin/apps",
            "/v1/admin/launch-tokens",
            "/v1/app/launch-tokens",
            "/v1/delegate",
            "/v1/revoke",
            "/v1/token/release",
        ] {
            let mut request = broker.post(path).body("not json");
            if let Some(value) = value {
                request = request.header("authorization", value);
            }
            let answer = request.await;
            answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{value:?}");
            if challenge == invalid {
                answer.refused(401, "unauthorized", "token verification failed");
            }
        }
    }
}

#[tokio::test]
async fn accepts_bearer_scheme_in_any_case() {
    let broker = Broker::start().await;
    let token = broker.admin_token().await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let answer = broker.get("/v1/admin/apps").header("authorization", &format!("{scheme} {token}")).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
    let twice = broker.get("/v1/admin/apps").bearer(&token).bearer(&token).await;
    twice.problem(401, "unauthorized");
}

#[tokio::test]
async fn closes_connection_with_slow_header() {
    let broker = Broker::start().await;
    let mut connection = TcpStream::connect(broker.address()).await.unwrap();
    connection.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), connection.read_to_end(&mut rest)).await;
    ended.expect("closed after 5 s").ok();
}

/// RFC 9112 §3.2: with two hosts, or none, two readers would see two targets.
#[tokio::test]
async fn rejects_request_without_exactly_one_host() {
    let broker = Broker::start().await;
    for (version, hosts, status) in [
        ("1.1", "host: x\r\n", 200),
        ("1.1", "", 400),
        ("1.1", "host: x\r\nhost: x\r\n", 400),
        ("1.1", "host: x\r\nHOST: y\r\n", 400),
        ("1.0", "", 200),
        ("1.0", "host: x\r\nhost: y\r\n", 400),
    ] {
        let mut connection = TcpStream::connect(broker.address()).await.unwrap();
        let request = format!("GET /v1/health HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/{version} {status} ")), "{hosts:?}: {answer}");
        assert_eq!(answer.contains(r#""error_code":"invalid_request""#), status == 400, "{answer}");
    }
}

//! Fetching a key set from a real server on the loopback interface. Revocations: see `follower`.

use std::time::Duration;

use agentwrit_verify::{
    KeySet, KeySetError,
    issue::SigningKey,
    remote::{Follower, FollowerBuilder, RemoteError},
    testing::TestIssuer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Reply of the server to a request.
#[derive(Clone)]
enum Reply {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends these bytes, then nothing more, ever.
    Stall(Vec<u8>),
    /// Sends these bytes repeatedly for as long as the client reads.
    Endless(Vec<u8>),
}

/// A server that reports each request. Its last reply is also the reply to all later requests.
struct Server {
    url: String,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for request in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let reply = replies[request.min(replies.len() - 1)].clone();
                tokio::spawn(answer(stream, reply, told.clone()));
            }
        });
        Self { url, requests }
    }

    async fn with(reply: Reply) -> Self {
        Self::start(vec![reply]).await
    }

    fn jwks_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.url)
    }

    async fn rejection(&self) -> RemoteError {
        keys_of(&self.url).timeout(Duration::from_secs(60)).start().await.unwrap_err()
    }
}

async fn answer(mut stream: TcpStream, reply: Reply, told: mpsc::UnboundedSender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The test may have dropped the receiver.
    drop(told.send(String::from_utf8(head).unwrap()));
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
        Reply::Stall(bytes) => {
            stream.write_all(&bytes).await.unwrap();
            std::future::pending::<()>().await;
        }
        Reply::Endless(bytes) => while stream.write_all(&bytes).await.is_ok() {},
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

fn ok(body: &str) -> Reply {
    Reply::Bytes(response("200 OK", "content-type: application/jwk-set+json\r\n", body))
}

/// Follows the keys only.
fn keys_of(url: &str) -> FollowerBuilder {
    Follower::builder(url).issuer(TestIssuer::ISSUER).without_revocations()
}

fn other_key_set() -> KeySet {
    KeySet::new([SigningKey::from_seed(&[9; 32]).unwrap().public_key().clone()]).unwrap()
}

#[tokio::test]
async fn first_key_set_makes_verifier_ready() {
    let issuer = TestIssuer::new();
    let mut server = Server::with(ok(&issuer.key_set().to_jwks())).await;
    let follower = keys_of(&server.url).start().await.unwrap();
    let request = server.requests.recv().await.unwrap();
    assert!(request.starts_with("GET /.well-known/jwks.json HTTP/1.1\r\n"), "{request}");

    let verifier = follower.verifier().clock(issuer.clock().clone()).build();
    assert!(verifier.is_ready());
    assert!(verifier.verify(&issuer.token(&["read:data:*"])).is_ok());
    drop(follower);
    assert!(verifier.verify(&issuer.token(&["read:data:*"])).is_ok(), "with the last set, until it is too old");
}

#[tokio::test]
async fn accepts_address_with_path() {
    let mut server = Server::with(ok(&other_key_set().to_jwks())).await;
    let url = format!("{}/broker/?query#fragment", server.url);
    keys_of(&url).start().await.unwrap();
    let request = server.requests.recv().await.unwrap();
    assert!(request.starts_with("GET /broker/.well-known/jwks.json HTTP/1.1\r\n"), "{request}");
}

#[tokio::test]
async fn later_key_sets_replace_the_first() {
    let first = TestIssuer::new().key_set();
    let broken = Reply::Bytes(response("500 Internal Server Error", "", ""));
    let replies = vec![ok(&first.to_jwks()), broken, ok(&other_key_set().to_jwks())];
    let mut server = Server::start(replies).await;
    let follower = keys_of(&server.url).key_refresh_interval(Duration::from_secs(1)).start().await.unwrap();
    let keys = follower.trusted_keys();
    // A fetch begins when the one before it was dealt with.
    for expected in [&first, &first, &first, &other_key_set()] {
        server.requests.recv().await.unwrap();
        assert_eq!(keys.key_set().as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn does_not_follow_redirect() {
    let mut elsewhere = Server::with(ok(&other_key_set().to_jwks())).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}\r\n", elsewhere.jwks_url());
        let server = Server::with(Reply::Bytes(response(status, &location, ""))).await;
        let expected = RemoteError::UnexpectedStatus { url: server.jwks_url(), status: status[..3].parse().unwrap() };
        assert_eq!(server.rejection().await, expected);
    }
    assert!(elsewhere.requests.try_recv().is_err(), "no request arrived");
}

#[tokio::test]
async fn rejects_status_other_than_200_whatever_the_body() {
    let body = other_key_set().to_jwks();
    for status in
        ["201 Created", "203 Non-Authoritative", "206 Partial Content", "404 Not Found", "500 Oops", "503 Busy"]
    {
        let server = Server::with(Reply::Bytes(response(status, "", &body))).await;
        let expected = RemoteError::UnexpectedStatus { url: server.jwks_url(), status: status[..3].parse().unwrap() };
        assert_eq!(server.rejection().await, expected);
    }
}

#[tokio::test]
async fn rejects_oversized_response() {
    let limit = KeySet::MAX_JWKS_LENGTH;
    let known = Server::with(ok(&" ".repeat(limit + 1))).await;
    assert_eq!(known.rejection().await, RemoteError::TooLong { url: known.jwks_url(), limit });

    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"1000\r\n", &[b' '; 4096][..], b"\r\n"].concat();
    let endless = Server::with(Reply::Endless([head, chunk.repeat(64)].concat())).await;
    assert_eq!(endless.rejection().await, RemoteError::TooLong { url: endless.jwks_url(), limit });

    let longest = format!("{}{}", other_key_set().to_jwks(), " ".repeat(limit));
    let fits = Server::with(ok(&longest[..limit])).await;
    assert!(keys_of(&fits.url).start().await.is_ok());
}

#[tokio::test]
async fn times_out_on_endless_or_missing_response() {
    let stalls = [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":["];
    for bytes in stalls {
        let server = Server::with(Reply::Stall(bytes.to_vec())).await;
        let error = keys_of(&server.url).timeout(Duration::from_millis(50)).start().await.unwrap_err();
        let RemoteError::Unreachable { url, cause } = error else { panic!("{error:?}") };
        assert_eq!(url, server.jwks_url());
        assert!(cause.contains("timed out"), "{cause}");
    }
}

#[tokio::test]
async fn rejects_body_other_than_key_set() {
    let weak =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"w","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
    for body in ["", "<html>", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, weak] {
        let server = Server::with(ok(body)).await;
        let error = KeySet::from_jwks(body.as_bytes()).unwrap_err();
        assert_eq!(server.rejection().await, RemoteError::KeySet { url: server.jwks_url(), error }, "{body}");
    }
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let twice = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}"#);
    let server = Server::with(ok(&format!(r#"{{"keys":[{twice},{twice}]}}"#))).await;
    let RemoteError::KeySet { error: KeySetError::Duplicate { .. }, .. } = server.rejection().await else { panic!() };
}

#[tokio::test]
async fn rejects_response_other_than_http() {
    for bytes in [&b""[..], b"\0\0\0", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"] {
        let server = Server::with(Reply::Bytes(bytes.to_vec())).await;
        assert!(matches!(server.rejection().await, RemoteError::Unreachable { .. }));
    }
}

#[tokio::test]
async fn reports_unreachable_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(keys_of(&url).start().await, Err(RemoteError::Unreachable { .. })));
    for url in ["", "127.0.0.1:8080", "/jwks", "file:///etc/passwd", "ftp://x", "http://", "mailto:a", "data:,{}"] {
        let error = keys_of(url).start().await.unwrap_err();
        assert!(matches!(&error, RemoteError::BadUrl { url: named, .. } if named == url), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn error_messages_omit_password_of_address() {
    let server = Server::with(Reply::Bytes(response("500 Oops", "", ""))).await;
    let refused = keys_of(&server.url.replace("//", "//user:hunter2@")).start().await.unwrap_err();
    assert_eq!(refused, RemoteError::UnexpectedStatus { url: server.jwks_url(), status: 500 });
    let closed = Server::with(Reply::Bytes(Vec::new())).await;
    let broken = keys_of(&closed.url.replace("//", "//user:hunter2@")).start().await.unwrap_err();
    assert!(!broken.to_string().contains("hunter2"), "{broken}");
}

//! Proxies: never from the environment, and through the one that is named (C1).

use std::{
    env,
    process::Stdio,
    sync::{Arc, Mutex},
};

use agentwrit_client::Client;
use agentwrit_e2e::{Broker, awrit};
use agentwrit_verify::remote::Follower;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

const ISSUER: &str = "https://agentwrit.local";
/// Every variable that names a proxy. Port 9 discards: nothing answers there.
const PROXIES: [(&str, &str); 6] = [
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("http_proxy", "http://127.0.0.1:9"),
    ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ("https_proxy", "http://127.0.0.1:9"),
    ("ALL_PROXY", "http://127.0.0.1:9"),
    ("all_proxy", "http://127.0.0.1:9"),
];

/// Runs in a process of its own, whose environment names a proxy: see the test below.
#[tokio::test]
#[ignore = "run by follower_client_and_awrit_ignore_proxies_from_environment, with its environment"]
async fn follows_and_asks_broker_directly() {
    let url = env::var("BROKER_OF_TEST").unwrap();
    let follower = Follower::builder(&url).issuer(ISSUER).start().await.unwrap();
    assert!(follower.verifier().build().is_ready());
    assert!(Client::new(&url).unwrap().health().await.unwrap().is_ok());
}

#[tokio::test]
async fn follower_client_and_awrit_ignore_proxies_from_environment() {
    let broker = Broker::start().await;
    let name = "compatibility::environment_proxies::follows_and_asks_broker_directly";
    let child = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .envs(PROXIES)
        .env("BROKER_OF_TEST", &broker.url)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let output = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
    assert!(child.status.success() && output.contains("1 passed"), "{output}");

    let run = awrit(broker.directory(), &PROXIES, &["health", "--broker", &broker.url], "").await;
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// A proxy that notes the request line of each request and passes it on.
async fn proxy_to(broker: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let (noted, broker) = (Arc::clone(&seen), broker.to_owned());
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (noted, broker) = (Arc::clone(&noted), broker.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = client.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                noted.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                let mut server = tokio::net::TcpStream::connect(&broker).await.unwrap();
                let absolute = format!("http://{broker}");
                // One request for each connection, so that each is noted.
                let head = head.replacen(&absolute, "", 1).replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
                server.write_all(head.as_bytes()).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    (url, seen)
}

#[tokio::test]
async fn follower_client_and_awrit_use_the_proxy_that_is_named() {
    let broker = Broker::start().await;
    let (proxy, seen) = proxy_to(broker.address()).await;
    let asked = |path: &str| {
        let line = format!("GET {}{path} HTTP/1.1", broker.url);
        seen.lock().unwrap().contains(&line)
    };
    let follower = Follower::builder(&broker.url).issuer(ISSUER).proxy(&proxy).start().await.unwrap();
    assert!(follower.verifier().build().is_ready());
    assert!(asked("/.well-known/jwks.json") && asked("/v1/revocations"), "{seen:?}");

    let client = Client::builder(&broker.url).proxy(&proxy).build().unwrap();
    client.key_set().await.unwrap();
    assert!(!asked("/v1/health"));
    let run = awrit(broker.directory(), &[], &["health", "--broker", &broker.url, "--proxy", &proxy], "").await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(asked("/v1/health"), "{seen:?}");
    let run = awrit(broker.directory(), &[], &["health", "--broker", &broker.url, "--proxy", "127.0.0.1:1"], "").await;
    assert!(run.stderr.starts_with("awrit: invalid proxy: `127.0.0.1:1` has no scheme"), "{}", run.stderr);
}

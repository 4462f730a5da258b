//! Following a broker's keys and revocations over a real connection on the loopback interface.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use agentwrit_verify::{
    ClaimSet, Clock as _, FeedError, Level, UnixTime, Verifier, VerifyError,
    feed::{Feed, StalenessError},
    http_client::SettingsError,
    issue::SigningKey,
    remote::{Follower, FollowerBuilder, RemoteError, StateFileError},
    report::ReportAcceptance,
    testing::{ManualClock, TestIssuer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::encode;

/// Behaviour of the broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    /// Responds, and holds requests until there are changes.
    Well,
    /// Responds at once, with or without changes.
    NeverHolds,
    /// Accepts connections and sends nothing.
    Silent,
    /// Responds with 503.
    Busy,
    /// Responds with its first snapshot, always.
    Cached,
    /// Responds with its first snapshot to requests for one, and otherwise well.
    SharesSnapshot,
    /// Responds as if the log started beyond every cursor.
    Gaps,
    /// Responds over a slow connection: a part every tenth of a second, for two seconds.
    Slow,
}

pub(crate) struct Model {
    pub(crate) issuer: TestIssuer,
    pub(crate) mood: Mood,
    /// The question of each request to the feed.
    pub(crate) asked: Vec<String>,
    pub(crate) key_fetches: usize,
    cached: Option<String>,
    pub(crate) key_cache: Option<KeyCache>,
    /// Key of a thief in the path of the feed, who signs each response anew and announces the key.
    pub(crate) thief: Option<SigningKey>,
    /// Problem in the responses to reports.
    pub(crate) rejection: &'static str,
    /// Bodies of the reports that were accepted.
    pub(crate) reports: Vec<String>,
    /// Status of the response to a report.
    pub(crate) report_status: &'static str,
    /// Interval for reports without news, in seconds.
    pub(crate) report_interval: u64,
    /// Text that a server in the broker's place sends instead of the acceptance of a report.
    pub(crate) forged_acceptance: Option<String>,
    /// Latest acceptance of a report.
    pub(crate) acceptance: String,
}

impl Model {
    /// Returns the acceptance of a report.
    fn accept(&self, report: &str) -> String {
        let acceptance = ReportAcceptance {
            issuer: TestIssuer::ISSUER.to_owned(),
            issued_at: self.issuer.clock().now(),
            report: ReportAcceptance::digest(report),
            at_least: self.issuer.cursor(),
            interval: Duration::from_secs(self.report_interval),
        };
        acceptance.sign(self.issuer.signing_key())
    }
}

/// HTTP cache that holds a key set.
pub(crate) struct KeyCache {
    pub(crate) key_set: String,
    /// True when a request with `Cache-Control: no-cache` reaches the broker.
    pub(crate) revalidates: bool,
    /// `Age` of its responses.
    pub(crate) age: Option<u64>,
}

/// A broker with the issuer's keys and feed, at an address that stays when it restarts.
pub(crate) struct Broker {
    model: Arc<Mutex<Model>>,
    news: watch::Sender<u64>,
    address: std::net::SocketAddr,
    listening: JoinSet<()>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let model = Model {
            issuer: TestIssuer::new(),
            mood: Mood::Well,
            asked: Vec::new(),
            key_fetches: 0,
            cached: None,
            key_cache: None,
            thief: None,
            reports: Vec::new(),
            rejection: "",
            report_status: "204 No Content",
            report_interval: 0,
            forged_acceptance: None,
            acceptance: String::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut broker = Self {
            model: Arc::new(Mutex::new(model)),
            news: watch::Sender::new(0),
            address,
            listening: JoinSet::new(),
        };
        broker.listen(listener);
        broker
    }

    fn listen(&mut self, listener: TcpListener) {
        let (model, news) = (Arc::clone(&self.model), self.news.clone());
        self.listening.spawn(async move {
            // Open connections are closed with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&model), news.subscribe()));
            }
        });
    }

    pub(crate) async fn stop(&mut self) {
        self.listening.shutdown().await;
    }

    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }

    pub(crate) fn follower(&self) -> FollowerBuilder {
        let clock = self.with(|model| model.issuer.clock().clone());
        Follower::builder(&format!("http://{}", self.address)).issuer(TestIssuer::ISSUER).clock(clock)
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        act(&mut self.model.lock().unwrap())
    }

    fn behave(&self, mood: Mood) {
        self.with(|model| model.mood = mood);
        self.tell();
    }

    pub(crate) fn tell(&self) {
        self.news.send_modify(|version| *version += 1);
    }

    fn claims(&self) -> ClaimSet {
        self.with(|model| model.issuer.claims(&["a:b:c"]))
    }

    fn sign(&self, claims: &ClaimSet) -> String {
        self.with(|model| model.issuer.sign(claims))
    }

    pub(crate) fn token(&self) -> String {
        self.with(|model| model.issuer.token(&["a:b:c"]))
    }

    fn revoke(&self, level: Level, target: &str) {
        self.with(|model| model.issuer.revoke(level, target));
        self.tell();
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.with(|model| model.issuer.clock().advance(Duration::from_secs(seconds)));
    }
}

async fn serve(mut stream: TcpStream, model: Arc<Mutex<Model>>, mut news: watch::Receiver<u64>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let mut headers = String::new();
    let (status, body) = if target == "/v1/verifiers/reports" {
        let rejection = model.lock().unwrap().rejection;
        if !rejection.is_empty() {
            headers = String::from("content-type: application/problem+json\r\n");
        }
        let response = receive_report(&head, &mut stream, &model).await;
        let model = model.lock().unwrap();
        let acceptance = model.forged_acceptance.as_ref().unwrap_or(&model.acceptance);
        headers = format!("{headers}agentwrit-report-acceptance: {acceptance}\r\n");
        response
    } else if let Some(question) = target.strip_prefix("/v1/revocations") {
        let (status, response) = feed(&model, question, &mut news).await;
        let thief = model.lock().unwrap().thief.clone();
        (status, thief.map_or(response.clone(), |thief| forged(&response, &thief)))
    } else {
        assert_eq!(target, "/.well-known/jwks.json");
        let mut model = model.lock().unwrap();
        model.key_fetches += 1;
        let asks_broker = head.to_ascii_lowercase().contains("cache-control: no-cache");
        let stored = model.key_cache.as_ref().filter(|cache| !(asks_broker && cache.revalidates));
        if let Some(seconds) = stored.and_then(|cache| cache.age) {
            headers = format!("age: {seconds}\r\n");
        }
        let stored = stored.map(|cache| cache.key_set.clone());
        ("200 OK", stored.unwrap_or_else(|| model.issuer.key_set().to_jwks()))
    };
    let length = body.len();
    let slow = model.lock().unwrap().mood == Mood::Slow && target.contains("since=");
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}");
    for part in answer.as_bytes().chunks(if slow { answer.len().div_ceil(20) } else { answer.len() }) {
        // The follower may have disconnected.
        if stream.write_all(part).await.is_err() {
            return;
        }
        if slow {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn receive_report(head: &str, stream: &mut TcpStream, model: &Mutex<Model>) -> (&'static str, String) {
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post ") && head.contains("content-type: application/jwt"), "{head}");
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let mut model = model.lock().unwrap();
    if model.report_status.starts_with("204") {
        let report = String::from_utf8(body).unwrap();
        model.acceptance = model.accept(&report);
        // A server in the broker's place keeps it to itself.
        if model.forged_acceptance.is_none() {
            model.reports.push(report);
        }
    }
    (model.report_status, model.rejection.to_owned())
}

async fn feed(model: &Mutex<Model>, question: &str, news: &mut watch::Receiver<u64>) -> (&'static str, String) {
    news.borrow_and_update();
    let since = question.strip_prefix("?since=").map(|rest| rest.split('&').next().unwrap().parse().unwrap());
    let (mood, up_to_date) = {
        let mut model = model.lock().unwrap();
        model.asked.push(question.to_owned());
        (model.mood, since.is_some() && parts(&model.issuer.feed_response(since)).1 == since.unwrap())
    };
    if mood == Mood::Silent {
        std::future::pending::<()>().await;
    }
    if matches!(mood, Mood::Well | Mood::SharesSnapshot) && up_to_date {
        let wait = question.rsplit('=').next().unwrap().parse().unwrap();
        drop(timeout(Duration::from_secs(wait), news.changed()).await);
    }
    let mut model = model.lock().unwrap();
    match mood {
        Mood::Busy => ("503 Service Unavailable", String::new()),
        Mood::Cached => shared_snapshot(&mut model),
        Mood::SharesSnapshot if since.is_none() => shared_snapshot(&mut model),
        Mood::Gaps => {
            let payload = parts(&model.issuer.feed_response(None)).0.replace(r#""from":0,"iat""#, r#""from":99,"iat""#);
            let payload = payload.replace(r#""to":0"#, r#""to":99"#);
            ("200 OK", model.issuer.signing_key().sign_document(Feed::MEDIA_TYPE, payload.as_bytes()))
        }
        Mood::Well | Mood::NeverHolds | Mood::Silent | Mood::Slow | Mood::SharesSnapshot => {
            ("200 OK", model.issuer.feed_response(since))
        }
    }
}

/// Returns the response as the thief signs it, with the thief's key among the announced ones.
fn forged(response: &str, thief: &SigningKey) -> String {
    let mut payload: serde_json::Value = serde_json::from_str(&parts(response).0).unwrap();
    let thiefs = serde_json::json!(thief.id().as_str());
    let announced = payload["kids"].as_array_mut().unwrap();
    announced.retain(|id| *id != thiefs);
    announced.insert(0, thiefs.clone());
    payload["active"] = thiefs;
    thief.sign_document(Feed::MEDIA_TYPE, payload.to_string().as_bytes())
}

fn shared_snapshot(model: &mut Model) -> (&'static str, String) {
    let fresh = model.issuer.feed_response(None);
    ("200 OK", model.cached.get_or_insert(fresh).clone())
}

/// Returns payload and `to` of a response.
fn parts(answer: &str) -> (String, u64) {
    let payload = data_encoding::BASE64URL_NOPAD.decode(answer.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    (String::from_utf8(payload).unwrap(), value["to"].as_u64().unwrap())
}

/// Waits for something that happens in the background.
pub(crate) async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen");
}

fn is_revoked(verifier: &Verifier, token: &str) -> bool {
    matches!(verifier.verify(token), Err(VerifyError::Revoked { .. }))
}

#[tokio::test]
async fn applies_revocation_as_it_happens() {
    let broker = Broker::start().await;
    let early = broker.claims();
    broker.revoke(Level::Token, &early.jti.to_string());
    let follower = broker.follower().start().await.unwrap();
    let verifiers = [follower.verifier().build(), follower.verifier().build()];
    assert!(verifiers.iter().all(|verifier| verifier.is_ready() && is_revoked(verifier, &broker.sign(&early))));

    let claims = broker.claims();
    let token = broker.sign(&claims);
    for verifier in &verifiers {
        assert!((0..3).all(|_| verifier.verify(&token).is_ok()));
    }
    broker.revoke(Level::Agent, &claims.sub.to_string());
    until("the revocation", || verifiers.iter().all(|verifier| is_revoked(verifier, &token))).await;

    let asked = broker.with(|model| model.asked.clone());
    assert_eq!(asked.first().map(String::as_str), Some(""), "a snapshot first");
    assert_eq!(asked.get(1).map(String::as_str), Some("?since=1&wait=8"), "a third of what the leeway leaves of 30 s");
    let status = follower.status();
    assert!(status.ready);
    assert_eq!((status.counters.responses_applied, status.counters.responses_rejected), (2, 0));
    let list = status.revocations.unwrap();
    assert_eq!((list.entries, list.cursor, list.epoch.as_deref()), (2, Some(2), Some("epoch-0")));
    let json = serde_json::to_value(verifiers[0].status()).unwrap();
    assert_eq!(json["revocations"]["age_seconds"], 5.0, "{json}");
}

#[tokio::test]
async fn dropped_follower_stops_fetching_and_verifiers_become_stale() {
    let broker = Broker::start().await;
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    let token = broker.token();
    until("the first question", || broker.with(|model| model.asked.len() == 2)).await;
    drop(follower);
    broker.revoke(Level::Task, "task");
    sleep(Duration::from_millis(50)).await;
    assert!(verifier.verify(&token).is_ok());
    broker.pass(25);
    assert!(matches!(verifier.verify(&token), Err(VerifyError::StaleRevocations { .. })));
    assert_eq!(broker.with(|model| model.asked.len()), 2);
}

#[tokio::test]
async fn reconnects_after_broker_restart() {
    let mut broker = Broker::start().await;
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    let claims = broker.claims();
    let token = broker.sign(&claims);
    broker.stop().await;
    until("three failures", || follower.status().counters.feed_failures >= 3).await;
    assert!(verifier.verify(&token).is_ok(), "nothing is too old yet");
    broker.pass(25);
    assert!(matches!(verifier.verify(&token), Err(VerifyError::StaleRevocations { .. })));
    assert!(!follower.status().ready);
    broker.revoke(Level::Token, &claims.jti.to_string());
    broker.restart().await;
    until("the revocation", || is_revoked(&verifier, &token)).await;
    timeout(Duration::from_secs(1), follower.ready()).await.unwrap();
}

#[tokio::test]
async fn applies_new_epoch_after_restored_backup() {
    let broker = Broker::start().await;
    broker.revoke(Level::Task, "one");
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    let token = broker.token();
    assert!(verifier.verify(&token).is_ok());
    until("the first question", || broker.with(|model| model.asked.len() == 2)).await;
    broker.pass(1);
    broker.with(|model| model.issuer.restore_backup(0));
    broker.tell();
    until("the mark", || is_revoked(&verifier, &token)).await;
    let status = follower.status();
    assert_eq!(status.revocations.unwrap().epoch.as_deref(), Some("epoch-1"));
}

#[tokio::test]
async fn fetches_replaced_key_when_feed_names_it() {
    let broker = Broker::start().await;
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    broker.with(|model| model.issuer.rotate_key([8; 32]));
    broker.revoke(Level::Task, "other");
    let token = broker.token();
    until("the new key", || verifier.verify(&token).is_ok()).await;
    until("the list", || follower.status().revocations.unwrap().entries == 1).await;
    assert!(broker.with(|model| model.key_fetches) <= 3);
}

#[tokio::test]
async fn starts_when_key_is_replaced_between_first_requests() {
    let broker = Broker::start().await;
    let foreign = SigningKey::from_seed(&[99; 32]).unwrap();
    broker.with(|model| model.cached = Some(foreign.sign_document(Feed::MEDIA_TYPE, b"{}")));
    broker.behave(Mood::Cached);
    let error = broker.follower().start().await.unwrap_err();
    let url = format!("http://{}/v1/revocations", broker.address);
    assert_eq!(error, RemoteError::Feed { url, error: FeedError::UnknownKey { kid: Some(foreign.id().to_string()) } });
    assert_eq!(broker.with(|model| (model.key_fetches, model.asked.len())), (2, 2), "it looked twice");
}

#[tokio::test]
async fn start_fails_on_forged_and_foreign_responses() {
    let url = |broker: &Broker| format!("http://{}/v1/revocations", broker.address);
    let broker = Broker::start().await;
    let foreign = Follower::builder(&format!("http://{}", broker.address)).issuer("https://other.test");
    let clock = broker.with(|model| model.issuer.clock().clone());
    let error = FeedError::WrongIssuer { found: TestIssuer::ISSUER.into() };
    assert_eq!(foreign.clock(clock).start().await.unwrap_err(), RemoteError::Feed { url: url(&broker), error });

    for (cached, expected) in [
        (broker.token(), FeedError::UnexpectedType { found: "JWT".into() }),
        (encode("no"), FeedError::NotSigned(agentwrit_verify::TokenFormatError::NotThreeParts.into())),
    ] {
        broker.with(|model| model.cached = Some(cached));
        broker.behave(Mood::Cached);
        let error = broker.follower().start().await.unwrap_err();
        assert_eq!(error, RemoteError::Feed { url: url(&broker), error: expected });
    }
    broker.behave(Mood::Busy);
    let busy = RemoteError::UnexpectedStatus { url: url(&broker), status: 503 };
    assert_eq!(broker.follower().start().await.unwrap_err(), busy);
    broker.behave(Mood::Well);
    let long = RemoteError::TooLong { url: url(&broker), limit: 100 };
    assert_eq!(broker.follower().max_response_length(100).start().await.unwrap_err(), long);
}

#[tokio::test]
async fn start_rejects_invalid_settings() {
    let broker = Broker::start().await;
    let seconds = Duration::from_secs;
    let tight = broker.follower().max_staleness(seconds(10));
    let error = tight.clone().start().await.unwrap_err();
    let RemoteError::Staleness(StalenessError { max, leeway, least, .. }) = error else { panic!("{error}") };
    assert_eq!((max, leeway, least), (seconds(10), seconds(5), seconds(18)));
    assert!(tight.clone().clock_leeway(seconds(1)).start().await.is_ok());
    assert!(tight.accept_stale_revocations().start().await.is_ok());
    for pem in [&b""[..], b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let https = || Follower::builder("https://127.0.0.1:1").issuer("i");
        let root = https().root_certificate_pem(pem).start().await.unwrap_err();
        assert!(matches!(root, RemoteError::Settings(SettingsError::RootCertificate(_))), "{root:?}");
        let identity = https().client_identity_pem(pem).start().await.unwrap_err();
        assert!(matches!(identity, RemoteError::Settings(SettingsError::ClientIdentity(_))), "{identity:?}");
        let plain = broker.follower().root_certificate_pem(pem).start().await.unwrap_err();
        assert_eq!(plain, RemoteError::Settings(SettingsError::CertificatesWithoutTls));
    }
}

#[tokio::test]
async fn lazy_start_rejects_invalid_settings() {
    let broker = Broker::start().await;
    let staleness = broker.follower().max_staleness(Duration::from_secs(10)).start_lazily();
    assert!(matches!(staleness, Err(RemoteError::Staleness(_))), "{staleness:?}");
    let pem = broker.follower().root_certificate_pem("nonsense").start_lazily();
    assert!(matches!(pem, Err(RemoteError::Settings(_))), "{pem:?}");
    let proxy = broker.follower().proxy("127.0.0.1:3128").start_lazily();
    assert!(matches!(proxy, Err(RemoteError::Settings(SettingsError::Proxy(_)))), "{proxy:?}");
}

#[tokio::test]
async fn keys_expire_without_refresh_unless_any_age_is_accepted() {
    const DAY: u64 = 24 * 60 * 60;
    let mut broker = Broker::start().await;
    let verifier = |follower: &Follower| follower.verifier().build();
    let strict = broker.follower().without_revocations().start().await.unwrap();
    let lenient = broker.follower().without_revocations().accept_keys_of_any_age().start().await.unwrap();
    broker.stop().await;
    broker.pass(DAY + 1);
    let token = broker.token();
    let age = Duration::from_secs(DAY + 1);
    assert_eq!(verifier(&strict).verify(&token).unwrap_err(), VerifyError::KeysStale { age });
    assert!(verifier(&lenient).verify(&token).is_ok());
}

#[tokio::test]
async fn lazy_start_accepts_nothing_until_broker_is_up_and_then_follows() {
    let mut broker = Broker::start().await;
    let claims = broker.claims();
    let token = broker.sign(&claims);
    broker.stop().await;
    let follower = broker.follower().start_lazily().unwrap();
    let verifier = follower.verifier().build();
    assert_eq!(verifier.verify(&token).unwrap_err(), VerifyError::KeysUnavailable);
    until("an attempt", || follower.status().counters.key_failures > 0).await;
    let status = follower.status();
    assert!(!status.ready && status.reason.is_some(), "{status:?}");

    // The keys are served and the feed is not: still nothing is accepted.
    broker.behave(Mood::Busy);
    broker.restart().await;
    until("the keys", || follower.status().keys > 0).await;
    let error = verifier.verify(&token).unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");

    broker.behave(Mood::Well);
    timeout(Duration::from_secs(30), follower.ready()).await.unwrap();
    assert!(verifier.verify(&token).is_ok());
    broker.revoke(Level::Token, &claims.jti.to_string());
    until("the revocation", || is_revoked(&verifier, &token)).await;
}

#[tokio::test]
async fn dropping_lazy_follower_ends_its_attempts() {
    let mut broker = Broker::start().await;
    broker.stop().await;
    let follower = broker.follower().start_lazily().unwrap();
    until("an attempt", || follower.status().counters.key_failures > 0).await;
    drop(follower);
    // The task's requests were cancelled with it before the runtime polls anything else.
    tokio::task::yield_now().await;
    broker.restart().await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(broker.with(|model| model.key_fetches), 0);
}

#[tokio::test]
async fn stale_cache_only_delays_revocations() {
    let broker = Broker::start().await;
    let follower = broker.follower().start().await.unwrap();
    let verifier = follower.verifier().build();
    let claims = broker.claims();
    let token = broker.sign(&claims);
    assert!(verifier.verify(&token).is_ok());
    broker.behave(Mood::Cached);
    until("an answer from the cache", || broker.with(|model| model.cached.is_some())).await;
    broker.revoke(Level::Token, &claims.jti.to_string());
    broker.pass(24);
    assert!(verifier.verify(&token).is_ok());
    broker.pass(1);
    assert!(matches!(verifier.verify(&token), Err(VerifyError::StaleRevocations { .. })));
    broker.behave(Mood::Well);
    until("the revocation", || is_revoked(&verifier, &token)).await;
}

#[tokio::test]
async fn confirms_old_snapshot_before_it_waits_for_changes() {
    let broker = Broker::start().await;
    broker.revoke(Level::Task, "one");
    broker.with(|model| model.cached = Some(model.issuer.feed_response(None)));
    broker.behave(Mood::SharesSnapshot);
    broker.pass(40);
    let follower = broker.follower().start().await.unwrap();
    until("a second request", || broker.with(|model| model.asked.len() >= 2)).await;
    assert_eq!(broker.with(|model| model.asked[1].clone()), "?since=1&wait=0");
    until("readiness", || follower.status().ready).await;
    until("a third request", || broker.with(|model| model.asked.len() >= 3)).await;
    assert_eq!(broker.with(|model| model.asked[2].clone()), "?since=1&wait=8");
}

#[tokio::test]
async fn polls_slowly_when_broker_never_holds_requests() {
    let broker = Broker::start().await;
    broker.behave(Mood::NeverHolds);
    let follower = broker.follower().start().await.unwrap();
    // The first question, and then pauses that double from 50 ms: the sixth can't come before 750 ms have passed.
    let started = Instant::now();
    until("six questions", || broker.with(|model| model.asked.len() >= 6)).await;
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    assert!(follower.status().ready);
}

#[tokio::test]
async fn backs_off_when_broker_leaves_gaps() {
    let broker = Broker::start().await;
    let follower = broker.follower().start().await.unwrap();
    broker.behave(Mood::Gaps);
    let (started, before) = (Instant::now(), broker.with(|model| model.asked.len()));
    until("resyncs", || follower.status().counters.resyncs >= 2).await;
    // The second at once, the next ones after a tenth at least of 200, 400 and 800 ms.
    until("five questions", || broker.with(|model| model.asked.len() >= before + 5)).await;
    assert!(started.elapsed() >= Duration::from_millis(140), "{:?}", started.elapsed());
    broker.behave(Mood::Well);
    broker.revoke(Level::Task, "task");
    until("the list", || follower.status().revocations.unwrap().entries == 1).await;
}

#[tokio::test]
async fn abandons_silent_connection_in_time() {
    let broker = Broker::start().await;
    let builder = broker.follower().max_staleness(Duration::from_secs(6)).clock_leeway(Duration::from_secs(1));
    let follower = builder.timeout(Duration::from_millis(200)).start().await.unwrap();
    broker.behave(Mood::Silent);
    // The wait of a second plus the timeout of a fetch.
    until("a failure", || follower.status().counters.feed_failures >= 1).await;
    broker.behave(Mood::Well);
    broker.revoke(Level::Task, "task");
    until("the list", || follower.status().revocations.unwrap().entries == 1).await;
}

/// A response in progress is awaited: it may be a snapshot in place of entries that cannot be served.
#[tokio::test]
async fn receives_long_response_over_slow_connection() {
    let broker = Broker::start().await;
    let builder = broker.follower().max_staleness(Duration::from_secs(6)).clock_leeway(Duration::from_secs(1));
    let follower = builder.timeout(Duration::from_millis(350)).start().await.unwrap();
    broker.behave(Mood::Slow);
    broker.revoke(Level::Task, "task");
    until("the list", || follower.status().revocations.unwrap().entries == 1).await;
    assert_eq!(follower.status().counters.feed_failures, 0);
}

#[tokio::test]
async fn sends_no_feed_request_without_revocations() {
    let broker = Broker::start().await;
    let follower = broker.follower().without_revocations().start().await.unwrap();
    assert!(follower.verifier().build().verify(&broker.token()).is_ok());
    assert!(follower.revocations().is_none() && follower.status().revocations.is_none());
    assert!(broker.with(|model| model.asked.is_empty()));
}

// --- the state file --------------------------------------------------------------------------------------------------

/// A place for a state file, empty at first and at last.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("agentwrit-verify-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

async fn saved(follower: &Follower, entries: usize) {
    until("the list", || follower.status().revocations.unwrap().entries == entries).await;
    let before = follower.status().counters.states_saved;
    until("the state file", || follower.status().counters.states_saved > before).await;
}

#[tokio::test]
async fn starts_from_state_file_while_broker_is_down() {
    let place = Place::new("down");
    let mut broker = Broker::start().await;
    let builder = broker.follower().state_file(place.file());
    let follower = builder.clone().start().await.unwrap();
    let claims = broker.claims();
    broker.revoke(Level::Token, &claims.jti.to_string());
    saved(&follower, 1).await;
    drop(follower);
    broker.stop().await;

    let follower = builder.clone().start().await.unwrap();
    let verifier = follower.verifier().build();
    assert!(verifier.is_ready() && is_revoked(&verifier, &broker.sign(&claims)));
    assert!(verifier.verify(&broker.token()).is_ok());
    drop(follower);

    broker.pass(25);
    let follower = builder.clone().start().await.unwrap();
    let verifier = follower.verifier().build();
    let token = broker.token();
    assert!(matches!(verifier.verify(&token), Err(VerifyError::StaleRevocations { .. })));
    let accepting = builder.clone().accept_stale_revocations().start().await.unwrap().verifier().build();
    assert!(accepting.verify(&token).is_ok() && is_revoked(&accepting, &broker.sign(&claims)));
    broker.restart().await;
    timeout(Duration::from_secs(5), follower.ready()).await.unwrap();
    assert!(verifier.verify(&token).is_ok() && is_revoked(&verifier, &broker.sign(&claims)));
    assert!(broker.with(|model| model.asked.iter().skip(1).all(|question| question.starts_with("?since="))));
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1, "nothing is left lying about");
}

#[tokio::test]
async fn restart_rejects_older_snapshot() {
    let place = Place::new("rolled-back");
    let broker = Broker::start().await;
    let old = broker.with(|model| model.issuer.feed_response(None));
    broker.pass(2);
    let builder = broker.follower().state_file(place.file());
    let follower = builder.clone().start().await.unwrap();
    let claims = broker.claims();
    broker.revoke(Level::Token, &claims.jti.to_string());
    saved(&follower, 1).await;
    drop(follower);
    broker.with(|model| model.cached = Some(old));
    broker.behave(Mood::Cached);
    let follower = builder.start().await.unwrap();
    until("a refusal", || follower.status().counters.responses_rejected > 0).await;
    assert!(is_revoked(&follower.verifier().build(), &broker.sign(&claims)));
}

#[tokio::test]
async fn restored_list_is_stale_when_clock_was_set_back() {
    let place = Place::new("clock");
    let mut broker = Broker::start().await;
    broker.pass(100);
    let builder = broker.follower().state_file(place.file());
    drop(builder.clone().start().await.unwrap());
    broker.stop().await;
    let token = broker.token();
    let clock = broker.with(|model| model.issuer.clock().clone());
    clock.set(crate::support::at(crate::support::START));
    let verifier = builder.start().await.unwrap().verifier().leeway(Duration::from_secs(200)).build();
    assert!(verifier.verify(&token).unwrap_err().is_unavailable());
    assert!(verifier.status().key_age.is_none(), "nor that of the keys");
}

#[tokio::test]
async fn start_rejects_unusable_state_files() {
    let place = Place::new("damaged");
    let broker = Broker::start().await;
    broker.revoke(Level::Task, "task");
    let builder = broker.follower().state_file(place.file());
    drop(builder.clone().start().await.unwrap());
    let whole = fs::read(place.file()).unwrap();
    let refused = async |bytes: &[u8]| {
        fs::write(place.file(), bytes).unwrap();
        let error = builder.clone().start().await.unwrap_err();
        let message = error.to_string();
        let RemoteError::StateFile { path, error } = error else { panic!("{error:?}") };
        assert_eq!(path, place.file());
        assert!(
            message.contains("state") && message.contains("move it away") || message.contains("own state"),
            "{message}"
        );
        error
    };
    for length in [0, 1, 20, 60, whole.len() / 2, whole.len() - 1] {
        assert_eq!(refused(&whole[..length]).await, StateFileError::Damaged, "{length}");
    }
    for index in (27..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        assert_eq!(refused(&changed).await, StateFileError::Damaged, "{index}");
    }
    assert_eq!(refused(&[&whole[..], b"x"].concat()).await, StateFileError::Damaged);
    assert_eq!(refused(b"{\"some\":\"other file\"}\n").await, StateFileError::Foreign);
    fs::write(place.file(), &whole).unwrap();
    let other = Follower::builder("http://127.0.0.1:1").issuer("https://other.test").state_file(place.file());
    let error = StateFileError::OtherIssuer { found: TestIssuer::ISSUER.into() };
    assert_eq!(other.start().await.unwrap_err(), RemoteError::StateFile { path: place.file(), error });
    assert!(builder.start().await.is_ok());
    assert_eq!(fs::read(place.file()).unwrap(), whole, "what is loaded is what was saved");

    let nowhere = place.0.join("missing").join("state");
    let error = broker.follower().state_file(&nowhere).start().await.unwrap_err();
    assert!(matches!(error, RemoteError::StateFile { error: StateFileError::Unwritable { .. }, .. }), "{error:?}");
    let error = broker.follower().state_file(&place.0).start().await.unwrap_err();
    assert!(matches!(error, RemoteError::StateFile { error: StateFileError::Unreadable { .. }, .. }), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn creates_state_file_with_mode_0600() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let place = Place::new("mode");
    let broker = Broker::start().await;
    let elsewhere = place.0.join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, place.0.join(format!("state.{}.tmp", std::process::id()))).unwrap();
    drop(broker.follower().state_file(place.file()).start().await.unwrap());
    assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
}

#[tokio::test]
async fn fetches_list_when_state_has_none() {
    let place = Place::new("keys-only");
    let mut broker = Broker::start().await;
    let builder = broker.follower().state_file(place.file());
    drop(builder.clone().without_revocations().start().await.unwrap());
    broker.stop().await;
    assert!(builder.clone().without_revocations().start().await.is_ok());
    assert!(matches!(builder.clone().start().await, Err(RemoteError::Unreachable { .. })));
    broker.restart().await;
    assert!(builder.start().await.unwrap().status().ready);
}

#[cfg(unix)]
#[tokio::test]
async fn rejects_state_file_writable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("exposed");
    let broker = Broker::start().await;
    let builder = broker.follower().state_file(place.file());
    drop(builder.clone().start().await.unwrap());
    for mode in [0o622, 0o602, 0o666] {
        fs::set_permissions(place.file(), fs::Permissions::from_mode(mode)).unwrap();
        let error = StateFileError::Exposed { mode };
        let expected = RemoteError::StateFile { path: place.file(), error };
        assert_eq!(builder.clone().start().await.unwrap_err(), expected);
    }
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(builder.clone().start().await.is_ok(), "a readable file is accepted");
    // Kubernetes' `fsGroup` opens volumes to the group.
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o660)).unwrap();
    assert!(builder.start().await.is_ok(), "the group's permissions only warn");
}

/// Keys that were confirmed in the future have an unknown age: they are fetched before they are trusted.
#[tokio::test]
async fn fetches_stored_keys_confirmed_in_the_future() {
    let place = Place::new("keys-ahead");
    let mut broker = Broker::start().await;
    broker.pass(3600);
    let own = ManualClock::new(broker.with(|model| model.issuer.clock().now()));
    let builder = broker.follower().clock(own.clone()).without_revocations().state_file(place.file());
    drop(builder.clone().start().await.unwrap());
    broker.stop().await;
    own.set(UnixTime::from_seconds(1));
    let follower = builder.start().await.unwrap();
    assert!(!follower.status().ready && follower.status().key_age.is_none(), "{:?}", follower.status());
}

#[tokio::test]
async fn debug_output_of_address_omits_password() {
    let shown = format!("{:?}", Follower::builder("https://user:hunter2@broker.internal"));
    assert!(!shown.contains("hunter2") && shown.contains("broker.internal"), "{shown}");
    for bad in ["htps://user:hunter2@b", "https://user:hunter2@b:99999", "user:hunter2@b", "ftp://u:hunter2@b/x@y"] {
        let error = Follower::builder(bad).issuer("i").start().await.unwrap_err();
        assert!(matches!(error, RemoteError::BadUrl { .. }) && !format!("{error} {error:?}").contains("hunter2"));
    }
}

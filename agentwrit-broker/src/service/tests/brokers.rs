//! Several brokers on one PostgreSQL database, each with its own services.

use std::time::Instant;

use agentwrit_verify::{
    Clock, SystemClock,
    feed::{ClockReading, Feed, Staleness},
};
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::spawn_blocking,
    time::timeout,
};
use tower::ServiceExt as _;

use super::{feed::read, *};
use crate::{
    audit::{ChainHead, chain},
    domain::Revocation,
    feed::FeedUnavailable,
    http::{Edge, router},
    keys::Entropy,
    store::{
        StoreError,
        tests::{Home, postgres_server::Schema},
    },
};

/// A clock that differs from the system's.
#[derive(Debug)]
struct SkewedClock {
    /// Seconds.
    ahead: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> UnixTime {
        let (now, by) = (SystemClock.now(), Duration::from_secs(self.ahead.unsigned_abs()));
        if self.ahead < 0 { now.saturating_sub(by) } else { now.saturating_add(by) }
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

struct Brokers {
    schema: Schema,
    config: Config,
    brokers: Vec<Arc<Services>>,
    _directory: TempDir,
}

impl Brokers {
    /// Brokers whose clocks are ahead by so many seconds.
    async fn start(clocks: &[i64]) -> Self {
        Self::start_with(clocks, "SELECT").await
    }

    /// Brokers of a database that was prepared by a statement.
    async fn start_with(clocks: &[i64], prepare: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let config =
            Config { max_ttl: Some(86_400), ..Config::for_development(directory.path(), ADMIN_SECRET).unwrap() };
        let schema = Schema::create();
        schema.execute(prepare);
        let mut started = Self { schema, config, brokers: Vec::new(), _directory: directory };
        for ahead in clocks {
            let options = StoreOptions { clock: Arc::new(SkewedClock { ahead: *ahead }), ..StoreOptions::default() };
            let store = started.schema.open(options);
            started.add(store).await;
        }
        started
    }

    async fn add(&mut self, store: Store) {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(self.brokers.len() as u64));
        let keys = BrokerKeys::from_files(&self.config.signing_key_path, entropy.as_ref()).unwrap();
        self.brokers.push(Arc::new(Services::build(&self.config, store, keys, entropy).await.unwrap()));
    }

    /// A broker that reaches the database through `link`.
    async fn add_through(&mut self, link: &Link) {
        let url = self.schema.url_through(link.directory.path());
        let store = spawn_blocking(move || Store::connect(&url, StoreOptions::default()).unwrap()).await.unwrap();
        self.add(store).await;
    }

    fn of(&self, broker: usize) -> &Services {
        &self.brokers[broker % self.brokers.len()]
    }

    async fn launch_token(&self, broker: usize, single_use: bool) -> Secret {
        let policy = LaunchTokenRequest { ttl: Some(3600), ..launch_policy(single_use) };
        self.of(broker).launch_tokens.issue(Subject::Admin, None, policy, CLIENT).await.unwrap().1
    }

    /// Registers an agent at one broker, with a nonce of another.
    async fn register(&self, broker: usize, nonces: usize, launch_token: &Secret) -> Result<String, Error> {
        let registration = registration(self.of(nonces), launch_token);
        Ok(self.of(broker).registrations.register(registration, CLIENT).await?.1.access_token)
    }

    async fn revoke(&self, broker: usize, level: Level, target: impl ToString) -> Revoked {
        let text = target.to_string();
        let target = RevocationTarget::parse(level, &text);
        let request = RevocationRequest { level, target, text, reason: None, wait: None, dry_run: false };
        self.of(broker).revocations.revoke(Subject::Admin, None, request, CLIENT).await.unwrap()
    }

    async fn request(&self, broker: usize, request: http::request::Builder, body: String) -> (StatusCode, Value) {
        let services = Arc::clone(&self.brokers[broker % self.brokers.len()]);
        let router = router(services, Edge { trusted_proxies: Vec::new(), tls: false });
        let request = request.header("host", "broker.test").header("content-type", "application/json");
        let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Status of a request with a Bearer token.
    async fn list_launch_tokens(&self, broker: usize, token: &str) -> StatusCode {
        let request = Request::get("/v1/admin/launch-tokens").header("authorization", format!("Bearer {token}"));
        self.request(broker, request, String::new()).await.0
    }

    async fn validate(&self, broker: usize, token: &str) -> (StatusCode, Value) {
        let body = json!({ "token": token }).to_string();
        let (status, body) = self.request(broker, Request::post("/v1/token/validate"), body).await;
        (status, body["valid"].clone())
    }

    /// Judges a token as `POST /v1/token/validate` does.
    async fn judge(&self, broker: usize, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.of(broker).ledger.confirm().await.unwrap();
        self.of(broker).verifier.verify(token)
    }
}

/// State of a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    Up,
    /// Connections stay, and carry nothing.
    Silent,
    /// Connections are closed.
    Down,
}

/// A socket through which a broker reaches the database.
struct Link {
    directory: TempDir,
    state: watch::Sender<LinkState>,
}

impl Link {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join(Schema::socket().file_name().unwrap())).unwrap();
        let (state, watched) = watch::channel(LinkState::Up);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, watched.clone()));
            }
        });
        Self { directory, state }
    }
}

async fn forward(mut client: UnixStream, mut state: watch::Receiver<LinkState>) {
    let mut server = UnixStream::connect(Schema::socket()).await.unwrap();
    let was = *state.borrow_and_update();
    if was == LinkState::Up {
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = state.changed() => {}
        }
    }
    // A connection that was silent never carries anything again.
    state.wait_for(|state| *state == LinkState::Down).await.map(drop).unwrap_or_default();
}

fn registration(services: &Services, launch_token: &Secret) -> RegistrationRequest {
    let nonce = services.challenges.issue();
    let key = SigningKey::from_bytes(&services.issuer.random());
    RegistrationRequest {
        launch_token: launch_token.expose().into(),
        nonce: Presented::WellFormed(Hex(nonce)),
        public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
        signature: Presented::WellFormed(Base64(key.sign(&nonce).to_bytes())),
        orch_id: PathSegment::parse("orch").unwrap(),
        task_id: PathSegment::parse("task").unwrap(),
        requested_scope: ScopeSet::parse([SCOPE]).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_at_one_broker_is_known_to_the_others_at_once() {
    let test = Brokers::start(&[0, -30, 30]).await;
    let launch_token = test.launch_token(0, false).await;
    for round in 0..1000 {
        let token = test.register(round, round + 1, &launch_token).await.unwrap();
        let claims = test.judge(round + 1, &token).await.unwrap();
        assert!(test.revoke(round + 1, Level::Token, claims.token_id()).await.revoked);
        for other in [round + 2, round, round + 1] {
            let verdict = test.judge(other, &token).await;
            assert!(matches!(verdict, Err(VerifyError::Revoked { .. })), "round {round}: {verdict:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_meets_another_broker_at_each_request_sees_one_feed() {
    let test = Arc::new(Brokers::start(&[0, -30, 30]).await);
    let launch_token = test.launch_token(0, false).await;
    let writers: Vec<_> = (0..3)
        .map(|broker| {
            let (test, launch_token) = (Arc::clone(&test), Secret::new(launch_token.expose().to_owned()));
            tokio::spawn(async move {
                let mut revoked = Vec::new();
                for _ in 0..60 {
                    let token = test.register(broker, broker + 1, &launch_token).await.unwrap();
                    let claims = test.judge(broker, &token).await.unwrap();
                    test.revoke(broker, Level::Token, claims.token_id()).await;
                    revoked.push(token);
                }
                revoked
            })
        })
        .collect();
    let keys = test.of(0).issuer.keys().clone();
    let mut feed = Feed::new(test.of(0).issuer.name(), Staleness::default());
    let (mut broker, mut responses) = (0, 0);
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        // Snapshots, long polls and polls without waiting.
        let since = if responses % 7 == 0 { None } else { feed.since() };
        let wait = Duration::from_millis([0, 20][responses % 2]);
        let response = test.of(broker).feed.since(since, wait, CLIENT).await.unwrap();
        feed.apply(&response.document.text(), &keys, ClockReading::of(&SystemClock)).unwrap();
        broker += 1 + responses % 2;
        responses += 1;
    }
    for writer in writers {
        for token in writer.await.unwrap() {
            assert!(test.judge(broker, &token).await.is_err());
        }
    }
    let last = test.of(broker).feed.since(feed.since(), Duration::ZERO, CLIENT).await.unwrap();
    feed.apply(&last.document.text(), &keys, ClockReading::of(&SystemClock)).unwrap();
    assert!(feed.list().len() >= 180 && responses > 30, "{} entries, {responses} responses", feed.list().len());
    // The trail of all is one chain in the order of time.
    let events = test.of(0).ledger.store.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 100_000)?)).await;
    let events = events.unwrap();
    assert!(chain::verify(ChainHead::GENESIS, &events).is_ok());
    assert!(events.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn launch_token_and_nonce_count_once_at_all_brokers() {
    let test = Arc::new(Brokers::start(&[0, 30]).await);
    for _ in 0..20 {
        let single = test.launch_token(0, true).await;
        let outcomes = tokio::join!(test.register(0, 1, &single), test.register(1, 0, &single));
        assert!(matches!(
            outcomes,
            (Ok(_), Err(Error::LaunchTokenConsumed)) | (Err(Error::LaunchTokenConsumed), Ok(_))
        ));
    }
    let launch_token = test.launch_token(0, false).await;
    for _ in 0..20 {
        let (first, second) = (registration(test.of(0), &launch_token), test.of(1));
        let outcomes = tokio::join!(
            test.of(0).registrations.register(first.clone(), CLIENT),
            second.registrations.register(first, CLIENT)
        );
        assert!(matches!(outcomes, (Ok(_), Err(Error::NonceSpent)) | (Err(Error::NonceSpent), Ok(_))), "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bearer_check_and_validation_of_another_broker_see_revocation_at_once() {
    let test = Brokers::start(&[0, 0]).await;
    for round in 0..50 {
        let token = test.of(round).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
        let other = round + 1;
        assert_eq!(test.list_launch_tokens(other, &token).await, StatusCode::OK);
        assert_eq!(test.validate(other, &token).await, (StatusCode::OK, json!(true)));
        let claims = test.of(round).verifier.verify(&token).unwrap();
        test.revoke(round, Level::Token, claims.token_id()).await;
        let verdict = tokio::join!(test.list_launch_tokens(other, &token), test.validate(other, &token));
        assert_eq!(verdict, (StatusCode::UNAUTHORIZED, (StatusCode::OK, json!(false))), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_without_database_neither_judges_tokens_nor_signs_feed() {
    let mut test = Brokers::start(&[0]).await;
    let link = Link::new();
    test.add_through(&link).await;
    let launch_token = test.launch_token(0, false).await;
    let token = test.register(1, 0, &launch_token).await.unwrap();
    let admin = test.of(0).logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    assert!(test.judge(1, &token).await.is_ok());
    for state in [LinkState::Down, LinkState::Silent] {
        link.state.send_replace(state);
        let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable { .. });
        // A reading may have been made before the connection ended.
        while test.of(1).ledger.confirm().await.is_ok() {}
        for since in [None, Some(0), Some(1)] {
            let rejected = test.of(1).feed.since(since, Duration::ZERO, CLIENT).await;
            assert!(matches!(rejected, Err(FeedUnavailable::Store(error)) if unavailable(&error)));
        }
        let unavailable = (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
        assert_eq!((test.list_launch_tokens(1, &admin).await, Value::Null), unavailable);
        assert_eq!(test.validate(1, &token).await, unavailable);
        link.state.send_replace(LinkState::Down);
        link.state.send_replace(LinkState::Up);
        let recovers = async { while test.of(1).ledger.confirm().await.is_err() {} };
        timeout(Duration::from_secs(30), recovers).await.unwrap();
        assert!(test.judge(1, &token).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_begun_by_another_broker_replaces_memory_and_wakes_followers() {
    let test = Brokers::start(&[0, 0]).await;
    let launch_token = test.launch_token(0, false).await;
    let lost = test.register(0, 0, &launch_token).await.unwrap();
    test.revoke(0, Level::Token, test.judge(0, &lost).await.unwrap().token_id()).await;
    assert!(test.judge(1, &lost).await.is_err());
    let before = read(&*test.of(1).feed.since(None, Duration::ZERO, CLIENT).await.unwrap());
    let (waiting, cursor) = (Arc::clone(&test.brokers[1]), before["to"].as_u64().unwrap());
    let waiting =
        tokio::spawn(async move { waiting.feed.since(Some(cursor), Duration::from_secs(20), CLIENT).await.unwrap() });
    while test.of(1).feed.followers() < 1 {
        tokio::task::yield_now().await;
    }
    let marked = test.of(0).ledger.transact(|tx| {
        tx.execute_batch("DELETE FROM revocations")?;
        tx.start_epoch()?;
        let now = tx.now();
        tx.insert_revocation(&Revocation {
            level: Level::Issuer,
            target: String::new(),
            revoked_at: now,
            expires_at: now.saturating_add(Duration::from_secs(3600)),
            revoked_by: Subject::Admin,
            reason: None,
            listed: true,
        })
    });
    marked.await.unwrap();
    let woken = read(&*timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap());
    assert_ne!(woken["epoch"], before["epoch"]);
    for broker in 0..2 {
        test.of(broker).ledger.confirm().await.unwrap();
        let snapshot = read(&*test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await.unwrap());
        assert_eq!((&snapshot["epoch"], snapshot["entries"].as_array().unwrap().len()), (&woken["epoch"], 1));
        assert!(matches!(test.judge(broker, &lost).await, Err(VerifyError::Revoked { .. })));
    }
    // Both go on in the new log.
    assert!(test.revoke(1, Level::Task, "task").await.revoked);
    assert!(test.revoke(0, Level::Task, "task").await.revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_brokers_deletes_expired_records() {
    let test = Brokers::start(&[0, 0, 0]).await;
    let housekept = |broker: usize| {
        let ledger = Arc::clone(&test.of(broker).ledger);
        async move { ledger.transact(|tx| tx.take_housekeeping(Duration::from_secs(45))).await.unwrap() }
    };
    assert!(housekept(1).await);
    for broker in 0..3 {
        assert!(!housekept(broker).await, "broker {broker}");
        test.of(broker).housekeeping.delete_expired().await.unwrap();
    }
}

/// Replaces the server's clock in the schema by a row that tests set.
const MANUAL_CLOCK: &str = "CREATE TABLE test_clock (at timestamptz); INSERT INTO test_clock VALUES ('2027-01-15T08:00:00Z'); \
     CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM test_clock'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_of_all_brokers_is_the_databases_and_does_not_go_back_by_seconds() {
    let test = Brokers::start_with(&[-30, 30, 0], MANUAL_CLOCK).await;
    let set = |step: &str| test.schema.execute(&format!("UPDATE test_clock SET at = at + interval '{step}'"));
    let start = 1_800_000_000;
    let times = async |broker: usize| {
        let issued = test.of(broker).logins.issue_admin_token(CLIENT).await.unwrap();
        let issued_at = test.judge(broker, &issued.access_token).await.unwrap().issued_at().seconds();
        let feed = read(&*test.of(broker).feed.since(None, Duration::ZERO, CLIENT).await.unwrap());
        (issued_at - start, feed["iat"].as_u64().unwrap() - start)
    };
    let mut earliest = (0, 0);
    // The monotonic clock may add a little between two readings.
    for (step, expected) in
        [("0", 0), ("100 seconds", 100), ("-3 seconds", 100), ("-1 second", 100), ("10 seconds", 106)]
    {
        set(step);
        for broker in [0, 1, 2, 1, 0] {
            let (issued, confirmed) = times(broker).await;
            assert!(issued >= earliest.0 && confirmed >= earliest.1, "{step}: {issued} {confirmed} after {earliest:?}");
            assert!((expected..expected + 2).contains(&issued), "{step}: {issued}");
            assert!((expected..expected + 2).contains(&confirmed), "{step}: {confirmed}");
            earliest = (issued, confirmed);
        }
    }
    let offset = |broker: usize| test.of(broker).ledger.store.clock_offset();
    assert!((offset(1) - offset(0) - 60.0).abs() < 5.0, "{} {}", offset(0), offset(1));
}

//! Several brokers on one PostgreSQL database, each with its own services.

mod confirmation;
mod feed;
mod key_operations;
mod keys;
mod link;
mod outage;
mod revocation;
mod time;
mod trust_rules;
mod verifiers;
mod withdrawn_rows;

use std::{sync::Mutex, time::Instant};

use agentwrit_verify::{
    Clock, SystemClock, Verifier,
    feed::{ClockReading, Feed, Staleness},
};
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};
use tower::ServiceExt as _;

use self::link::{Link, LinkState};
use super::{feed::read, *};
use crate::{
    audit::{ChainHead, chain},
    domain::Revocation,
    feed::FeedUnavailable,
    http::{Edge, router},
    keys::{BrokerKeys, Entropy, SealedKeys, test_kek},
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
    running: Vec<Arc<Services>>,
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
        let mut schema = Schema::create();
        schema.execute(prepare);
        schema.restrict();
        let mut started = Self { schema, config, running: Vec::new(), _directory: directory };
        for ahead in clocks {
            let options = StoreOptions { clock: Arc::new(SkewedClock { ahead: *ahead }), ..StoreOptions::default() };
            let store = started.schema.open(options);
            started.add(store).await;
        }
        started
    }

    async fn add(&mut self, store: Store) {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(self.running.len() as u64));
        let keys = self.keys(&store, &entropy).await;
        self.running.push(Arc::new(Services::build(&self.config, store, keys, entropy).await.unwrap()));
    }

    async fn keys(&self, store: &Store, entropy: &Arc<dyn Entropy>) -> BrokerKeys {
        shared_keys(store, &self.config.issuer, entropy).await
    }

    /// Starts a broker. Returns the error.
    async fn start_error(&self, entropy: &Arc<dyn Entropy>) -> String {
        let store = self.schema.open(StoreOptions::default());
        let read = store.transact(|tx| Ok::<_, StoreError>((tx.signing_keys()?, tx.keys_cursor()?)));
        let (rows, keys_cursor) = read.await.unwrap();
        let sealed = SealedKeys::new(test_kek(1), &self.config.issuer);
        let keys = match BrokerKeys::from_rows(sealed, &rows, keys_cursor, Arc::clone(entropy)) {
            Ok(keys) => keys,
            Err(error) => return error.to_string(),
        };
        Services::build(&self.config, store, keys, Arc::clone(entropy)).await.unwrap_err().to_string()
    }

    /// A broker that reaches the database through `link`.
    async fn add_through(&mut self, link: &Link) {
        let url = self.schema.url_through(link.directory.path());
        let store = spawn_blocking(move || Store::connect(&url, StoreOptions::default()).unwrap()).await.unwrap();
        self.add(store).await;
    }

    fn of(&self, broker: usize) -> &Services {
        &self.running[broker % self.running.len()]
    }

    async fn launch_token(&self, broker: usize, single_use: bool) -> Secret {
        let policy = LaunchTokenRequest { ttl: Some(3600), ..launch_policy(single_use) };
        self.of(broker).launch_tokens.issue(Subject::Admin, None, policy, CLIENT).await.unwrap().1
    }

    /// Registers an agent at one broker, with a nonce of another.
    async fn register(&self, broker: usize, nonces: usize, launch_token: &Secret) -> Result<String, Error> {
        let registration = registration(self.of(nonces), launch_token);
        Ok(self.of(broker).registrations.register(registration, None, CLIENT).await?.1.access_token)
    }

    async fn revoke(&self, broker: usize, level: Level, target: impl ToString) -> Revoked {
        self.request_revocation(broker, level, target, false).await.ended
    }

    async fn request_revocation(
        &self,
        broker: usize,
        level: Level,
        target: impl ToString,
        dry_run: bool,
    ) -> RevocationOutcome {
        let text = target.to_string();
        let target = RevocationTarget::parse(level, &text);
        let request = RevocationRequest { level, target, text, reason: None, wait: None, dry_run };
        self.of(broker).revocations.revoke(Subject::Admin, None, request, CLIENT).await.unwrap()
    }

    async fn request(&self, broker: usize, request: http::request::Builder, body: String) -> (StatusCode, Value) {
        let services = Arc::clone(&self.running[broker % self.running.len()]);
        let edge = Edge::for_tests(&services);
        let router = router(services, edge);
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

/// Opens the keys of a database, which are made if there are none.
pub(in crate::service) async fn shared_keys(store: &Store, issuer: &str, entropy: &Arc<dyn Entropy>) -> BrokerKeys {
    let sealed = SealedKeys::new(test_kek(1), issuer);
    let first = sealed.first_keys(store.clock().now(), entropy.as_ref()).unwrap();
    let joined = store.transact(move |tx| {
        if tx.signing_keys()?.is_empty() {
            first.iter().try_for_each(|row| tx.put_signing_key(row))?;
        }
        Ok::<_, StoreError>((tx.signing_keys()?, tx.keys_cursor()?))
    });
    let (rows, keys_cursor) = joined.await.unwrap();
    BrokerKeys::from_rows(sealed, &rows, keys_cursor, Arc::clone(entropy)).unwrap()
}

pub(super) fn registration(services: &Services, launch_token: &Secret) -> RegistrationRequest {
    let nonce = services.challenges.issue();
    let key = SigningKey::from_bytes(&services.issuer.random());
    RegistrationRequest {
        launch_token: Some(launch_token.expose().into()),
        attestation: None,
        nonce: Presented::WellFormed(Hex(nonce)),
        public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
        signature: Presented::WellFormed(Base64(key.sign(&nonce).to_bytes())),
        orch_id: Some(PathSegment::parse("orch").unwrap()),
        task_id: Some(PathSegment::parse("task").unwrap()),
        requested_scope: ScopeSet::parse([SCOPE]).unwrap(),
        sender_constrained: false,
    }
}

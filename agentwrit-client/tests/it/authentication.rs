//! Time and number of a session's authentications.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentwrit_client::{Admin, App, Client, ClientError, NewLaunchToken, RetryDelay, StoredToken, TokenStore};
use agentwrit_verify::{Clock, UnixTime, testing::ManualClock};
use serde_json::json;
use tokio::task::JoinSet;

use crate::broker::{FakeBroker, app_at, problem, token};

const AUTH: &str = "POST /v1/app/auth";
const LAUNCH: &str = "POST /v1/app/launch-tokens";

fn clock() -> ManualClock {
    ManualClock::new(UnixTime::from_seconds(1_795_248_000))
}

fn app(broker: &FakeBroker, clock: &ManualClock) -> App {
    app_at(&broker.url, clock.clone())
}

async fn ask(app: &App) -> Result<(), ClientError> {
    let request = NewLaunchToken::new("agent", ["read:data:x"])?;
    app.create_launch_token(&request).await.map(|_| ())
}

fn authorizations(broker: &FakeBroker) -> Vec<String> {
    broker.requests(LAUNCH).iter().map(|request| request.authorization().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn sends_nothing_before_first_request() {
    let broker = FakeBroker::with_app().await;
    let app = app(&broker, &clock());
    assert_eq!(broker.request_lines(), Vec::<String>::new());

    ask(&app).await.unwrap();
    ask(&app).await.unwrap();

    assert_eq!(broker.request_lines(), [AUTH, LAUNCH, LAUNCH]);
    assert_eq!(broker.requests(AUTH)[0].json(), json!({"client_id": "id-1", "client_secret": "client-secret"}));
    assert_eq!(authorizations(&broker), ["Bearer app-token", "Bearer app-token"]);
}

#[tokio::test]
async fn authenticates_app_once_before_its_first_request() {
    let broker = FakeBroker::with_app().await;
    let app = app(&broker, &clock());
    app.authenticate().await.unwrap();
    app.authenticate().await.unwrap();
    ask(&app).await.unwrap();
    assert_eq!(broker.request_lines(), [AUTH, LAUNCH]);
}

#[tokio::test]
async fn wrong_credentials_show_when_app_authenticates() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 401, &problem(401, "unauthorized", "invalid client credentials"));
    assert_eq!(app(&broker, &clock()).authenticate().await.unwrap_err().status(), Some(401));
}

#[tokio::test]
async fn admin_authenticates_with_secret() {
    let broker = FakeBroker::start().await;
    broker.on("POST /v1/admin/auth", 200, &token("admin-token", 300));
    broker.on("GET /v1/admin/apps", 200, &json!({"apps": [], "total": 0}));
    let admin = Client::new(&broker.url).unwrap().admin("admin-secret").unwrap();

    assert_eq!(admin.apps().await.unwrap(), []);

    assert_eq!(broker.requests("POST /v1/admin/auth")[0].json(), json!({"secret": "admin-secret"}));
    assert_eq!(broker.requests("GET /v1/admin/apps")[0].authorization(), Some("Bearer admin-token"));
}

#[tokio::test]
async fn concurrent_callers_share_one_authentication_request() {
    let broker = FakeBroker::with_app().await;
    let app = app(&broker, &clock());
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let app = app.clone();
        callers.spawn(async move { ask(&app).await });
    }
    let outcomes = callers.join_all().await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((broker.count(AUTH), broker.count(LAUNCH)), (1, 32));
}

#[tokio::test]
async fn concurrent_callers_share_one_rejection() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 401, &problem(401, "unauthorized", "invalid credentials"));
    let app = app(&broker, &clock());
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let app = app.clone();
        callers.spawn(async move { ask(&app).await });
    }
    let outcomes = callers.join_all().await;

    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().status() == Some(401)), "{outcomes:?}");
    assert_eq!((broker.count(AUTH), broker.count(LAUNCH)), (1, 0));

    // A later caller did not wait for that attempt, so it makes its own.
    ask(&app).await.unwrap_err();
    assert_eq!(broker.count(AUTH), 2);
}

#[tokio::test]
async fn replaces_token_shortly_before_expiry() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 200, &token("first", 1000));
    let broker = with_second_token(broker);
    let (clock, app) = app_with_clock(&broker);
    ask(&app).await.unwrap();

    clock.advance(Duration::from_secs(939)); // the margin is 60 s: a tenth of the lifetime, at most a minute
    ask(&app).await.unwrap();
    assert_eq!(broker.count(AUTH), 1);

    clock.advance(Duration::from_secs(1));
    ask(&app).await.unwrap();
    ask(&app).await.unwrap();
    assert_eq!(broker.count(AUTH), 2);
    assert_eq!(authorizations(&broker), ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]);
}

#[tokio::test]
async fn uses_old_token_until_expiry_when_replacement_fails() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 200, &token("first", 1000));
    broker.on(AUTH, 503, &problem(503, "unavailable", "the store cannot take the write"));
    let broker = with_launch_tokens(broker);
    let (clock, app) = app_with_clock(&broker);
    ask(&app).await.unwrap();

    clock.advance(Duration::from_secs(950));
    ask(&app).await.unwrap();
    ask(&app).await.unwrap();
    assert_eq!(broker.count(AUTH), 2, "one failed attempt, then a pause");

    clock.advance(Duration::from_secs(5));
    ask(&app).await.unwrap();
    assert_eq!(broker.count(AUTH), 3, "the pause is over");

    clock.advance(Duration::from_secs(45));
    assert_eq!(ask(&app).await.unwrap_err().error_code(), Some("unavailable"));
    assert_eq!(broker.count(LAUNCH), 4, "an expired token is not used");
}

#[tokio::test]
async fn authenticates_once_more_after_401() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 200, &token("first", 1000));
    broker.on(LAUNCH, 401, &problem(401, "unauthorized", "token verification failed"));
    let broker = with_second_token(broker);
    let (_clock, app) = app_with_clock(&broker);

    ask(&app).await.unwrap();
    ask(&app).await.unwrap();

    assert_eq!(broker.request_lines(), [AUTH, LAUNCH, AUTH, LAUNCH, LAUNCH]);
    assert_eq!(authorizations(&broker), ["Bearer first", "Bearer second", "Bearer second"]);
}

#[tokio::test]
async fn returns_second_401() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 200, &token("first", 1000));
    broker.on(LAUNCH, 401, &problem(401, "unauthorized", "token verification failed"));
    let (_clock, app) = app_with_clock(&broker);

    let rejected = ask(&app).await.unwrap_err();

    assert_eq!(rejected.problem().unwrap().detail, "token verification failed");
    assert_eq!(broker.request_lines(), [AUTH, LAUNCH, AUTH, LAUNCH]);
}

#[tokio::test]
async fn does_not_retry_other_rejections() {
    for status in [400, 403, 404, 409, 429, 500, 503] {
        let broker = FakeBroker::start().await;
        broker.on(AUTH, 200, &token("first", 1000));
        broker.on(LAUNCH, status, &problem(status, "some_code", "no"));
        let (_clock, app) = app_with_clock(&broker);
        assert_eq!(ask(&app).await.unwrap_err().status(), Some(status));
        assert_eq!(broker.request_lines(), [AUTH, LAUNCH], "{status}");
    }
}

#[tokio::test]
async fn uses_app_token_without_lifetime_once() {
    let broker = FakeBroker::start().await;
    broker.on(AUTH, 200, &token("first", 0));
    let broker = with_launch_tokens(broker);
    let (_clock, app) = app_with_clock(&broker);
    ask(&app).await.unwrap();
    ask(&app).await.unwrap();
    assert_eq!(broker.request_lines(), [AUTH, LAUNCH, AUTH, LAUNCH]);
}

fn app_with_clock(broker: &FakeBroker) -> (ManualClock, App) {
    let clock = clock();
    let app = app(broker, &clock);
    (clock, app)
}

fn with_second_token(broker: FakeBroker) -> FakeBroker {
    broker.on(AUTH, 200, &token("second", 1000));
    with_launch_tokens(broker)
}

fn with_launch_tokens(broker: FakeBroker) -> FakeBroker {
    let policy = json!({"allowed_scope": ["read:data:x"], "max_ttl": 300});
    let body = json!({"launch_token": "lt", "expires_at": "2026-11-21T08:00:30Z", "policy": policy});
    broker.on(LAUNCH, 201, &body);
    broker
}

/// Store in memory that counts, and whose claim another process may hold.
#[derive(Debug, Default)]
struct MemoryStore {
    token: Mutex<Option<StoredToken>>,
    saved: AtomicUsize,
    claimed: AtomicBool,
}

impl MemoryStore {
    fn holding(token: &str, expires_at: UnixTime) -> Arc<Self> {
        let store = Arc::new(Self::default());
        *store.token.lock().unwrap() = Some(StoredToken { token: token.into(), expires_at });
        store
    }

    fn held(&self) -> Option<String> {
        self.token.lock().unwrap().as_ref().map(|stored| stored.token.expose().to_owned())
    }
}

impl TokenStore for MemoryStore {
    fn load(&self) -> Option<StoredToken> {
        self.token.lock().unwrap().clone()
    }

    fn save(&self, token: &StoredToken) {
        self.saved.fetch_add(1, Ordering::SeqCst);
        *self.token.lock().unwrap() = Some(token.clone());
    }

    fn try_claim(&self) -> Option<Box<dyn Send>> {
        (!self.claimed.load(Ordering::SeqCst)).then(|| Box::new(()) as Box<dyn Send>)
    }
}

const ADMIN_AUTH: &str = "POST /v1/admin/auth";
const APPS: &str = "GET /v1/admin/apps";

/// Returns a broker that issues `fresh`, and an operator with this store.
async fn operator(store: &Arc<MemoryStore>) -> (FakeBroker, Admin) {
    let broker = FakeBroker::start().await;
    broker.on(ADMIN_AUTH, 200, &token("fresh", 300));
    let client = Client::builder(&broker.url).retries(0).clock(clock()).build().unwrap();
    let admin = client.admin_with_store("admin-secret", Arc::clone(store) as Arc<dyn TokenStore>).unwrap();
    (broker, admin)
}

fn bearers(broker: &FakeBroker) -> Vec<String> {
    broker.requests(APPS).iter().map(|request| request.authorization().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn uses_stored_token_without_authentication() {
    let store = MemoryStore::holding("stored", clock().now().saturating_add(Duration::from_secs(10)));
    let (broker, admin) = operator(&store).await;
    broker.on(APPS, 200, &json!({"apps": [], "total": 0}));
    admin.apps().await.unwrap();
    admin.apps().await.unwrap();
    assert_eq!((broker.count(ADMIN_AUTH), bearers(&broker)), (0, vec!["Bearer stored".to_owned(); 2]));
}

#[tokio::test]
async fn replaces_stored_token_that_is_about_to_expire() {
    let store = MemoryStore::holding("stored", clock().now().saturating_add(Duration::from_secs(9)));
    let (broker, admin) = operator(&store).await;
    broker.on(APPS, 200, &json!({"apps": [], "total": 0}));
    admin.apps().await.unwrap();
    assert_eq!((broker.count(ADMIN_AUTH), bearers(&broker)), (1, vec!["Bearer fresh".to_owned()]));
    assert_eq!((store.held().as_deref(), store.saved.load(Ordering::SeqCst)), (Some("fresh"), 1));
    let expires_at = store.load().unwrap().expires_at;
    assert_eq!(expires_at, clock().now().saturating_add(Duration::from_secs(300)));
}

#[tokio::test]
async fn authenticates_once_after_rejection_of_stored_token() {
    let store = MemoryStore::holding("stored", clock().now().saturating_add(Duration::from_secs(300)));
    let (broker, admin) = operator(&store).await;
    broker.on(APPS, 401, &problem(401, "unauthorized", "token verification failed"));
    broker.on(APPS, 200, &json!({"apps": [], "total": 0}));
    admin.apps().await.unwrap();
    assert_eq!(broker.count(ADMIN_AUTH), 1);
    assert_eq!(bearers(&broker), ["Bearer stored", "Bearer fresh"]);
    assert_eq!(store.held().as_deref(), Some("fresh"));
}

#[tokio::test]
async fn waits_for_token_of_other_authenticating_process() {
    let store = Arc::new(MemoryStore::default());
    store.claimed.store(true, Ordering::SeqCst);
    let (broker, admin) = operator(&store).await;
    broker.on(APPS, 200, &json!({"apps": [], "total": 0}));
    let waiting = tokio::spawn(async move { admin.apps().await });
    tokio::task::yield_now().await;
    store.save(&StoredToken {
        token: "theirs".into(),
        expires_at: clock().now().saturating_add(Duration::from_secs(300)),
    });
    waiting.await.unwrap().unwrap();
    assert_eq!((broker.count(ADMIN_AUTH), bearers(&broker)), (0, vec!["Bearer theirs".to_owned()]));
}

#[tokio::test]
async fn reports_delays_that_broker_asks_for() {
    let broker = FakeBroker::start().await;
    let busy = problem(429, "rate_limited", "too many requests").to_string();
    broker.on_raw(ADMIN_AUTH, 429, &[("retry-after", "1")], busy);
    broker.on(ADMIN_AUTH, 200, &token("fresh", 300));
    broker.on(APPS, 200, &json!({"apps": [], "total": 0}));
    let told = Arc::<Mutex<Vec<RetryDelay>>>::default();
    let observer = Arc::clone(&told);
    let client =
        Client::builder(&broker.url).on_retry_delay(move |delay| observer.lock().unwrap().push(*delay)).build();
    client.unwrap().admin("admin-secret").unwrap().apps().await.unwrap();
    let told = told.lock().unwrap();
    let [delay] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(delay.status, 429);
    assert!(delay.duration >= Duration::from_secs(1), "{delay:?}");
}

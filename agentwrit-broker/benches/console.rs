//! Time and size of the console's pages, and of the lists of the API, with 100,000 live agents.
//!
//! `cargo bench -p agentwrit-broker --bench console`. Debian's package `postgresql` is required.
//!
//! 1. A release broker answers on loopback. One client requests all pages in turn, round after round; a figure is the median of
//!    its rounds, HTTP included. The numbers of the overview stand for a second: each round begins after that.
//! 2. The records are the same in each store: 10 apps, 50 orchestrations, 5,000 tasks of 20 agents, 110,000 live tokens, 214,000
//!    audit events of which 4,000 are rejections of the last hour.
//! 3. PostgreSQL is measured twice: before it has collected statistics of its tables, as right after a migration, and after.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![expect(clippy::print_stdout, reason = "its output is the point")]

use std::{
    ffi::OsString,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use agentwrit_broker::{
    Args, Broker, Config,
    audit::{Actor, EventType, NewEvent},
    domain::{App, AppName, AppStatus, Digest, IssuedToken, LaunchTokenId, RegisteredAgent, RegisteredWith},
    migrate,
    store::{Store, StoreError, StoreOptions, Tx},
};
use agentwrit_verify::{
    AgentId, AppId, Clock, PathSegment, ScopeSet, Subject, SystemClock, TokenId, TrustDomain, UnixTime,
};
use postgres_server::PostgresServer;
use tempfile::TempDir;

const AGENTS: u64 = 100_000;
const BATCH: u64 = 1_000;
const ROUNDS: usize = 21;
const SECRET: &str = "a secret of the console's benchmark";
/// Limit of a page.
const LONGEST: Duration = Duration::from_millis(100);
const LARGEST: usize = 1_000_000;

#[tokio::main]
async fn main() {
    let directory = TempDir::new().unwrap();
    let now = SystemClock.now();
    seed(directory.path(), now).await;
    println!("{ROUNDS} rounds, medians; limit {} ms and {LARGEST} bytes", LONGEST.as_millis());
    let sqlite = environment(directory.path(), &[]);
    measure("SQLite", &sqlite, now).await;

    let server = PostgresServer::start_with(&["autovacuum=off"]);
    server.create_database("console");
    let key = directory.path().join("encryption.key");
    fs::write(&key, Digest::of(SECRET.as_bytes()).as_bytes()).unwrap();
    private(&key);
    let (url, key) = (server.url("console"), key.to_str().unwrap().to_owned());
    let args = Args {
        config: None,
        admin_secret: Some(SECRET.to_owned()),
        signing_key_path: Some(directory.path().join("signing.key").to_str().unwrap().to_owned()),
        key_encryption_key_path: Some(key.clone()),
        state_path: Some(directory.path().join("broker.state").to_str().unwrap().to_owned()),
        ..Args::default()
    };
    let source = format!("sqlite:{}", directory.path().join("data.db").display());
    migrate(&args, Some(&source), Some(&url)).await.unwrap();
    let state = directory.path().join("broker.state").to_str().unwrap().to_owned();
    let shared =
        [("AA_DATABASE_URL", url.as_str()), ("AA_KEY_ENCRYPTION_KEY_PATH", &key), ("AA_STATE_PATH", state.as_str())];
    let postgres = environment(directory.path(), &shared);
    measure("PostgreSQL without statistics", &postgres, now).await;
    server.query("console", "VACUUM ANALYZE");
    measure("PostgreSQL", &postgres, now).await;
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn environment(directory: &Path, more: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let path = |name: &str| directory.join(name).into_os_string();
    let text = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    let common = [("AA_ADMIN_SECRET", SECRET), ("AA_PORT", "0"), ("AA_CONSOLE", "true")];
    let files = [("AA_DB_PATH".into(), path("data.db")), ("AA_SIGNING_KEY_PATH".into(), path("signing.key"))];
    common.iter().chain(more).map(text).chain(files).collect()
}

async fn start(environment: &[(OsString, OsString)]) -> Broker {
    let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let config = Config::load(&Args::default(), environment.to_vec(), &no_file).unwrap();
    Broker::start(config).await.unwrap()
}

/// Creates the database and the key, and fills it.
async fn seed(directory: &Path, now: UnixTime) {
    start(&environment(directory, &[])).await.shutdown().await;
    let store = Store::open(&directory.join("data.db"), StoreOptions::default()).unwrap();
    store
        .transact(move |tx| (0..10).try_for_each(|number| tx.insert_app(&app(number, now)).map(|_| ())))
        .await
        .unwrap();
    for first in (0..AGENTS).step_by(usize::try_from(BATCH).unwrap()) {
        let batch = move |tx: &mut Tx<'_>| (first..first + BATCH).try_for_each(|number| register(tx, number, now));
        store.transact(batch).await.unwrap();
    }
    store.close().await;
}

fn register(tx: &mut Tx<'_>, number: u64, now: UnixTime) -> Result<(), StoreError> {
    // The registrations of the last two hours.
    let at = now.saturating_sub(Duration::from_millis((AGENTS - number) * 72));
    let agent = agent(number, at, now);
    let (task, token) = (agent.agent_id.task_id().to_owned(), token(&agent, number, at));
    tx.insert_agent(&agent)?;
    tx.insert_token(&token)?;
    let mut events = vec![(EventType::AgentRegistered, "agent registered"), (EventType::TokenIssued, "token issued")];
    if number.is_multiple_of(10) && number > 0 {
        let delegator = agent_id(number - 1);
        let jti = token_id(number + AGENTS);
        let scope = Some(ScopeSet::parse(["read:data:1"]).unwrap());
        let root = Some(delegator.clone());
        let sid = token_id(number - 1);
        let delegated =
            IssuedToken { jti, sid: jti, root, delegators: vec![delegator], delegator_sids: vec![sid], scope, ..token };
        tx.insert_token(&delegated)?;
        events.push((EventType::DelegationCreated, "delegation created"));
    }
    for (event_type, detail) in events {
        let event = NewEvent::success(event_type, at, &agent.agent_id, detail);
        tx.append(event.task(PathSegment::parse(&task).unwrap()).from([127, 0, 0, 1].into()))?;
    }
    if number.is_multiple_of(25) {
        let kinds = [
            EventType::AdminAuthFailed,
            EventType::AppAuthFailed,
            EventType::RegistrationPolicyViolation,
            EventType::TokenAuthFailed,
        ];
        let event_type = *kinds.get(usize::try_from(number / 25 % 4).unwrap()).unwrap();
        let client = Actor::Address([192, 0, 2, 1].into());
        tx.append(NewEvent::denied(event_type, at, client, "rejected"))?;
    }
    Ok(())
}

fn app_id(number: u64) -> AppId {
    AppId::parse(&format!("app-desk-{number:06x}")).unwrap()
}

fn app(number: u64, now: UnixTime) -> App {
    App {
        app_id: app_id(number),
        name: AppName::parse(&format!("desk-{number}")).unwrap(),
        client_id: format!("client-{number}"),
        secret_digest: Digest::of(&number.to_be_bytes()),
        former_secret: None,
        scopes: ScopeSet::parse(["read:data:*"]).unwrap(),
        token_ttl: 1800,
        sender_constrained: false,
        status: AppStatus::Active,
        created_at: now,
        updated_at: now,
        deregistered_at: None,
    }
}

fn agent_id(number: u64) -> AgentId {
    let random = Digest::of(&number.to_be_bytes());
    let orch = PathSegment::parse(&format!("orch-{}", number % 50)).unwrap();
    let task = PathSegment::parse(&format!("task-{}", number % 5_000)).unwrap();
    AgentId::new(
        &TrustDomain::parse("agentwrit.local").unwrap(),
        &orch,
        &task,
        *random.as_bytes().last_chunk().unwrap(),
    )
}

fn agent(number: u64, at: UnixTime, now: UnixTime) -> RegisteredAgent {
    RegisteredAgent {
        agent_id: agent_id(number),
        app_id: Some(app_id(number % 10)),
        scope: ScopeSet::parse([format!("read:data:{}", number % 1_000).as_str(), "write:notes:x"]).unwrap(),
        public_key: *Digest::of(&[b"key".as_slice(), &number.to_be_bytes()].concat()).as_bytes(),
        sender_constrained: false,
        registered_with: RegisteredWith::LaunchToken(LaunchTokenId::from_bytes(number.to_be_bytes())),
        registered_at: at,
        expires_at: UnixTime::from_seconds(now.seconds() + 86_000),
        revoked_at: None,
    }
}

fn token_id(number: u64) -> TokenId {
    let random = Digest::of(&[b"token".as_slice(), &number.to_be_bytes()].concat());
    TokenId::from_bytes(*random.as_bytes().first_chunk().unwrap())
}

fn token(agent: &RegisteredAgent, number: u64, at: UnixTime) -> IssuedToken {
    let issued_at = UnixTime::from_seconds(at.seconds());
    IssuedToken {
        jti: token_id(number),
        sid: token_id(number),
        subject: Subject::Agent(agent.agent_id.clone()),
        app_id: agent.app_id.clone(),
        task_id: Some(PathSegment::parse(agent.agent_id.task_id()).unwrap()),
        root: None,
        delegators: Vec::new(),
        delegator_sids: Vec::new(),
        issued_at,
        expires_at: agent.expires_at,
        original_ttl: 86_000,
        session_started_at: issued_at,
        sender_constrained: false,
        scope: None,
    }
}

/// Name and path of each page.
fn pages(cursor: u64, now: UnixTime) -> Vec<(&'static str, String)> {
    let agent = agent_id(9_999);
    let since = UnixTime::from_seconds(now.seconds() - 1800);
    let console = [
        ("overview", String::new()),
        ("agents", "/agents".to_owned()),
        ("agents, page at 95,000", format!("/agents?cursor={cursor}")),
        ("agents by task, 20", "/agents?task=task-77".to_owned()),
        ("agents by orchestration, 2,000", "/agents?orch=orch-7".to_owned()),
        ("agents by scope, 100", "/agents?scope=read:data:77".to_owned()),
        ("agents by app, 10,000", "/agents?app=app-desk-000007".to_owned()),
        ("agents by task and orchestration", "/agents?task=task-57&orch=orch-7".to_owned()),
        ("agents, none matches", "/agents?orch=unknown".to_owned()),
        ("one agent", format!("/agent?id={agent}")),
        ("preview of a revocation", "/revoke?level=task&target=task-77".to_owned()),
        ("audit", "/audit".to_owned()),
        ("audit by type", "/audit?type=agent_registered".to_owned()),
        ("audit, rejections since", format!("/audit?outcome=denied&since={since}")),
        ("audit by task", "/audit?task=task-77".to_owned()),
        ("apps", "/apps".to_owned()),
    ];
    let api = [
        ("API: agents", "agents".to_owned()),
        ("API: tokens", "tokens".to_owned()),
        ("API: tokens by task", "tokens?task_id=task-77".to_owned()),
        ("API: tokens by orchestration", "tokens?orch_id=orch-7".to_owned()),
        ("API: tokens by scope", "tokens?scope=read:data:77".to_owned()),
        ("API: tokens by app", "tokens?app_id=app-desk-000007".to_owned()),
    ];
    let console = console.into_iter().map(|(name, path)| (name, format!("/console{path}")));
    console.chain(api.into_iter().map(|(name, path)| (name, format!("/v1/admin/{path}")))).collect()
}

async fn measure(store: &str, environment: &[(OsString, OsString)], now: UnixTime) {
    let broker = start(environment).await;
    let base = format!("http://{}", broker.local_addr());
    let client = Client::sign_in(&base).await;
    let (first, _) = client.get("/v1/admin/agents?limit=1&offset=95000").await;
    let cursor = first.split("\"next_cursor\":").nth(1).unwrap();
    let cursor: String = cursor.chars().filter(char::is_ascii_digit).collect();
    let pages = pages(cursor.parse().unwrap(), now);
    let mut figures: Vec<(Vec<Duration>, usize)> = pages.iter().map(|_| (Vec::new(), 0)).collect();
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for ((_, path), (times, size)) in pages.iter().zip(&mut figures) {
            let (text, time) = client.get(path).await;
            times.push(time);
            *size = text.len();
        }
    }
    println!("\n{store:<36} {:>8} {:>8} {:>9}", "median", "longest", "bytes");
    for ((name, _), (mut times, size)) in pages.into_iter().zip(figures) {
        times.sort_unstable();
        let (median, longest) = (times.get(ROUNDS / 2).copied().unwrap(), times.last().copied().unwrap());
        let verdict = if median <= LONGEST && size <= LARGEST { "" } else { "  missed" };
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        println!("  {name:<34} {:>8.1} {:>8.1} {size:>9}{verdict}", milliseconds(median), milliseconds(longest));
    }
    broker.shutdown().await;
}

/// A client with a session of the console and a token of the operator.
struct Client {
    http: reqwest::Client,
    base: String,
    cookie: String,
    token: String,
}

impl Client {
    async fn sign_in(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(reqwest::redirect::Policy::none());
        let http = http.build().unwrap();
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("secret", SECRET).finish();
        let request = http.post(format!("{base}/console/sign-in")).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let response = request.send().await.unwrap();
        let cookie = response.headers().get("set-cookie").unwrap().to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let body = serde_json::json!({ "secret": SECRET }).to_string();
        let request = http.post(format!("{base}/v1/admin/auth")).header("content-type", "application/json").body(body);
        let response: serde_json::Value =
            serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        let token = response.get("access_token").unwrap().as_str().unwrap().to_owned();
        Self { http, base: base.to_owned(), cookie, token }
    }

    /// Returns the page, and the time from the request to its last byte.
    async fn get(&self, path: &str) -> (String, Duration) {
        let started = Instant::now();
        let request = self.http.get(format!("{}{path}", self.base)).header("cookie", &self.cookie);
        let response = request.bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let text = response.text().await.unwrap();
        (text, started.elapsed())
    }
}

//! The pages of a broker, on a clock that tests move.

mod administration;
mod confirmations;
mod instructions;
mod lists;
mod live;

use std::{sync::Arc, time::Duration};

use agentwrit_protocol::{Base64, Hex, LaunchTokenRequest, Presented, RegistrationRequest};
use agentwrit_verify::{AgentId, PathSegment, ScopeSet, Subject, UnixTime, testing::ManualClock};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Method},
};
use ed25519_dalek::{Signer, SigningKey};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower::ServiceExt;

use super::{Console, session::IDLE_LIMIT};
use crate::{
    Config,
    audit::EventType,
    http::{Edge, router_with_pages},
    keys::{Entropy, SeededEntropy, open_key_files},
    service::{Error, Services},
    store::{Store, StoreOptions},
};

const SECRET: &str = "a secret for the console's tests";
const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const PAGES: [&str; 9] = [
    "/console",
    "/console/agents",
    "/console/revoke",
    "/console/apps",
    "/console/launch-tokens",
    "/console/trust-rules",
    "/console/verifiers",
    "/console/keys",
    "/console/audit",
];

struct Browser {
    router: Router,
    services: Arc<Services>,
    clock: ManualClock,
    cookie: Option<String>,
    _directory: TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The token of the page's forms.
    fn form_token(&self) -> String {
        let (_, rest) = self.text.split_once(r#"name="form_token" value=""#).expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Browser {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let clock = ManualClock::new(UnixTime::from_seconds(1_800_000_000));
        let mut config = Config::for_development(directory.path(), SECRET).unwrap();
        config.session_budget = None;
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
        let options = StoreOptions { clock: Arc::new(clock.clone()), ..StoreOptions::default() };
        let store = Store::open(&config.db_path, options).unwrap();
        let keys = open_key_files(&store, &config.signing_key_path, &entropy).await.unwrap();
        let services = Arc::new(Services::build(&config, store, keys, entropy).await.unwrap());
        let pages = Console::new(Arc::clone(&services), false).routes();
        let router = router_with_pages(Arc::clone(&services), Edge::for_tests(&services), pages);
        Self { router, services, clock, cookie: None, _directory: directory }
    }

    async fn signed_in() -> Self {
        let mut browser = Self::start().await;
        assert_eq!(browser.sign_in(SECRET).await.status, 303);
        browser
    }

    async fn send(&self, method: Method, target: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder().method(method).uri(target).header("host", "broker.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, target: &str) -> Answer {
        self.send(Method::GET, target, &[("sec-fetch-site", "same-origin")], String::new()).await
    }

    /// Sends a form as a page of the console does.
    async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
        self.send(Method::POST, target, &headers, form.finish()).await
    }

    /// Sends a form of a page, with the session's token.
    async fn act(&self, page: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.get(page).await.form_token();
        self.post(target, &[&[("form_token", token.as_str())][..], fields].concat()).await
    }

    async fn sign_in(&mut self, secret: &str) -> Answer {
        let answer = self.post("/console/sign-in", &[("secret", secret), ("next", "/console/agents")]).await;
        if answer.status == 303 {
            self.cookie = Some(answer.header("set-cookie").split(';').next().unwrap().to_owned());
        }
        answer
    }

    /// Registers an agent with a launch token of the operator's.
    async fn agent(&self, name: &str, task: &str) -> AgentId {
        self.agent_with_token(name, task).await.0
    }

    /// Registers an agent; returns its token too.
    async fn agent_with_token(&self, name: &str, task: &str) -> (AgentId, String) {
        let request = LaunchTokenRequest {
            agent_name: name.into(),
            allowed_scope: ScopeSet::parse(["read:data:x"]).unwrap(),
            max_ttl: None,
            single_use: true,
            ttl: Some(30),
            orch_id: None,
            task_id: None,
            sender_constrained: false,
        };
        let (_, secret) = self.services.launch_tokens.issue(Subject::Admin, None, request, CLIENT).await.unwrap();
        let (nonce, key) = (self.services.challenges.issue(), SigningKey::from_bytes(&self.services.issuer.random()));
        let registration = RegistrationRequest {
            launch_token: Some(secret.expose().into()),
            attestation: None,
            nonce: Presented::WellFormed(Hex(nonce)),
            public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
            signature: Presented::WellFormed(Base64(key.sign(&nonce).to_bytes())),
            orch_id: Some(PathSegment::parse("orch").unwrap()),
            task_id: Some(PathSegment::parse(task).unwrap()),
            requested_scope: ScopeSet::parse(["read:data:x"]).unwrap(),
            sender_constrained: false,
        };
        let (id, issued) = self.services.registrations.register(registration, None, CLIENT).await.unwrap();
        (id, issued.access_token)
    }

    async fn is_revoked(&self, agent: &AgentId) -> bool {
        let id = agent.clone();
        let read = self.services.ledger.read(move |reader| Ok::<_, Error>(reader.agent(&id)?));
        read.await.unwrap().unwrap().revoked_at.is_some()
    }

    async fn trail(&self) -> Vec<crate::audit::Event> {
        self.services.ledger.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 1000)?)).await.unwrap()
    }
}

#[tokio::test]
async fn leads_to_sign_in_without_session() {
    let browser = Browser::start().await;
    for page in PAGES {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, 303, "{page}");
        let next = form_urlencoded::byte_serialize(page.as_bytes()).collect::<String>();
        assert_eq!(answer.header("location"), format!("/console/sign-in?next={next}"));
    }
    let answer = browser.post("/console/apps", &[("name", "desk"), ("scopes", "read:data:x")]).await;
    assert_eq!(answer.status, 401);
    assert!(browser.trail().await.is_empty());
}

#[tokio::test]
async fn signs_in_with_admin_secret_under_limit_of_failed_logins() {
    let mut browser = Browser::start().await;
    for _ in 0..10 {
        let answer = browser.sign_in("wrong").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""));
    }
    let answer = browser.sign_in(SECRET).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    browser.clock.advance(Duration::from_secs(60));
    let answer = browser.sign_in(SECRET).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/console/agents"));
    assert!(answer.header("set-cookie").contains("; HttpOnly; SameSite=Strict"), "{}", answer.header("set-cookie"));
    let trail = browser.trail().await;
    let event = trail.iter().find(|event| event.event_type == EventType::AdminAuth).unwrap();
    assert!(event.detail.contains("via=console"), "{}", event.detail);
}

#[tokio::test]
async fn confines_every_page_and_shows_no_token() {
    let browser = Browser::signed_in().await;
    let agent = browser.agent("reader", "task-1").await;
    let of_agent = format!("/console/agent?{}", super::fields::query("id", agent.as_str()));
    for page in PAGES.iter().copied().chain([of_agent.as_str(), "/console/sign-in"]) {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.text);
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{page}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{page}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{page}");
        assert_eq!(answer.header("cache-control"), "no-store", "{page}");
        for forbidden in ["<style", " style=", "onclick", "javascript:", "<script>", "eyJ", "http://", "https://cdn"] {
            assert!(!answer.text.contains(forbidden), "{page}: {forbidden}");
        }
    }
}

#[tokio::test]
async fn rejects_forms_of_other_sites_and_of_other_sessions() {
    let browser = Browser::signed_in().await;
    let token = browser.get("/console/apps").await.form_token();
    let fields = [("form_token", token.as_str()), ("name", "desk"), ("scopes", "read:data:x")];
    let mut form = form_urlencoded::Serializer::new(String::new());
    let form = form.extend_pairs(fields).finish();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    for headers in [
        vec![kind, ("sec-fetch-site", "cross-site")],
        vec![kind, ("sec-fetch-site", "same-site")],
        vec![kind, ("origin", "https://evil.test")],
        vec![kind, ("origin", "null")],
        vec![kind],
    ] {
        let answer = browser.send(Method::POST, "/console/apps", &headers, form.clone()).await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    for token in ["", "another"] {
        let fields = [("form_token", token), ("name", "desk"), ("scopes", "read:data:x")];
        assert_eq!(browser.post("/console/apps", &fields).await.status, 403);
    }
    let json = [("content-type", "text/plain"), ("sec-fetch-site", "same-origin")];
    assert_eq!(browser.send(Method::POST, "/console/apps", &json, form).await.status, 400);
    assert!(browser.trail().await.iter().all(|event| event.event_type != EventType::AppRegistered));
    assert_eq!(browser.post("/console/apps", &fields).await.status, 200);
}

#[tokio::test]
async fn ends_session_after_idle_limit_though_page_refreshes_itself() {
    let browser = Browser::signed_in().await;
    let step = Duration::from_secs(60);
    let mut idle = Duration::ZERO;
    while idle + step < IDLE_LIMIT {
        browser.clock.advance(step);
        idle += step;
        let headers = [("sec-fetch-site", "same-origin"), ("agentwrit-refresh", "1")];
        assert_eq!(browser.send(Method::GET, "/console", &headers, String::new()).await.status, 200);
    }
    browser.clock.advance(step);
    assert_eq!(browser.get("/console").await.status, 303);
}

#[tokio::test]
async fn keeps_session_alive_by_requests_of_operator() {
    let browser = Browser::signed_in().await;
    for _ in 0..4 {
        browser.clock.advance(IDLE_LIMIT.saturating_sub(Duration::from_secs(1)));
        assert_eq!(browser.get("/console").await.status, 200);
    }
}

#[tokio::test]
async fn ends_session_at_sign_out_and_when_operator_is_revoked() {
    let mut browser = Browser::signed_in().await;
    let answer = browser.act("/console", "/console/sign-out", &[]).await;
    assert_eq!(answer.status, 303);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(browser.get("/console").await.status, 303);
    browser.clock.advance(Duration::from_secs(1));
    browser.sign_in(SECRET).await;
    let fields = [("level", "agent"), ("target", "admin")];
    browser.act("/console/revoke", "/console/revoke", &fields).await;
    assert_eq!(browser.get("/console").await.status, 303);
}

#[tokio::test]
async fn shows_what_would_end_before_it_revokes() {
    let browser = Browser::signed_in().await;
    let agent = browser.agent("reader", "task-1").await;
    let query = super::fields::query("target", agent.as_str());
    let preview = browser.get(&format!("/console/revoke?level=agent&{query}")).await;
    assert!(preview.text.contains("<dt>live tokens</dt><dd>1</dd>"), "{}", preview.text);
    assert!(!browser.is_revoked(&agent).await);

    let fields = [("level", "agent"), ("target", agent.as_str()), ("reason", "a test")];
    let done = browser.act("/console/revoke", "/console/revoke", &fields).await;
    assert_eq!(done.status, 303);
    assert!(browser.is_revoked(&agent).await);
    let shown = browser.get(done.header("location")).await;
    assert!(shown.text.contains("No instance of an enrolled verifier reports"), "{}", shown.text);
    let trail = browser.trail().await;
    let event = trail.iter().find(|event| event.event_type == EventType::TokenRevoked).unwrap();
    assert!(event.detail.contains("reason=\"a test\"") && event.detail.contains("via=console"), "{}", event.detail);

    let unknown = browser.get("/console/revoke?level=task&target=no-such-task").await;
    assert!(unknown.text.contains("Nothing matches"));
    assert_eq!(browser.get("/console/revoke?level=x&target=y").await.status, 400);
}

#[tokio::test]
async fn shows_secret_of_app_once_and_changes_its_state() {
    let browser = Browser::signed_in().await;
    let fields = [("name", "desk"), ("scopes", "read:data:* write:notes:x")];
    let created = browser.act("/console/apps", "/console/apps", &fields).await;
    let (_, rest) = created.text.split_once(r#"class="id secret">"#).unwrap();
    let secret = rest.split('<').next().unwrap();
    assert_eq!((secret.len(), created.header("cache-control")), (64, "no-store"));
    let (_, rest) = created.text.split_once("/console/app?id=").unwrap();
    let id = rest.split('"').next().unwrap();
    let page = format!("/console/app?id={id}");
    for (action, status) in [("suspend", "suspended"), ("resume", "active")] {
        let done = browser.act(&page, "/console/app", &[("id", id), ("action", action)]).await;
        assert_eq!((done.status, done.header("location")), (303, page.as_str()));
        assert!(browser.get(&page).await.text.contains(&format!(r#"<span class="tag {status}">{status}</span>"#)));
    }
    let update = [("id", id), ("action", "update"), ("scopes", "read:data:x"), ("token_ttl", "60")];
    assert_eq!(browser.act(&page, "/console/app", &update).await.status, 303);
    let rotate = [("id", id), ("action", "rotate-secret"), ("overlap", "0")];
    let rotated = browser.act(&page, "/console/app", &rotate).await;
    assert!(rotated.text.contains(r#"class="id secret">"#) && !rotated.text.contains(secret));
    let deregister = [("id", id), ("action", "deregister")];
    assert_eq!(browser.act(&page, "/console/app", &deregister).await.status, 303);
    assert!(browser.get(&page).await.text.contains("deregistered, for good"));
    for event in browser.trail().await.iter().filter(|event| event.resource.as_deref() == Some(id)) {
        assert!(event.detail.contains("via=console"), "{}", event.detail);
        assert!(!event.detail.contains(secret));
    }
    for wrong in [("name", "Desk"), ("scopes", "admin:revoke:*"), ("scopes", "read"), ("token_ttl", "59")] {
        let fields = [("name", "desk"), ("scopes", "read:data:x"), wrong];
        let fields: Vec<_> = fields.iter().rev().copied().collect();
        assert_eq!(browser.act("/console/apps", "/console/apps", &fields).await.status, 400, "{wrong:?}");
    }
}

#[tokio::test]
async fn escapes_hostile_text_in_every_page() {
    let browser = Browser::signed_in().await;
    let hostile = "\"><img src=x onerror=alert(1)>\u{202e}'&<script>";
    let issue = [("agent_name", hostile), ("scopes", "read:data:<b>")];
    let issued = browser.act("/console/launch-tokens", "/console/launch-tokens", &issue).await;
    assert_eq!(issued.status, 200, "{}", issued.text);
    let encoded = form_urlencoded::byte_serialize(hostile.as_bytes()).collect::<String>();
    let fields = [("level", "task"), ("target", hostile), ("reason", hostile)];
    browser.act("/console/revoke", "/console/revoke", &fields).await;
    let mut answers = vec![issued];
    for target in [
        "/console/launch-tokens".to_owned(),
        "/console/audit".to_owned(),
        format!("/console/agents?task={encoded}"),
        format!("/console/agents?scope={encoded}"),
        format!("/console/audit?actor={encoded}"),
        format!("/console/revoke?level=task&target={encoded}"),
        format!("/console/confirmation?cursor={encoded}"),
        format!("/console/sign-in?next={encoded}"),
        format!("/console/agent?id={encoded}"),
        format!("/console/app?id={encoded}"),
    ] {
        answers.push(browser.get(&target).await);
    }
    for answer in &answers {
        for tag in ["<img", "<b>", "<script>", "onerror=alert(1)>\""] {
            assert!(!answer.text.contains(tag), "{tag}: {}", answer.text);
        }
    }
    assert!(answers.iter().any(|answer| answer.text.contains("img src=x onerror")), "it is shown, escaped");
}

#[tokio::test]
async fn overview_counts_at_most_once_a_second() {
    let browser = Browser::signed_in().await;
    let agents = async || {
        let overview = browser.get("/console").await.text;
        let (_, rest) = overview.split_once("<dt>live agents</dt><dd><a href=\"/console/agents\">").unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    browser.agent("reader", "task-1").await;
    assert_eq!(agents().await, "1");
    browser.agent("reader", "task-2").await;
    assert_eq!(agents().await, "1");
    browser.clock.advance(super::counts::LIFETIME);
    assert_eq!(agents().await, "2");
}

#[tokio::test]
async fn issues_and_deletes_launch_token() {
    let browser = Browser::signed_in().await;
    let issue = [("agent_name", "reader"), ("scopes", "read:data:x"), ("ttl", "600"), ("task_id", "task-1")];
    let page = "/console/launch-tokens";
    let issued = browser.act(page, page, &issue).await;
    assert!(issued.text.contains("Launch token issued"));
    let listed = browser.get(page).await;
    let (_, rest) = listed.text.split_once(r#"name="id" value=""#).unwrap();
    let id = rest.split('"').next().unwrap();
    assert_eq!(browser.act(page, "/console/launch-tokens/delete", &[("id", id)]).await.status, 303);
    assert!(!browser.get(page).await.text.contains(id));
    for wrong in [("ttl", "0"), ("ttl", "3601"), ("max_ttl", "86401"), ("task_id", "a/b"), ("agent_name", "")] {
        let fields: Vec<_> = [wrong, ("agent_name", "reader"), ("scopes", "read:data:x")]
            .into_iter()
            .filter(|(name, value)| wrong == (*name, *value) || *name != wrong.0)
            .collect();
        assert_eq!(browser.act(page, page, &fields).await.status, 400, "{wrong:?}");
    }
}

#[tokio::test]
async fn rotates_and_withdraws_keys() {
    let browser = Browser::signed_in().await;
    let keys = "/console/keys";
    assert_eq!(browser.act(keys, keys, &[("action", "rotate"), ("reason", "quarterly")]).await.status, 303);
    let listed = browser.get(keys).await;
    assert!(listed.text.contains(r#"<span class="tag prepared">prepared</span>"#), "{}", listed.text);
    let (_, rest) = listed.text.split_once(r#"name="kid" value=""#).unwrap();
    let kid = rest.split('"').next().unwrap();
    let withdraw = [("action", "withdraw"), ("kid", kid)];
    assert_eq!(browser.act(keys, keys, &withdraw).await.status, 400, "not confirmed");
    let withdraw = [("action", "withdraw"), ("kid", kid), ("confirm", kid)];
    assert_eq!(browser.act(keys, keys, &withdraw).await.status, 303);
    assert!(browser.get(keys).await.text.contains(r#"<span class="tag withdrawn">withdrawn</span>"#));
}

#[tokio::test]
async fn verifies_trail_and_shows_newest_events_first() {
    let browser = Browser::signed_in().await;
    for number in 0..40 {
        browser.agent("reader", &format!("task-{number}")).await;
    }
    let newest = browser.get("/console/audit").await;
    let total = browser.trail().await.len();
    assert!(newest.text.contains(&format!("Matching events: {total}<")), "{total}");
    assert!(newest.text.find("task-39").unwrap() < newest.text.find("task-20").unwrap());
    assert!(newest.text.contains("skip=100"));
    let filtered = browser.get("/console/audit?task=task-3&type=agent_registered&outcome=success").await;
    assert!(filtered.text.contains("Matching events: 1<"), "{}", filtered.text);
    let exported = browser.get("/console/audit/export?type=agent_registered&skip=").await;
    assert_eq!((exported.text.lines().count(), exported.header("content-type")), (40, "application/jsonl"));
    let last: serde_json::Value = serde_json::from_str(exported.text.lines().last().unwrap()).unwrap();
    assert_eq!(last["task_id"], "task-39");
    let verdict = browser.act("/console/audit", "/console/audit/verify", &[]).await;
    assert!(verdict.text.contains(&format!("The newest {total} of {total} events")), "{}", verdict.text);
}

//! Issuer of the assertions, and registrations with them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use agentwrit_e2e::{Broker, Registration, Response};
use identity_provider::{Algorithm, IdentityProvider, SigningKey};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Scope of the agents.
pub(crate) const SCOPE: &str = "read:records:*";

/// Identity provider with one key.
pub(crate) struct Issuer {
    pub(crate) provider: IdentityProvider,
    pub(crate) key: SigningKey,
    issued: AtomicU64,
}

impl Issuer {
    pub(crate) fn start(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm, "key-1");
        Self { provider: IdentityProvider::start([&key]), key, issued: AtomicU64::new(0) }
    }

    pub(crate) fn url(&self) -> String {
        self.provider.issuer()
    }

    /// Claims of a CI job's ID token, each time another one.
    pub(crate) fn claims(&self) -> Value {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let now = now();
        json!({
            "iss": self.url(), "aud": "agentwrit", "sub": "repo:acme/api:ref:refs/heads/main",
            "repository": "acme/api", "ref": "refs/heads/main", "run_id": "7", "jti": format!("token-{number}"),
            "iat": now, "nbf": now, "exp": now + 300,
        })
    }

    /// An ID token.
    pub(crate) fn token(&self) -> String {
        self.key.token(&self.claims())
    }

    /// An ID token with other values of these claims; `null` removes one.
    pub(crate) fn token_with(&self, other: &Value) -> String {
        let mut claims = self.claims();
        let members = claims.as_object_mut().unwrap();
        for (name, value) in other.as_object().unwrap().clone() {
            if value.is_null() {
                members.remove(&name)
            } else {
                members.insert(name, value)
            };
        }
        self.key.token(&claims)
    }

    /// Body of a rule for the jobs of a repository.
    pub(crate) fn rule(&self, name: &str, app_id: &str) -> Value {
        json!({
            "name": name, "app_id": app_id, "kind": "oidc", "issuer": self.url(), "jwks_url": self.provider.keys_url(),
            "audience": "agentwrit",
            "claims": {"repository": {"equals": "acme/api"}, "ref": {"prefix": "refs/heads/"}},
            "allowed_scope": [SCOPE], "max_ttl": 300,
            "orch_template": "{repository}", "task_template": "run-{run_id}",
        })
    }

    /// Adds a rule for a new app. Returns the rule's id.
    pub(crate) async fn trusted_by(&self, broker: &Broker, admin: &str) -> String {
        let app = broker.create_app(admin, "ci-jobs", &["read:records:*"]).await;
        add_rule(broker, admin, &self.rule("ci", &app.app_id)).await
    }
}

/// Adds a trust rule. Returns its id.
pub(crate) async fn add_rule(broker: &Broker, admin: &str, rule: &Value) -> String {
    let added = broker.post("/v1/admin/trust-rules").bearer(admin).json(rule).await;
    assert_eq!(added.status, 201, "{}", String::from_utf8_lossy(&added.body));
    added.json()["trust_rule_id"].as_str().unwrap().to_owned()
}

/// Registers an agent with an assertion.
pub(crate) async fn register(broker: &Broker, kind: &str, token: &str) -> Response {
    register_with(broker, kind, token, &json!({})).await
}

/// Registers an agent with an assertion and other members of the request.
pub(crate) async fn register_with(broker: &Broker, kind: &str, token: &str, members: &Value) -> Response {
    let mut registration = Registration::new("", &broker.nonce().await, &[SCOPE]).0;
    let body = registration.as_object_mut().unwrap();
    for pinned in ["launch_token", "orch_id", "task_id"] {
        body.remove(pinned);
    }
    body.insert("attestation".into(), json!({"kind": kind, "token": token}));
    body.extend(members.as_object().unwrap().clone());
    broker.post("/v1/register").json(&registration).await
}

/// Details of the events of a type, oldest first.
pub(crate) async fn details(broker: &Broker, admin: &str, event_type: &str) -> Vec<String> {
    let events = broker.get(&format!("/v1/audit/events?event_type={event_type}")).bearer(admin).await.json();
    let detail = |event: &Value| event["detail"].as_str().unwrap().to_owned();
    events["events"].as_array().unwrap().iter().map(detail).collect()
}

/// Waits for more than `count` refused attestations in the trail, which are written within a second. Returns their details.
pub(crate) async fn refusals_after(count: usize, broker: &Broker, admin: &str) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let refusals = details(broker, admin, "attestation_failed").await;
        if refusals.len() > count {
            return refusals;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{refusals:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Time in seconds, by the clock that the broker reads.
#[expect(clippy::disallowed_methods, reason = "the broker is another process")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

//! The steps from the admin secret to a registered agent, one by one.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::{ADMIN_SECRET, Broker, Response};

/// An app as the operator hands it out.
#[derive(Clone, Debug)]
pub struct AppCredentials {
    /// `app-<name>-<6 hex>`
    pub app_id: String,
    /// Id that it authenticates as.
    pub client_id: String,
    /// Secret that it authenticates with.
    pub client_secret: String,
}

/// An agent's key.
#[derive(Clone, Debug)]
pub struct Key(SigningKey);

/// The body of a registration; its parts can be replaced.
#[derive(Clone, Debug)]
pub struct Registration(pub Value);

impl Broker {
    /// A token of the operator.
    pub async fn admin_token(&self) -> String {
        let answer = self.post("/v1/admin/auth").json(&json!({"secret": ADMIN_SECRET})).await;
        text(&answer, 200, "access_token")
    }

    /// A new app.
    pub async fn create_app(&self, admin: &str, name: &str, scopes: &[&str]) -> AppCredentials {
        let answer = self.post("/v1/admin/apps").bearer(admin).json(&json!({"name": name, "scopes": scopes})).await;
        AppCredentials {
            app_id: text(&answer, 201, "app_id"),
            client_id: text(&answer, 201, "client_id"),
            client_secret: text(&answer, 201, "client_secret"),
        }
    }

    /// A token of the app.
    pub async fn app_token(&self, app: &AppCredentials) -> String {
        let body = json!({"client_id": app.client_id, "client_secret": app.client_secret});
        text(&self.post("/v1/app/auth").json(&body).await, 200, "access_token")
    }

    /// A launch token of no app, with the defaults.
    pub async fn launch_token(&self, admin: &str, scopes: &[&str]) -> String {
        let body = json!({"agent_name": "a test", "allowed_scope": scopes});
        text(&self.post("/v1/admin/launch-tokens").bearer(admin).json(&body).await, 201, "launch_token")
    }

    /// A nonce.
    pub async fn nonce(&self) -> String {
        text(&self.get("/v1/challenge").await, 200, "nonce")
    }

    /// A registration that the broker will accept: orchestration `orch-1`, task `task-1`, for `scopes`.
    pub async fn registration(&self, admin: &str, scopes: &[&str]) -> Registration {
        let launch_token = self.launch_token(admin, scopes).await;
        Registration::new(&launch_token, &self.nonce().await, scopes)
    }

    /// The token of a new agent, and its id.
    pub async fn agent(&self, admin: &str, scopes: &[&str]) -> (String, String) {
        let registration = self.registration(admin, scopes).await;
        let answer = self.post("/v1/register").json(&registration.0).await;
        (text(&answer, 200, "access_token"), text(&answer, 200, "agent_id"))
    }

    /// How many events the audit trail holds.
    pub async fn audit_events(&self) -> u64 {
        self.get("/v1/health").await.json()["audit_events_count"].as_u64().unwrap()
    }
}

impl Registration {
    /// A registration with a new key.
    #[must_use]
    pub fn new(launch_token: &str, nonce: &str, scopes: &[&str]) -> Self {
        Self(json!({
            "launch_token": launch_token, "orch_id": "orch-1", "task_id": "task-1", "requested_scope": scopes,
        }))
        .signed(&Key::generate(), nonce)
    }

    /// With this nonce, signed by this key.
    #[must_use]
    pub fn signed(self, key: &Key, nonce: &str) -> Self {
        let bytes = HEXLOWER.decode(nonce.as_bytes()).unwrap();
        self.with("nonce", json!(nonce))
            .with("public_key", json!(BASE64.encode(&key.public())))
            .with("signature", json!(BASE64.encode(&key.sign(&bytes))))
    }

    /// With another value in one field.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }
}

impl Key {
    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Self(SigningKey::from_bytes(&seed))
    }

    /// This key.
    pub(crate) fn of(key: SigningKey) -> Self {
        Self(key)
    }

    /// The raw public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// A signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Header of a token, signature unchecked.
#[must_use]
pub fn protected_header(token: &str) -> Value {
    part(token, 0)
}

/// Claims of a token, signature unchecked.
#[must_use]
pub fn payload(token: &str) -> Value {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Value {
    let encoded = token.split('.').nth(index).expect("a compact JWS");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(encoded.as_bytes()).unwrap()).unwrap()
}

#[track_caller]
fn text(answer: &Response, status: u16, member: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {}", answer.json())).to_owned()
}

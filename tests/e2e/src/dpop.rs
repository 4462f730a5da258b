//! An agent that signs proofs of its key (RFC 9449).

use std::time::Duration;

use agentwrit_verify::{Clock, PublicKey, SystemClock, proof::ProofRequest};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::{Broker, Registration, Response, registration::Key};

/// An agent with its key and the token that it holds.
#[derive(Clone, Debug)]
pub struct DpopAgent {
    /// Its SPIFFE id.
    pub id: String,
    /// Its token.
    pub token: String,
    key: SigningKey,
}

impl DpopAgent {
    /// Returns an agent with a new key, without id and token.
    #[must_use]
    pub fn unregistered() -> Self {
        Self { id: String::new(), token: String::new(), key: SigningKey::from_bytes(&random()) }
    }

    /// Registers an agent for all of the `allowed_scope` of `launch`, the body of the request for its launch token.
    pub async fn register(broker: &Broker, admin: &str, task: &str, mut launch: Value) -> Self {
        launch["agent_name"] = json!("a test");
        let issued = broker.post("/v1/admin/launch-tokens").bearer(admin).json(&launch).await;
        assert_eq!(issued.status, 201, "{}", String::from_utf8_lossy(&issued.body));
        let issued = issued.json();
        let agent = Self::unregistered();
        let mut body = agent.registration(issued["launch_token"].as_str().unwrap(), &broker.nonce().await, &[]);
        body["task_id"] = json!(task);
        body["requested_scope"] = launch["allowed_scope"].clone();
        let registered = broker.post("/v1/register").json(&body).await;
        assert_eq!(registered.status, 200, "{}", String::from_utf8_lossy(&registered.body));
        let registered = registered.json();
        let text = |member: &str| registered[member].as_str().unwrap().to_owned();
        Self { id: text("agent_id"), token: text("access_token"), ..agent }
    }

    /// Returns the same agent with another token in hand.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Returns the body of a registration with this key.
    #[must_use]
    pub fn registration(&self, launch_token: &str, nonce: &str, scopes: &[&str]) -> Value {
        Registration::new(launch_token, nonce, scopes).signed(&Key::of(self.key.clone()), nonce).0
    }

    /// Returns the thumbprint of the key, as `jkt` contains it.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        PublicKey::from_bytes(self.key.verifying_key().as_bytes()).unwrap().thumbprint().to_string()
    }

    /// Signs a proof for a request with the agent's token.
    #[must_use]
    pub fn proof(&self, method: &str, url: &str, nonce: Option<&str>) -> String {
        self.proof_of(&self.token, method, url, nonce)
    }

    /// Signs a proof for a request with this token.
    #[must_use]
    pub fn proof_of(&self, token: &str, method: &str, url: &str, nonce: Option<&str>) -> String {
        let proof = ProofRequest::new(method, url, SystemClock.now(), random()).access_token(token);
        match nonce {
            Some(nonce) => proof.nonce(nonce).sign(&self.key),
            None => proof.sign(&self.key),
        }
    }

    /// Signs a proof for a request without a token.
    #[must_use]
    pub fn bare_proof(&self, method: &str, url: &str, nonce: Option<&str>) -> String {
        let proof = ProofRequest::new(method, url, SystemClock.now(), random());
        match nonce {
            Some(nonce) => proof.nonce(nonce).sign(&self.key),
            None => proof.sign(&self.key),
        }
    }

    /// Signs a proof that was made before the broker started.
    #[must_use]
    pub fn old_proof(&self, method: &str, url: &str, age: Duration) -> String {
        let made_at = SystemClock.now().saturating_sub(age);
        ProofRequest::new(method, url, made_at, random()).access_token(&self.token).sign(&self.key)
    }

    /// Returns the nonce that the broker demands, if it does: for some seconds after its start.
    pub async fn nonce(&self, broker: &Broker) -> Option<String> {
        self.nonce_as(broker, &format!("{}/v1/delegate", broker.url)).await
    }

    /// Does as [`nonce`](Self::nonce) at a broker that clients reach by another URL: that of `/v1/delegate`.
    pub async fn nonce_as(&self, broker: &Broker, url: &str) -> Option<String> {
        // Without a body it has no effect, whether the proof is accepted or not.
        let proof = self.proof("POST", url, None);
        let request = broker.post("/v1/delegate").header("authorization", &format!("DPoP {}", self.token));
        request.header("dpop", &proof).await.header("dpop-nonce").map(str::to_owned)
    }

    /// Sends a `POST` with the token and a proof, and once more when the broker demands a nonce.
    pub async fn send(&self, broker: &Broker, path: &str, body: Option<&Value>) -> Response {
        self.send_as(broker, path, &format!("{}{path}", broker.url), body).await
    }

    /// Does as [`send`](Self::send), with proofs for another URL than the request's.
    pub async fn send_as(&self, broker: &Broker, path: &str, url: &str, body: Option<&Value>) -> Response {
        let send = |proof: String| {
            let request = broker.post(path).header("authorization", &format!("DPoP {}", self.token));
            let request = request.header("dpop", &proof);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        let response = send(self.proof("POST", url, None)).await;
        match response.header("dpop-nonce") {
            Some(nonce) => send(self.proof("POST", url, Some(nonce))).await,
            None => response,
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

//! Requests of an operator and of agents.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    http::{Connection, Request, Response},
    scenario::LoadError,
    tally::Tally,
    target::Target,
};

/// Scope of every agent of this tool.
pub(crate) const SCOPE: &str = "read:data:*";

/// Operator, whose token is replaced before it expires.
#[derive(Debug)]
pub(crate) struct Operator {
    secret: String,
    login: Mutex<Login>,
}

#[derive(Debug)]
struct Login {
    connection: Connection,
    token: Option<(Rc<str>, Instant)>,
}

impl Operator {
    pub(crate) fn new(target: &Target, secret: &str) -> Self {
        let login = Mutex::new(Login { connection: Connection::new(target), token: None });
        Self { secret: secret.to_owned(), login }
    }

    pub(crate) async fn token(&self) -> Result<Rc<str>, LoadError> {
        #[derive(Deserialize)]
        struct Body {
            access_token: String,
            expires_in: u64,
        }
        let mut login = self.login.lock().await;
        if let Some((token, _)) = login.token.as_ref().filter(|(_, until)| Instant::now() < *until) {
            return Ok(Rc::clone(token));
        }
        let body = json!({ "secret": self.secret }).to_string();
        let request = Request { method: "POST", path: "/v1/admin/auth", body: Some(&body), ..Request::default() };
        let response: Body = read(request, &login.connection.send(request).await?, 200)?;
        let token: Rc<str> = response.access_token.into();
        // Half of its lifetime remains for its users.
        login.token = Some((Rc::clone(&token), Instant::now() + Duration::from_secs(response.expires_in) / 2));
        Ok(token)
    }
}

/// Client with its own connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) connection: Connection,
    operator: Rc<Operator>,
}

/// Result of a registration.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Agent {
    pub(crate) access_token: String,
}

/// Settings of a launch token beside [`SCOPE`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'l> {
    /// Lifetime of the agent's tokens, in seconds.
    pub(crate) max_ttl: u64,
    pub(crate) task_id: &'l str,
}

impl Client {
    pub(crate) fn new(target: &Target, operator: &Rc<Operator>) -> Self {
        Self { connection: Connection::new(target), operator: Rc::clone(operator) }
    }

    /// Runs a full registration: launch token, challenge, signature by a new key, registration.
    pub(crate) async fn register(&mut self, launch: Launch<'_>, tally: &mut Tally) -> Result<Agent, LoadError> {
        let started = Instant::now();
        let operator = self.operator.token().await?;
        let launch_token = tally.time("launch token", self.launch_token(&operator, launch)).await?;
        let nonce = tally.time("challenge", self.nonce()).await?;
        let body = registration(&launch_token, &nonce, launch.task_id)?;
        let agent = tally.time("register", self.post("/v1/register", None, &body, 200)).await?;
        tally.record("full registration", started.elapsed());
        Ok(agent)
    }

    async fn launch_token(&mut self, operator: &str, launch: Launch<'_>) -> Result<String, LoadError> {
        #[derive(Deserialize)]
        struct Body {
            launch_token: String,
        }
        let max_ttl = launch.max_ttl;
        let body = format!(
            r#"{{"agent_name":"load","allowed_scope":["{SCOPE}"],"max_ttl":{max_ttl},"single_use":true,"ttl":60}}"#
        );
        let response: Body = self.post("/v1/admin/launch-tokens", Some(operator), &body, 201).await?;
        Ok(response.launch_token)
    }

    async fn nonce(&mut self) -> Result<String, LoadError> {
        #[derive(Deserialize)]
        struct Body {
            nonce: String,
        }
        let response: Body = self.get("/v1/challenge").await?;
        Ok(response.nonce)
    }

    pub(crate) async fn health(&mut self) -> Result<(), LoadError> {
        let _: serde::de::IgnoredAny = self.get("/v1/health").await?;
        Ok(())
    }

    /// Validates a token that is valid.
    pub(crate) async fn validate(&mut self, token: &str) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Body {
            valid: bool,
        }
        let response: Body = self.post("/v1/token/validate", None, &format!(r#"{{"token":"{token}"}}"#), 200).await?;
        if response.valid { Ok(()) } else { Err(LoadError::Invalid) }
    }

    /// Renews a token.
    pub(crate) async fn renew(&mut self, token: &str) -> Result<String, LoadError> {
        let request = Request { method: "POST", path: "/v1/token/renew", token: Some(token), body: None };
        let agent: Agent = read(request, &self.connection.send(request).await?, 200)?;
        Ok(agent.access_token)
    }

    /// Revokes the tokens of a task.
    pub(crate) async fn revoke_task(&mut self, task_id: &str) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Body {
            count: u64,
        }
        let operator = self.operator.token().await?;
        let body = format!(r#"{{"level":"task","target":"{task_id}"}}"#);
        let response: Body = self.post("/v1/revoke", Some(&operator), &body, 200).await?;
        if response.count > 0 { Ok(()) } else { Err(LoadError::NothingRevoked) }
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, LoadError> {
        let request = Request { method: "GET", path, ..Request::default() };
        read(request, &self.connection.send(request).await?, 200)
    }

    async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: &str,
        expected: u16,
    ) -> Result<T, LoadError> {
        let request = Request { method: "POST", path, token, body: Some(body) };
        read(request, &self.connection.send(request).await?, expected)
    }
}

fn read<T: DeserializeOwned>(request: Request<'_>, response: &Response, expected: u16) -> Result<T, LoadError> {
    let unexpected = || LoadError::unexpected(request.path, response);
    if response.status != expected {
        return Err(unexpected());
    }
    serde_json::from_slice(&response.body).map_err(|_| unexpected())
}

/// Returns the body of a registration with a new key and its signature of the nonce. Its texts need no escapes.
pub(crate) fn registration(launch_token: &str, nonce: &str, task_id: &str) -> Result<String, LoadError> {
    let key = SigningKey::from_bytes(&random()?);
    let bytes = HEXLOWER.decode(nonce.as_bytes()).map_err(|_| LoadError::BadNonce)?;
    let public_key = BASE64.encode(key.verifying_key().as_bytes());
    let signature = BASE64.encode(&key.sign(&bytes).to_bytes());
    Ok(format!(
        r#"{{"launch_token":"{launch_token}","nonce":"{nonce}","public_key":"{public_key}","signature":"{signature}","orch_id":"load","task_id":"{task_id}","requested_scope":["{SCOPE}"]}}"#
    ))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], LoadError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| LoadError::Runtime { cause: error.to_string() })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, VerifyingKey};
    use serde_json::Value;

    use super::*;

    #[test]
    fn registration_signs_nonce_bytes_with_new_key() {
        let nonce = "0f".repeat(32);
        let body: Value = serde_json::from_str(&registration("lt", &nonce, "task").unwrap()).unwrap();
        let decoded = |member: &str| BASE64.decode(body[member].as_str().unwrap().as_bytes()).unwrap();
        let key = VerifyingKey::from_bytes(&decoded("public_key").try_into().unwrap()).unwrap();
        let signature = Signature::from_bytes(&decoded("signature").try_into().unwrap());
        assert!(key.verify_strict(&[0x0f; 32], &signature).is_ok());
        let other: Value = serde_json::from_str(&registration("lt", &nonce, "task").unwrap()).unwrap();
        assert_ne!(body["public_key"], other["public_key"]);
    }
}

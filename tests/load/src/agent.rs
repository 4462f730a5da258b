//! Requests of an operator and of agents.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use agentwrit_protocol::{
    AdminAuthRequest, AuthResponse, Base64, ChallengeResponse, LaunchTokenRequest, LaunchTokenResponse, Nonce,
    Presented, RegistrationRequest, RegistrationResponse, RenewalResponse, RevocationRequest, RevocationResponse,
    RevocationTarget, Secret, ValidationRequest, ValidationResponse, VerifierEnrolmentRequest, paths,
};
use agentwrit_verify::{PathSegment, ScopeSet, report::VerifierName};
use ed25519_dalek::{Signer, SigningKey};
use serde::{Serialize, de::DeserializeOwned};
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
        let mut login = self.login.lock().await;
        if let Some((token, _)) = login.token.as_ref().filter(|(_, until)| Instant::now() < *until) {
            return Ok(Rc::clone(token));
        }
        let body = encode(&AdminAuthRequest { secret: self.secret.as_str().into() })?;
        let request = Request { method: "POST", path: paths::ADMIN_AUTH, body: Some(&body), ..Request::default() };
        let response: AuthResponse = read(request, &login.connection.send(request).await?, 200)?;
        let token: Rc<str> = response.access_token.expose().into();
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
#[derive(Clone, Debug)]
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
        let body = registration(&launch_token, nonce, launch.task_id)?;
        let response: RegistrationResponse =
            tally.time("register", self.post(paths::REGISTER, None, &body, 200)).await?;
        tally.record("full registration", started.elapsed());
        Ok(Agent { access_token: response.access_token.expose().to_owned() })
    }

    async fn launch_token(&mut self, operator: &str, launch: Launch<'_>) -> Result<Secret, LoadError> {
        let request = LaunchTokenRequest {
            agent_name: String::from("load"),
            allowed_scope: scopes()?,
            max_ttl: Some(launch.max_ttl),
            single_use: true,
            ttl: Some(60),
            orch_id: None,
            task_id: None,
            sender_constrained: false,
        };
        let response: LaunchTokenResponse =
            self.post(paths::ADMIN_LAUNCH_TOKENS, Some(operator), &encode(&request)?, 201).await?;
        Ok(response.launch_token)
    }

    async fn nonce(&mut self) -> Result<Nonce, LoadError> {
        let response: ChallengeResponse = self.get(paths::CHALLENGE).await?;
        Ok(response.nonce)
    }

    pub(crate) async fn health(&mut self) -> Result<(), LoadError> {
        let _: serde::de::IgnoredAny = self.get(paths::HEALTH).await?;
        Ok(())
    }

    /// Validates a token that is valid.
    pub(crate) async fn validate(&mut self, token: &str) -> Result<(), LoadError> {
        let body = encode(&ValidationRequest { token: Secret::from(token).into() })?;
        let response: ValidationResponse = self.post(paths::TOKEN_VALIDATE, None, &body, 200).await?;
        if response.valid { Ok(()) } else { Err(LoadError::Invalid) }
    }

    /// Renews a token.
    pub(crate) async fn renew(&mut self, token: &str) -> Result<String, LoadError> {
        let request = Request { method: "POST", path: paths::TOKEN_RENEW, token: Some(token), body: None };
        let response: RenewalResponse = read(request, &self.connection.send(request).await?, 200)?;
        Ok(response.access_token.expose().to_owned())
    }

    /// Revokes the tokens of a task.
    pub(crate) async fn revoke_task(&mut self, task_id: &str) -> Result<(), LoadError> {
        let operator = self.operator.token().await?;
        let body = encode(&RevocationRequest::new(RevocationTarget::Task(segment(task_id)?), None))?;
        let response: RevocationResponse = self.post(paths::REVOKE, Some(&operator), &body, 200).await?;
        if response.count > 0 { Ok(()) } else { Err(LoadError::NothingRevoked) }
    }

    /// Enrols a verifier.
    pub(crate) async fn enrol_verifier(&mut self, name: &VerifierName, public_key: [u8; 32]) -> Result<(), LoadError> {
        let operator = self.operator.token().await?;
        let request = VerifierEnrolmentRequest { name: name.clone(), public_key: Base64(public_key), max_bound: None };
        let _: serde::de::IgnoredAny =
            self.post(paths::ADMIN_VERIFIERS, Some(&operator), &encode(&request)?, 201).await?;
        Ok(())
    }

    /// Sends a report of a verifier.
    pub(crate) async fn report(&mut self, text: &str) -> Result<(), LoadError> {
        let path = paths::VERIFIER_REPORTS;
        let response = self.connection.send(Request { method: "POST", path, token: None, body: Some(text) }).await?;
        if response.status == 204 { Ok(()) } else { Err(LoadError::unexpected(path, &response)) }
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

/// Returns the body of a registration with a new key and its signature of the nonce.
pub(crate) fn registration(launch_token: &Secret, nonce: Nonce, task_id: &str) -> Result<String, LoadError> {
    let key = SigningKey::from_bytes(&random()?);
    encode(&RegistrationRequest {
        launch_token: Some(launch_token.clone()),
        attestation: None,
        nonce: nonce.into(),
        public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
        signature: Presented::WellFormed(Base64(key.sign(&nonce.0).to_bytes())),
        orch_id: Some(segment("load")?),
        task_id: Some(segment(task_id)?),
        requested_scope: scopes()?,
        sender_constrained: false,
    })
}

fn encode(request: &impl Serialize) -> Result<String, LoadError> {
    serde_json::to_string(request).map_err(|error| LoadError::Runtime { cause: error.to_string() })
}

fn scopes() -> Result<ScopeSet, LoadError> {
    ScopeSet::parse([SCOPE]).map_err(|error| LoadError::Runtime { cause: error.to_string() })
}

fn segment(text: &str) -> Result<PathSegment, LoadError> {
    PathSegment::parse(text).map_err(|error| LoadError::Runtime { cause: error.to_string() })
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], LoadError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| LoadError::Runtime { cause: error.to_string() })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use agentwrit_protocol::JsonRequest;
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    #[test]
    fn registration_signs_nonce_bytes_with_new_key() {
        let register = || {
            let body = registration(&"lt".into(), agentwrit_protocol::Hex([0x0f; 32]), "task").unwrap();
            let request = RegistrationRequest::from_json(body.as_bytes()).unwrap();
            (request.public_key.well_formed().unwrap(), request.signature.well_formed().unwrap())
        };
        let (Base64(public_key), Base64(signature)) = register();
        let key = VerifyingKey::from_bytes(&public_key).unwrap();
        assert!(key.verify_strict(&[0x0f; 32], &Signature::from_bytes(&signature)).is_ok());
        assert_ne!(register().0, Base64(public_key));
    }
}

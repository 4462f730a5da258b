//! Credentials of requests: a bearer token, or a token that is bound to a key and needs a proof (RFC 9449).
//!
//! 1. A bound token is sent with the scheme `DPoP` and a proof, never as a bearer token (RFC 9449 §7.2).
//! 2. Each attempt of a request has a proof of its own, with a fresh `jti`: a server rejects a proof that it has seen
//!    (§11.1).
//! 3. A nonce (§9), and the difference of a server's clock, are taken from the responses of an origin and used for that
//!    origin only. A request that was rejected for one of them is sent once more, where that is possible.
//! 4. A difference of more than ten minutes is not corrected: proofs for a later time could be used then (§11.2).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::Secret;
use agentwrit_verify::{Clock, UnixTime, proof::ProofRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;

use crate::{agent_key::AgentKey, error::ClientError};

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Maximum length of a nonce that is kept.
const MAX_NONCE: usize = 512;

/// Maximum number of origins of which something is kept; beyond it, all are learnt again.
const MAX_ORIGINS: usize = 256;

/// Difference between clocks that needs no correction: servers accept a proof for a minute.
const CLOCK_TOLERANCE: u64 = 5;

/// Largest difference between clocks that is corrected.
const MAX_CLOCK_OFFSET: u64 = 600;

/// Credentials of one request: the `Authorization` header and, for a bound token, the key that signs the proofs.
#[derive(Clone)]
pub struct RequestCredentials {
    authorization: HeaderValue,
    prover: Option<Arc<Prover>>,
}

impl RequestCredentials {
    /// Credentials that are sent as they are: the value of the `Authorization` header.
    #[must_use]
    pub fn new(mut authorization: HeaderValue) -> Self {
        authorization.set_sensitive(true);
        Self { authorization, prover: None }
    }

    pub(crate) fn with_proofs(authorization: HeaderValue, prover: Option<Arc<Prover>>) -> Self {
        Self { prover, ..Self::new(authorization) }
    }

    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Adds the headers of one attempt of a request to `target`.
    pub(crate) fn add_to(
        &self,
        headers: &mut HeaderMap,
        method: &Method,
        target: &ProofTarget,
    ) -> Result<Attempt, ClientError> {
        let proof = match &self.prover {
            Some(prover) => {
                let used = prover.origins.state(&target.origin);
                headers.insert(DPOP, prover.sign(method, target, &used)?);
                Some(SentProof { prover: Arc::clone(prover), origin: target.origin.clone(), used })
            }
            None => None,
        };
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        Ok(Attempt { proof })
    }
}

impl fmt::Debug for RequestCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestCredentials").field("bound", &self.prover.is_some()).finish_non_exhaustive()
    }
}

/// Target of a request, as a proof names it.
pub(crate) struct ProofTarget {
    /// Scheme, host and port.
    origin: String,
    /// The target URI without query and fragment (RFC 9449 §4.2).
    htu: String,
}

impl ProofTarget {
    /// Takes the parts of an absolute URL, as they are sent.
    pub(crate) fn new(scheme: &str, host: &str, port: Option<u16>, path: &str) -> Self {
        let origin = port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}"));
        let htu = format!("{origin}{}", if path.is_empty() { "/" } else { path });
        Self { origin, htu }
    }

    pub(crate) fn of_url(url: &Url) -> Self {
        Self::new(url.scheme(), url.host_str().unwrap_or_default(), url.port(), url.path())
    }
}

/// Signer of the proofs for one token.
pub(crate) struct Prover {
    key: AgentKey,
    token: Secret,
    clock: Arc<dyn Clock>,
    origins: Arc<OriginStates>,
}

impl Prover {
    pub(crate) fn new(key: AgentKey, token: Secret, clock: Arc<dyn Clock>, origins: Arc<OriginStates>) -> Self {
        Self { key, token, clock, origins }
    }

    fn sign(&self, method: &Method, target: &ProofTarget, state: &OriginState) -> Result<HeaderValue, ClientError> {
        let mut jti = [0_u8; 16];
        getrandom::fill(&mut jti).map_err(|error| ClientError::NoRandomness { reason: error.to_string() })?;
        let issued_at = UnixTime::from_seconds(self.clock.now().seconds().saturating_add_signed(state.clock_offset));
        let mut request =
            ProofRequest::new(method.as_str(), &target.htu, issued_at, jti).access_token(self.token.expose());
        if let Some(nonce) = &state.nonce {
            request = request.nonce(nonce);
        }
        let proof = self.key.sign_proof(&request);
        HeaderValue::try_from(proof).map_err(|error| ClientError::invalid("proof", &error))
    }
}

/// One attempt of a request.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    proof: Option<SentProof>,
}

struct SentProof {
    prover: Arc<Prover>,
    origin: String,
    used: OriginState,
}

impl fmt::Debug for SentProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentProof").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Attempt {
    /// Takes the nonce and the clock of a response.
    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap) -> ProofStatus {
        let Some(SentProof { prover, origin, used }) = &self.proof else { return ProofStatus::Current };
        let rejected_for = |error: &str| {
            let challenges = headers.get_all(header::WWW_AUTHENTICATE).into_iter();
            let mut challenges = challenges.filter_map(|challenge| challenge.to_str().ok());
            status == StatusCode::UNAUTHORIZED && challenges.any(|challenge| challenge.contains(error))
        };
        let mut learnt = used.clone();
        if let Some(nonce) = headers.get(DPOP_NONCE).and_then(|nonce| nonce.to_str().ok())
            && (1..=MAX_NONCE).contains(&nonce.len())
        {
            learnt.nonce = Some(nonce.into());
        }
        let mut status = ProofStatus::Current;
        if rejected_for("invalid_dpop_proof")
            && let Some(offset) = clock_offset(headers, prover.clock.now())
            && offset.abs_diff(used.clock_offset) > CLOCK_TOLERANCE
        {
            if offset.unsigned_abs() > MAX_CLOCK_OFFSET {
                tracing::warn!(
                    origin,
                    seconds_ahead = offset,
                    "server's clock differs too much: set this machine's clock"
                );
                status = ProofStatus::ClockTooFar { seconds_ahead: offset };
            } else {
                learnt.clock_offset = offset;
                status = ProofStatus::Outdated;
            }
        }
        if learnt != *used {
            if rejected_for("use_dpop_nonce") {
                status = ProofStatus::Outdated;
            }
            prover.origins.update(origin, learnt);
        }
        status
    }
}

/// Judgement of a response on the proof of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProofStatus {
    /// Another proof would make no difference.
    #[default]
    Current,
    /// The server rejected the proof for its nonce or its time, and processed nothing: another attempt has another proof.
    Outdated,
    /// The server rejected the proof, and its clock differs by more than is corrected.
    ClockTooFar {
        /// Negative where the server's clock is behind.
        seconds_ahead: i64,
    },
}

impl ProofStatus {
    /// Returns the cause of the rejection, for its error.
    pub(crate) fn cause(self) -> Option<String> {
        let Self::ClockTooFar { seconds_ahead } = self else { return None };
        let direction = if seconds_ahead < 0 { "behind" } else { "ahead of" };
        Some(format!(
            "the broker's clock is {} s {direction} this machine's, and proofs are corrected by at most {MAX_CLOCK_OFFSET} s: \
             set the clock",
            seconds_ahead.unsigned_abs()
        ))
    }
}

/// Returns the seconds by which the clock of a response's `Date` (RFC 9110 §6.6.1) is ahead of `now`.
fn clock_offset(headers: &HeaderMap, now: UnixTime) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(date).ok()?.checked_sub(i64::try_from(now.seconds()).ok()?)
}

/// Nonce and clock difference for proofs to an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OriginState {
    /// Nonce of the next proof.
    nonce: Option<Arc<str>>,
    /// Seconds by which the origin's clock is ahead of this machine's.
    clock_offset: i64,
}

/// States of the origins that proofs were made for.
#[derive(Debug, Default)]
pub(crate) struct OriginStates(Mutex<HashMap<String, OriginState>>);

impl OriginStates {
    fn state(&self, origin: &str) -> OriginState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned().unwrap_or_default()
    }

    fn update(&self, origin: &str, state: OriginState) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() >= MAX_ORIGINS && !states.contains_key(origin) {
            states.clear();
        }
        states.insert(origin.to_owned(), state);
    }
}

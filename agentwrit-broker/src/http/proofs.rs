//! Proofs of possession of agents' keys (RFC 9449).
//!
//! 1. Renewal, release and delegation take a bound token with the scheme `DPoP` and a proof, and never as a bearer token: the
//!    layers of agentwrit-tower judge both.
//! 2. A registration with a `DPoP` header asks for bound tokens. Its proof must be by the key that it registers, and is judged
//!    after the launch token: what unauthenticated clients sign is not recorded.
//! 3. Registrations have a replay table of their own. Each table is of one broker: another broker with the same external
//!    URL would accept the proof again within its window (RFC 9449 §11.1). A renewal and a release end the token, so that the
//!    replay has no effect. A delegation records the proof in its transaction: a proof does not cover the body, so that the
//!    replay could name another delegate.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use agentwrit_tower::Verified;
use agentwrit_verify::{
    Clock, VerifyError,
    proof::{ALGORITHMS, ExternalUrl, ExternalUrlError, ProofVerifier, Scheme},
};
use axum::{
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::Response,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
    request::Parts,
};

use super::errors::HttpError;
use crate::service::{
    registration::KeyProof,
    used_proof::{LEEWAY, UsedProof, WINDOW},
};

/// Header of a proof, RFC 9449 §4.1.
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Number of proofs of registrations that are recorded.
const REGISTRATIONS: usize = 1 << 16;

/// Verifiers of proofs for this broker's endpoints.
#[derive(Clone, Debug)]
pub(crate) struct ProofVerifiers {
    /// Of requests with an agent's token.
    pub(super) tokens: ProofVerifier,
    registrations: ProofVerifier,
}

impl ProofVerifiers {
    /// Accepts proofs for the configured URLs; without any, for those by which a broker that listens on `address` can be reached
    /// from the same machine or network.
    ///
    /// # Errors
    ///
    /// [`ExternalUrlError`] for an address that cannot be part of a URL.
    pub(crate) fn new(
        urls: &[ExternalUrl],
        address: SocketAddr,
        tls: bool,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ExternalUrlError> {
        let urls = if urls.is_empty() { listener_urls(address, tls)? } else { urls.to_vec() };
        let build = || {
            let builder = ProofVerifier::builder().without_external_url().window(WINDOW).leeway(LEEWAY);
            let builder = builder.clock(Arc::clone(clock));
            urls.iter().try_fold(builder, |builder, url| builder.external_url(url.as_str()))
        };
        Ok(Self { tokens: build()?.build(), registrations: build()?.replay_capacity(REGISTRATIONS).build() })
    }
}

/// Returns the URLs of a listener. One on every address is known to be reached on this machine only.
fn listener_urls(address: SocketAddr, tls: bool) -> Result<Vec<ExternalUrl>, ExternalUrlError> {
    let scheme = if tls { "https" } else { "http" };
    let port = address.port();
    let hosts = match address.ip() {
        ip if ip.is_unspecified() => {
            vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}"), format!("localhost:{port}")]
        }
        ip if ip.is_loopback() => vec![address.to_string(), format!("localhost:{port}")],
        _ => vec![address.to_string()],
    };
    hosts.iter().map(|host| ExternalUrl::parse(&format!("{scheme}://{host}"))).collect()
}

/// The `DPoP` headers of a registration.
#[derive(Debug)]
pub(super) struct RegistrationProof(pub(super) Option<KeyProof>);

impl<S: Sync> FromRequestParts<S> for RegistrationProof {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let headers: Vec<Vec<u8>> =
            head.headers.get_all(DPOP).iter().map(HeaderValue::as_bytes).map(<[u8]>::to_vec).collect();
        let verifiers = head.extensions.get::<ProofVerifiers>().filter(|_| !headers.is_empty());
        Ok(Self(verifiers.map(|verifiers| KeyProof {
            verifier: verifiers.registrations.clone(),
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            headers,
        })))
    }
}

/// Returns the proof that was accepted with a bound token.
///
/// # Errors
///
/// [`HttpError::Defect`] if there is none: the layer that judged the token accepts no bound one without a proof.
pub(super) fn used_proof(verified: &Verified) -> Result<Option<UsedProof>, HttpError> {
    if verified.sender_constraint().is_none() {
        return Ok(None);
    }
    let missing = || HttpError::Defect { cause: "a bound token was accepted without a proof".to_owned() };
    verified.token().accepted_proof().ok_or_else(missing).map(|proof| Some(proof.into()))
}

/// Leaves one challenge in a response, in the scheme of the request: AgentWrit v2 sends one, and its clients may expect that.
pub(super) async fn challenge_in_scheme(request: Request, next: Next) -> Response {
    let scheme = scheme(request.headers());
    let mut response = next.run(request).await;
    let challenges: Vec<_> = response.headers().get_all(WWW_AUTHENTICATE).iter().cloned().collect();
    let of = |scheme: Scheme| {
        challenges.iter().find(|challenge| challenge.as_bytes().starts_with(scheme.as_str().as_bytes())).cloned()
    };
    let challenge = match scheme {
        Some(Scheme::Dpop) => of(Scheme::Dpop).or_else(|| of(Scheme::Bearer).and_then(|bearer| in_dpop(&bearer))),
        Some(Scheme::Bearer) | None => of(Scheme::Bearer).or_else(|| of(Scheme::Dpop)),
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Returns the scheme of the request's credentials.
fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    let credentials = headers.get(AUTHORIZATION)?.to_str().ok()?;
    Scheme::parse(credentials.split_once(' ')?.0)
}

/// Returns the challenge of the scheme `DPoP` with the parameters of one of the scheme `Bearer`.
fn in_dpop(bearer: &HeaderValue) -> Option<HeaderValue> {
    let parameters = bearer.to_str().ok()?.strip_prefix(Scheme::Bearer.as_str())?;
    HeaderValue::try_from(format!("{}{parameters}, algs=\"{ALGORITHMS}\"", Scheme::Dpop.as_str())).ok()
}

/// Returns whether a token was rejected because its sender did not prove a key, although it is valid.
pub(super) fn is_of_sender(error: &VerifyError) -> bool {
    matches!(
        error,
        VerifyError::ProofRequired { .. } | VerifyError::NotSenderConstrained { .. } | VerifyError::Proof { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(address: &str, tls: bool) -> Vec<String> {
        let urls = listener_urls(address.parse().unwrap(), tls).unwrap();
        urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn listener_is_reached_by_its_address_and_on_this_machine_by_name() {
        assert_eq!(urls("127.0.0.1:8080", false), ["http://127.0.0.1:8080", "http://localhost:8080"]);
        assert_eq!(urls("[::1]:443", true), ["https://[::1]", "https://localhost"]);
        assert_eq!(urls("192.0.2.7:80", false), ["http://192.0.2.7"]);
        let every = ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"];
        assert_eq!(urls("0.0.0.0:8080", false), every);
        assert_eq!(urls("[::]:8080", false), every);
    }
}

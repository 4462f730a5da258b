//! Senders of tokens that are bound to a key (RFC 9449): their proofs, and keys that TLS connections proved.
//!
//! 1. Without a decision for proofs or TLS client keys no bound token is accepted.
//! 2. The path that a proof must name is the one that the client sent, not what a router left of it.
//! 3. Nothing is guessed: the URL is configured, or named by a proxy that is configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentwrit_verify::proof::{ExternalUrl, ExternalUrlError, PresentedToken, ProofError, ProofVerifier, Scheme};
use agentwrit_verify::{VerifiedToken, Verifiers, VerifyError};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use tracing::error;

use crate::client_key::ClientKey;
use crate::error_response;
use crate::forwarded::{self, ProxyNetworkError, TrustedProxies};
use crate::rejection::Rejection;
use crate::verified::Verified;

/// Header of a proof (RFC 9449 §4.1).
pub(crate) static DPOP: HeaderName = HeaderName::from_static("dpop");

/// Error of settings for proofs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofSettingsError {
    /// The text is not an external URL.
    #[error(transparent)]
    Url(#[from] ExternalUrlError),
    /// The text is not a network of proxies.
    #[error(transparent)]
    Proxy(#[from] ProxyNetworkError),
    /// The text is not a host with an optional port.
    #[error("`{text}` is not a host, such as `api.example.com` or `api.example.com:8443`")]
    Host {
        /// Its first 256 characters.
        text: String,
    },
    /// Forwarded headers without external URLs or hosts: clients would choose the URL.
    #[error(
        "forwarded headers count for known hosts only: add `.external_url(…)` or `.external_hosts([…])` before \
         `.forwarded_from(…)`"
    )]
    NoExternalHost,
    /// The layer has both external URLs and external hosts.
    #[error("the layer has external URLs: add an `.external_url(…)` for each host, not `.external_hosts([…])`")]
    HostsAndUrls,
    /// The layer has a [`ProofVerifier`] of its own, whose settings are decided.
    #[error("the layer has `.proofs(…)` already: set external URLs and `require_proof` on its builder")]
    Decided,
}

/// How senders of bound tokens prove their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct SenderPolicy {
    settings: Settings,
    /// Verifier of proofs that the settings make; `None`: no bound token is accepted.
    proofs: Option<ProofVerifier>,
    proxies: Option<TrustedProxies>,
    /// Origins that forwarded headers may name where no external URL is configured.
    hosts: Vec<ExternalUrl>,
    /// True when the log has named the remedy for a layer that cannot accept bound tokens.
    is_logged: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default)]
enum Settings {
    #[default]
    None,
    /// Those of the layer.
    Own { urls: Vec<ExternalUrl>, is_required: bool },
    /// Those of a verifier that the program made.
    Given(ProofVerifier),
}

impl SenderPolicy {
    pub(crate) fn set_proofs(&mut self, proofs: ProofVerifier) -> Result<(), ProofSettingsError> {
        if matches!(self.settings, Settings::Own { .. }) {
            return Err(ProofSettingsError::Decided);
        }
        self.settings = Settings::Given(proofs);
        Ok(())
    }

    pub(crate) fn add_external_url(&mut self, url: &str) -> Result<(), ProofSettingsError> {
        let url = ExternalUrl::parse(url)?;
        if !self.hosts.is_empty() {
            return Err(ProofSettingsError::HostsAndUrls);
        }
        self.own()?.0.push(url);
        Ok(())
    }

    pub(crate) fn add_external_hosts<S: AsRef<str>>(
        &mut self,
        hosts: impl IntoIterator<Item = S>,
    ) -> Result<(), ProofSettingsError> {
        if self.has_external_url() {
            return Err(ProofSettingsError::HostsAndUrls);
        }
        for host in hosts {
            let host = host.as_ref();
            let of_host = ["https", "http"].map(|scheme| forwarded::url(scheme, host, ""));
            if of_host.iter().any(Option::is_none) {
                return Err(ProofSettingsError::Host { text: host.chars().take(256).collect() });
            }
            self.hosts.extend(of_host.into_iter().flatten());
        }
        if matches!(self.settings, Settings::None) {
            self.own()?;
        }
        Ok(())
    }

    fn has_external_url(&self) -> bool {
        match &self.settings {
            Settings::None => false,
            Settings::Own { urls, .. } => !urls.is_empty(),
            Settings::Given(proofs) => !proofs.external_urls().is_empty(),
        }
    }

    pub(crate) fn require_proof(&mut self) -> Result<(), ProofSettingsError> {
        *self.own()?.1 = true;
        Ok(())
    }

    pub(crate) fn trust_proxies<S: AsRef<str>>(
        &mut self,
        networks: impl IntoIterator<Item = S>,
    ) -> Result<(), ProofSettingsError> {
        let proxies = TrustedProxies::parse(networks)?;
        if self.hosts.is_empty() && !self.has_external_url() {
            return Err(ProofSettingsError::NoExternalHost);
        }
        self.proxies = Some(proxies);
        if matches!(self.settings, Settings::None) {
            self.own()?;
        }
        Ok(())
    }

    /// Returns the layer's own settings.
    fn own(&mut self) -> Result<(&mut Vec<ExternalUrl>, &mut bool), ProofSettingsError> {
        if matches!(self.settings, Settings::None) {
            self.settings = Settings::Own { urls: Vec::new(), is_required: false };
        }
        match &mut self.settings {
            Settings::Own { urls, is_required } => Ok((urls, is_required)),
            Settings::None | Settings::Given(_) => Err(ProofSettingsError::Decided),
        }
    }

    /// Makes the verifier of proofs, on the clock by which tokens are verified.
    pub(crate) fn build(&mut self, verifiers: Option<&Verifiers>) -> Result<(), ProofSettingsError> {
        self.proofs = match &self.settings {
            Settings::None => None,
            Settings::Given(proofs) => Some(proofs.clone()),
            Settings::Own { urls, is_required } => {
                let mut builder = ProofVerifier::builder().without_external_url();
                for url in urls {
                    builder = builder.external_url(url.as_str())?;
                }
                if *is_required {
                    builder = builder.require_proof();
                }
                let clock = verifiers.and_then(Verifiers::clock);
                Some(match clock {
                    Some(clock) => builder.clock(clock).build(),
                    None => builder.build(),
                })
            }
        };
        Ok(())
    }

    /// Verifies the token and, if it is bound to a key, that its sender has the key.
    pub(crate) fn verify(
        &self,
        verifiers: &Verifiers,
        scheme: Scheme,
        token: &str,
        head: &Parts,
    ) -> Result<VerifiedToken, Rejection> {
        let Some(proofs) = &self.proofs else {
            return Ok(self.verify_unbound(verifiers, scheme, token)?);
        };
        let headers = head.headers.get_all(&DPOP).iter().map(HeaderValue::as_bytes);
        let mut presented =
            PresentedToken::new(scheme, token, head.method.as_str(), error_response::path(head)).proofs(headers);
        if let Some(key) = head.extensions.get::<ClientKey>() {
            presented = presented.client_key(key.thumbprint());
        }
        let forwarded = self.proxies.as_ref().and_then(|proxies| proxies.external_url(head));
        // With configured URLs the verifier of proofs compares origins.
        let forwarded =
            forwarded.filter(|url| self.hosts.is_empty() || self.hosts.iter().any(|host| host.has_origin_of(url)));
        if let Some(url) = &forwarded {
            presented = presented.received_at(url);
        }
        if let Some(outer) = head.extensions.get::<Verified>() {
            presented = presented.verified_before(outer.token());
        }
        let verified = verifiers.verify_presented_token(&presented, proofs);
        if let Err(VerifyError::Proof { error: ProofError::NoExternalUrl, .. }) = &verified {
            self.log_remedy(if self.proxies.is_some() {
                "no trusted proxy named an external URL with one of the `.external_hosts([…])`: insert the peer's address (`ConnectInfo<SocketAddr>` with \
                 the feature `connect-info`, or `PeerAddress`) and have the proxy set the forwarded headers, or add `.external_url(…)`"
            } else {
                "proofs cannot be checked: add `.external_url(…)` with the URL by which clients reach this service"
            });
        }
        Ok(verified?)
    }

    /// Verifies a token where no bound token is accepted.
    fn verify_unbound(&self, verifiers: &Verifiers, scheme: Scheme, token: &str) -> Result<VerifiedToken, VerifyError> {
        let verified = verifiers.verify_token(token).inspect_err(|error| {
            if matches!(error, VerifyError::ProofRequired { .. }) {
                self.log_remedy(
                    "a token that is bound to a key was presented, and no layer accepts proofs: add `.external_url(…)` with the \
                     URL by which clients reach this service",
                );
            }
        })?;
        match scheme {
            Scheme::Bearer => Ok(verified),
            Scheme::Dpop => Err(not_bound(verified.claims())),
        }
    }

    /// Returns the algorithms of proofs for a challenge; `None` where no bound token is accepted.
    pub(crate) fn algorithms(&self) -> Option<&'static str> {
        self.proofs.as_ref().map(ProofVerifier::algorithms)
    }

    /// Returns the nonce for the client's next proof (RFC 9449 §8.2), if this accepted request has a proof and nonces are
    /// demanded.
    pub(crate) fn next_nonce(&self, verified: &Verified, head: &Parts) -> Option<HeaderValue> {
        let proofs = self.proofs.as_ref()?;
        let has_proof = verified.sender_constraint().is_some() && head.headers.contains_key(&DPOP);
        if !has_proof {
            return None;
        }
        HeaderValue::try_from(proofs.fresh_nonce()?).ok()
    }

    /// Checks claims that an outer layer verified.
    pub(crate) fn check_claims(&self, verified: &Verified) -> Result<(), Rejection> {
        let is_required = self.proofs.as_ref().is_some_and(ProofVerifier::requires_proof);
        if is_required && verified.sender_constraint().is_none() {
            return Err(not_bound(verified).into());
        }
        Ok(())
    }

    /// Names the remedy for a mistake in the program, once: clients cause it with every request.
    fn log_remedy(&self, remedy: &str) {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            error!("{remedy}");
        }
    }
}

fn not_bound(claims: &agentwrit_verify::Claims) -> VerifyError {
    VerifyError::NotSenderConstrained { subject: claims.subject().clone(), token_id: claims.token_id() }
}

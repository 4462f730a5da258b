//! Options of the layers for tokens that are bound to a key (sender-constrained, RFC 9449).

use agentwrit_verify::proof::ProofVerifier;

use crate::authenticate::Authenticate;
use crate::require_scope::RequireScope;
use crate::sender::{ProofSettingsError, SenderPolicy};

/// Tokens that are bound to a key. Without one of these options the layer rejects them: they must not be accepted as bearer
/// tokens (RFC 9449 §7.2).
impl Authenticate {
    /// Accepts tokens that are bound to a key (DPoP, RFC 9449), with the scheme `DPoP` and a proof of the key in each
    /// request. `url` is the URL by which clients reach this service, which proofs name; behind a proxy that strips a prefix
    /// from the path it ends with the prefix. Called several times, each of the URLs is one.
    ///
    /// Each call makes a [`ProofVerifier`] with default settings and a replay table of its own. Several routers of
    /// one service share one: see [`proofs`](Self::proofs).
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, RequireScope, verify::Verifier};
    /// use axum::{Router, routing::get};
    ///
    /// fn app(verifier: Verifier) -> Router {
    ///     Router::new()
    ///         .route("/data", get(|| async { "data" }).layer(RequireScope::new("read:data:*")))
    ///         .layer(Authenticate::new(verifier).external_url("https://api.example.com"))
    /// }
    /// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
    /// ```
    ///
    /// # Panics
    ///
    /// Panics where [`try_external_url`](Self::try_external_url) returns an error.
    #[track_caller]
    pub fn external_url(self, url: &str) -> Self {
        set(self.try_external_url(url))
    }

    /// Fallible form of [`external_url`](Self::external_url), for a URL from configuration.
    ///
    /// # Errors
    ///
    /// [`ProofSettingsError`] for a text that is not an absolute `http` or `https` URL without user name, query and fragment,
    /// and when the layer has [`proofs`](Self::proofs).
    pub fn try_external_url(mut self, url: &str) -> Result<Self, ProofSettingsError> {
        self.policy.change_senders(|senders| senders.add_external_url(url))?;
        Ok(self)
    }

    /// Rejects tokens that are not bound to a key.
    ///
    /// # Panics
    ///
    /// Panics when the layer has [`proofs`](Self::proofs), whose builder decides it.
    #[track_caller]
    pub fn require_proof(mut self) -> Self {
        set(self.policy.change_senders(SenderPolicy::require_proof).map(|()| self))
    }

    /// Accepts tokens that are bound to a key with proofs that `proofs` accepts: for other settings than those of
    /// [`external_url`](Self::external_url), and for several layers, which share the replay table of clones. A layer within
    /// another accepts the proof that the outer one accepted for the same request.
    ///
    /// ```
    /// use agentwrit_tower::{Authenticate, verify::{Verifier, proof::{ExternalUrlError, NonceKey, ProofVerifier}}};
    ///
    /// fn layer(verifier: Verifier, key: &[u8; 32]) -> Result<Authenticate, ExternalUrlError> {
    ///     let proofs = ProofVerifier::builder().external_url("https://api.example.com")?;
    ///     Ok(Authenticate::new(verifier).proofs(proofs.nonces(NonceKey::from_bytes(key)).build()))
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when [`external_url`](Self::external_url) or [`require_proof`](Self::require_proof) was called before: set
    /// them on the builder of `proofs`.
    #[track_caller]
    pub fn proofs(mut self, proofs: ProofVerifier) -> Self {
        set(self.policy.change_senders(|senders| senders.set_proofs(proofs)).map(|()| self))
    }

    /// Sets the hosts, each with its port unless that is the scheme's, by which clients reach this service through the proxies
    /// of [`forwarded_from`](Self::forwarded_from): for services without a configured [external URL](Self::external_url).
    ///
    /// # Panics
    ///
    /// Panics where [`try_external_hosts`](Self::try_external_hosts) returns an error.
    #[track_caller]
    pub fn external_hosts<S: AsRef<str>>(self, hosts: impl IntoIterator<Item = S>) -> Self {
        set(self.try_external_hosts(hosts))
    }

    /// Fallible form of [`external_hosts`](Self::external_hosts), for hosts from configuration.
    ///
    /// # Errors
    ///
    /// [`ProofSettingsError`] for a text that is not a host with an optional port, and when the layer has an external URL.
    pub fn try_external_hosts<S: AsRef<str>>(
        mut self,
        hosts: impl IntoIterator<Item = S>,
    ) -> Result<Self, ProofSettingsError> {
        self.policy.change_senders(|senders| senders.add_external_hosts(hosts))?;
        Ok(self)
    }

    /// Takes the external URL of a request from the headers of a proxy in one of these networks (`10.0.0.0/8`, `::1`):
    /// `Forwarded` (RFC 7239), or `X-Forwarded-Proto`, `X-Forwarded-Host` and, if there is one, `X-Forwarded-Prefix`.
    ///
    /// Most proxies forward the host that the client chose, so it decides nothing by itself: beside
    /// [external URLs](Self::external_url) headers with their scheme, host and port add the prefix, and others are ignored; without
    /// external URLs the host must be one of the [external hosts](Self::external_hosts). Call one of these before.
    ///
    /// The proxy must set each of these headers anew, and remove those of the other kind: a client that can set the prefix
    /// chooses for which service of the host its proof is. A request with several values, with both kinds or with incomplete
    /// headers is compared with the external URLs, and without any its proof is rejected.
    ///
    /// The peer's address comes from axum's `ConnectInfo<SocketAddr>`, with the `connect-info` feature and a server that is
    /// started with `into_make_service_with_connect_info::<SocketAddr>()`, or from [`PeerAddress`](crate::PeerAddress) in the
    /// request's extensions. Without either no header counts, and the log says so at the first proof.
    ///
    /// # Panics
    ///
    /// Panics where [`try_forwarded_from`](Self::try_forwarded_from) returns an error.
    #[track_caller]
    pub fn forwarded_from<S: AsRef<str>>(self, proxies: impl IntoIterator<Item = S>) -> Self {
        set(self.try_forwarded_from(proxies))
    }

    /// Fallible form of [`forwarded_from`](Self::forwarded_from), for networks from configuration.
    ///
    /// # Errors
    ///
    /// [`ProofSettingsError`] for a text that is neither an address nor a network, and when no external URL or host was set
    /// before.
    pub fn try_forwarded_from<S: AsRef<str>>(
        mut self,
        proxies: impl IntoIterator<Item = S>,
    ) -> Result<Self, ProofSettingsError> {
        self.policy.change_senders(|senders| senders.trust_proxies(proxies))?;
        Ok(self)
    }
}

/// Tokens that are bound to a key, for a layer with its own [`verifier`](Self::verifier).
impl RequireScope {
    /// Accepts tokens that are bound to a key, for clients that reach this service by the URL: see
    /// [`Authenticate::external_url`].
    ///
    /// # Panics
    ///
    /// Panics where [`try_external_url`](Self::try_external_url) returns an error.
    #[track_caller]
    pub fn external_url(self, url: &str) -> Self {
        set(self.try_external_url(url))
    }

    /// Fallible form of [`external_url`](Self::external_url), for a URL from configuration.
    ///
    /// # Errors
    ///
    /// As [`Authenticate::try_external_url`].
    pub fn try_external_url(mut self, url: &str) -> Result<Self, ProofSettingsError> {
        self.policy.change_senders(|senders| senders.add_external_url(url))?;
        Ok(self)
    }

    /// Rejects tokens that are not bound to a key, also those that an outer layer verified.
    ///
    /// # Panics
    ///
    /// As [`Authenticate::require_proof`].
    #[track_caller]
    pub fn require_proof(mut self) -> Self {
        set(self.policy.change_senders(SenderPolicy::require_proof).map(|()| self))
    }

    /// Accepts tokens that are bound to a key with proofs that `proofs` accepts: see [`Authenticate::proofs`].
    ///
    /// # Panics
    ///
    /// As [`Authenticate::proofs`].
    #[track_caller]
    pub fn proofs(mut self, proofs: ProofVerifier) -> Self {
        set(self.policy.change_senders(|senders| senders.set_proofs(proofs)).map(|()| self))
    }

    /// Sets the hosts that [`forwarded_from`](Self::forwarded_from) accepts: see [`Authenticate::external_hosts`].
    ///
    /// # Panics
    ///
    /// Panics where [`try_external_hosts`](Self::try_external_hosts) returns an error.
    #[track_caller]
    pub fn external_hosts<S: AsRef<str>>(self, hosts: impl IntoIterator<Item = S>) -> Self {
        set(self.try_external_hosts(hosts))
    }

    /// Fallible form of [`external_hosts`](Self::external_hosts), for hosts from configuration.
    ///
    /// # Errors
    ///
    /// As [`Authenticate::try_external_hosts`].
    pub fn try_external_hosts<S: AsRef<str>>(
        mut self,
        hosts: impl IntoIterator<Item = S>,
    ) -> Result<Self, ProofSettingsError> {
        self.policy.change_senders(|senders| senders.add_external_hosts(hosts))?;
        Ok(self)
    }

    /// Takes the external URL of a request from the headers of a proxy in one of these networks: see
    /// [`Authenticate::forwarded_from`].
    ///
    /// # Panics
    ///
    /// Panics where [`try_forwarded_from`](Self::try_forwarded_from) returns an error.
    #[track_caller]
    pub fn forwarded_from<S: AsRef<str>>(self, proxies: impl IntoIterator<Item = S>) -> Self {
        set(self.try_forwarded_from(proxies))
    }

    /// Fallible form of [`forwarded_from`](Self::forwarded_from), for networks from configuration.
    ///
    /// # Errors
    ///
    /// As [`Authenticate::try_forwarded_from`].
    pub fn try_forwarded_from<S: AsRef<str>>(
        mut self,
        proxies: impl IntoIterator<Item = S>,
    ) -> Result<Self, ProofSettingsError> {
        self.policy.change_senders(|senders| senders.trust_proxies(proxies))?;
        Ok(self)
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "documented: a bad literal stops the program where it is written")]
fn set<L>(layer: Result<L, ProofSettingsError>) -> L {
    match layer {
        Ok(layer) => layer,
        Err(error) => panic!("invalid settings for proofs: {error}"),
    }
}

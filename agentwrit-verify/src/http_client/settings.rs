//! Settings of the connections to a broker.

use std::{fmt, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, redirect};
use zeroize::Zeroizing;

use super::{
    broker_url::{BrokerUrl, BrokerUrlError, without_userinfo},
    pem::{self, PemError},
    transport_error::innermost,
};

/// Settings of the connections to one broker: trusted authorities, client certificate, proxy and time to connect.
#[derive(Clone)]
pub struct ConnectionSettings {
    user_agent: &'static str,
    connect_timeout: Duration,
    proxy: Option<String>,
    /// PEM, one or several certificates each.
    root_certificates: Vec<Vec<u8>>,
    /// PEM, a private key and its certificates.
    client_identity: Option<Zeroizing<Vec<u8>>>,
}

impl ConnectionSettings {
    /// Default of [`connect_timeout`](Self::connect_timeout).
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// No authorities but the system's, no client certificate, no proxy.
    #[must_use]
    pub fn new(user_agent: &'static str) -> Self {
        let connect_timeout = Self::DEFAULT_CONNECT_TIMEOUT;
        Self { user_agent, connect_timeout, proxy: None, root_certificates: Vec::new(), client_identity: None }
    }

    /// Sets how long connecting may take, each time.
    pub fn connect_timeout(&mut self, timeout: Duration) {
        self.connect_timeout = timeout;
    }

    /// Sends everything through this proxy, `http` or `https`: its address may carry a user's name and password.
    pub fn proxy(&mut self, url: String) {
        self.proxy = Some(url);
    }

    /// Trusts these certificate authorities beside the system's, PEM.
    pub fn add_root_certificate_pem(&mut self, pem: Vec<u8>) {
        self.root_certificates.push(pem);
    }

    /// Shows this certificate to the broker: PEM of a private key and its certificates, the leaf first.
    pub fn client_identity_pem(&mut self, pem: Vec<u8>) {
        self.client_identity = Some(Zeroizing::new(pem));
    }

    /// Returns true when a proxy is set.
    #[must_use]
    pub fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// Builds a client for `broker`: no redirects, no proxy from the environment. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with the setting that is invalid, and the reason.
    pub fn client(&self, broker: &BrokerUrl) -> Result<Client, SettingsError> {
        let builder = Client::builder()
            .user_agent(self.user_agent)
            .connect_timeout(self.connect_timeout)
            .redirect(redirect::Policy::none())
            .no_proxy();
        let (builder, tls_to_proxy) = self.with_proxy(builder)?;
        let builder = self.with_tls(builder, broker, tls_to_proxy)?;
        builder.build().map_err(|error| unusable(&error))
    }

    /// Adds the proxy; returns true beside the builder when the connection to the proxy uses TLS.
    fn with_proxy(&self, builder: ClientBuilder) -> Result<(ClientBuilder, bool), SettingsError> {
        let Some(proxy) = &self.proxy else { return Ok((builder, false)) };
        let url = BrokerUrl::with_query(proxy).map_err(SettingsError::Proxy)?;
        let malformed = |error: reqwest::Error| BrokerUrlError::Malformed { reason: innermost(&error).to_string() };
        let proxy = Proxy::all(proxy).map_err(|error| SettingsError::Proxy(malformed(error)))?;
        Ok((builder.proxy(proxy), url.is_https()))
    }

    fn with_tls(
        &self,
        mut builder: ClientBuilder,
        broker: &BrokerUrl,
        tls_to_proxy: bool,
    ) -> Result<ClientBuilder, SettingsError> {
        let has_certificates = !self.root_certificates.is_empty() || self.client_identity.is_some();
        if !broker.is_https() && !tls_to_proxy {
            if has_certificates {
                return Err(SettingsError::CertificatesWithoutTls);
            }
            // Plain HTTP needs no system roots, so their absence must not fail the build.
            return Ok(builder.tls_certs_only([]));
        }
        for pem in &self.root_certificates {
            for der in pem::certificates(pem).map_err(SettingsError::RootCertificate)? {
                let certificate = Certificate::from_der(&der).map_err(|error| unusable(&error))?;
                builder = builder.tls_certs_merge([certificate]);
            }
        }
        if let Some(pem) = &self.client_identity {
            let pem = pem::identity(pem, pem).map_err(SettingsError::ClientIdentity)?;
            builder = builder.identity(Identity::from_pem(&pem).map_err(|error| unusable(&error))?);
        }
        Ok(builder)
    }
}

fn unusable(error: &reqwest::Error) -> SettingsError {
    SettingsError::Tls { reason: innermost(error).to_string() }
}

impl fmt::Debug for ConnectionSettings {
    /// Omits the private key and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings")
            .field("connect_timeout", &self.connect_timeout)
            .field("proxy", &self.proxy.as_deref().map(without_userinfo))
            .field("root_certificates", &self.root_certificates.len())
            .field("client_identity", &self.client_identity.is_some())
            .finish_non_exhaustive()
    }
}

/// Reason why connection settings are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The PEM of an authority.
    #[error("invalid root certificate: {0}")]
    RootCertificate(PemError),
    /// The PEM of the client's certificate and key.
    #[error("invalid client identity: {0}")]
    ClientIdentity(PemError),
    /// Certificates for an `http` address: they would have no effect.
    #[error("certificates are for `https`, and the broker's address is `http`")]
    CertificatesWithoutTls,
    /// The proxy's address.
    #[error("invalid proxy: {0}")]
    Proxy(BrokerUrlError),
    /// Error of the TLS library: a key without its certificate, or no trusted authorities at all.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Message of the TLS library.
        reason: String,
    },
}

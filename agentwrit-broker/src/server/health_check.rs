//! Client of `agentwrit-broker health`, which checks the broker of this configuration on this machine.
//!
//! 1. The request goes to the [socket](super::health_socket) beside the database, which needs neither certificates nor a
//!    place among the connections of clients.
//! 2. Without a socket (an older broker, a file system without sockets) the request goes over the loopback interface, also
//!    when the broker listens on every address. With TLS exactly the configured certificate is trusted, for any name. With
//!    mTLS the client certificate is the given one, else that of the broker.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{client::conn::http1, rt};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use super::{health_socket::HealthSocket, tls};
use crate::{
    audit::text::printable,
    config::{Config, TlsConfig},
};

/// Timeout for the whole check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest excerpt of a response in an error, in characters.
const MAX_EXCERPT: usize = 300;

/// Longest response that is read, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// Client certificate for a broker with mTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Certificate chain in PEM, leaf first.
    pub cert: PathBuf,
    /// Private key in PEM.
    pub key: PathBuf,
}

/// Requests the health of the broker of `config`.
///
/// # Errors
///
/// [`Unhealthy`] if the response is not that the broker can serve.
pub async fn check_health(config: &Config, client: Option<&ClientCertificate>) -> Result<(), Unhealthy> {
    let address = local_address(config.bind);
    let check = async {
        match HealthSocket::connect(config.own_file()).await {
            Ok(connection) => request_health(address, connection).await,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                check_by_network(config, address, client).await
            }
            Err(error) => Err(Unhealthy::new(address, &format!("health socket: {error}"))),
        }
    };
    let late = |_| Unhealthy::new(address, &format!("no response within {} s", CHECK_TIMEOUT.as_secs()));
    timeout(CHECK_TIMEOUT, check).await.map_err(late)?
}

async fn check_by_network(
    config: &Config,
    address: SocketAddr,
    client: Option<&ClientCertificate>,
) -> Result<(), Unhealthy> {
    if address.port() == 0 {
        return Err(Unhealthy::new(address, &"the port is 0: which one it took is not known here"));
    }
    let connection = TcpStream::connect(address).await.map_err(|error| Unhealthy::new(address, &error))?;
    match connector(&config.tls, client).map_err(|error| Unhealthy::new(address, &error))? {
        None => request_health(address, connection).await,
        Some(connector) => {
            let name = ServerName::from(address.ip());
            let encrypted = connector.connect(name, connection).await;
            request_health(address, encrypted.map_err(|error| Unhealthy::new(address, &error))?).await
        }
    }
}

/// Returns the address at which this machine reaches a broker that listens on `bind`.
fn local_address(bind: SocketAddr) -> SocketAddr {
    let loopback = match bind.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(if bind.ip().is_unspecified() { loopback } else { bind.ip() }, bind.port())
}

async fn request_health<C>(address: SocketAddr, connection: C) -> Result<(), Unhealthy>
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    TokioIo<C>: rt::Read + rt::Write,
{
    let failed = |error: hyper::Error| Unhealthy::new(address, &error);
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await.map_err(failed)?;
    let driver = tokio::spawn(driver);
    let request = Request::get("/v1/health").header(HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Unhealthy::new(address, &error))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
    driver.abort();
    let body = body.map_err(|error| Unhealthy::new(address, &error))?.to_bytes();
    let health: Option<HealthStatus> = agentwrit_json::object_from_slice(&body, 4).ok();
    if status == StatusCode::OK && health.is_some_and(|health| health.status == "ok") {
        return Ok(());
    }
    let excerpt: String = String::from_utf8_lossy(&body).chars().take(MAX_EXCERPT).collect();
    Err(Unhealthy::new(address, &format!("{status}: {excerpt}")))
}

/// The members of the response that the check reads.
#[derive(serde::Deserialize)]
struct HealthStatus {
    status: String,
}

fn connector(files: &TlsConfig, client: Option<&ClientCertificate>) -> Result<Option<TlsConnector>, tls::TlsError> {
    let (cert, key, needs_client_certificate) = match files {
        TlsConfig::None => return Ok(None),
        TlsConfig::Tls { cert, key } => (cert, key, false),
        TlsConfig::Mtls { cert, key, client_ca: _ } => (cert, key, true),
    };
    let server = tls::certificates("AA_TLS_CERT", cert)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| tls::TlsError::unusable("AA_TLS_CERT", cert, &error))?;
    let pinned = PinnedCertificate { leaf: server.into_iter().next(), provider };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned));
    if !needs_client_certificate {
        return Ok(Some(TlsConnector::from(Arc::new(builder.with_no_client_auth()))));
    }
    let (cert, key) = client.map_or((cert, key), |client| (&client.cert, &client.key));
    let private_key = tls::private_key("client key", key)?;
    let config = builder.with_client_auth_cert(tls::certificates("client certificate", cert)?, private_key);
    let config = config.map_err(|error| tls::TlsError::unusable("client certificate", cert, &error))?;
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// Trusts one certificate, and checks that the server has its key.
#[derive(Debug)]
struct PinnedCertificate {
    leaf: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.leaf.as_ref().is_some_and(|leaf| leaf == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(String::from("the broker shows another certificate than that in AA_TLS_CERT")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The broker did not respond that it can serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker at {address} is not healthy: {reason}")]
pub struct Unhealthy {
    /// Address of the broker.
    pub address: SocketAddr,
    /// Its response, or the error of the request.
    pub reason: String,
}

impl Unhealthy {
    fn new(address: SocketAddr, reason: &dyn std::fmt::Display) -> Self {
        Self { address, reason: printable(&reason.to_string()).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_broker_on_unspecified_address_by_loopback() {
        for (bind, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.7:443", "192.0.2.7:443"),
        ] {
            assert_eq!(local_address(bind.parse().unwrap()), asked.parse().unwrap());
        }
    }
}

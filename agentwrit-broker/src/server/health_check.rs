//! `agentwrit-broker health`: whether the broker of this configuration, on this machine, can serve.
//!
//! 1. It asks by the [socket](super::health_socket) beside the database, which needs neither certificates nor a place among
//!    the clients' connections.
//! 2. Where there is no socket (an older broker, a file system without sockets) it asks over the loopback interface, also
//!    when the broker listens on every address. With TLS it trusts the one certificate that the broker is configured to
//!    show, whatever name is in it. With mTLS it shows the certificate that it is given, else the broker's own.

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
        crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use super::{health_socket::HealthSocket, tls};
use crate::{
    audit::text::printable,
    config::{Config, TlsConfig},
};

/// How long the whole check may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is repeated, in characters.
const LONGEST_COMPLAINT: usize = 300;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What the check shows to a broker that wants a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain in PEM, leaf first.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// Asks the broker of `config` how it is.
///
/// # Errors
///
/// [`Unhealthy`], when it does not answer that it can serve.
pub async fn check_health(config: &Config, client: Option<&ClientCertificate>) -> Result<(), Unhealthy> {
    let address = reachable(config.bind);
    let check = async {
        match HealthSocket::connect(&config.db_path).await {
            Ok(connection) => ask(address, connection).await,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                check_by_network(config, address, client).await
            }
            Err(error) => Err(Unhealthy::new(address, &format!("health socket: {error}"))),
        }
    };
    let late = |_| Unhealthy::new(address, &format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, check).await.map_err(late)?
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
        None => ask(address, connection).await,
        Some(connector) => {
            let name = ServerName::from(address.ip());
            let encrypted = connector.connect(name, connection).await;
            ask(address, encrypted.map_err(|error| Unhealthy::new(address, &error))?).await
        }
    }
}

/// Where a broker that listens there is reached from this machine.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let loopback = match bind.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(if bind.ip().is_unspecified() { loopback } else { bind.ip() }, bind.port())
}

async fn ask<C>(address: SocketAddr, connection: C) -> Result<(), Unhealthy>
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    TokioIo<C>: rt::Read + rt::Write,
{
    let failed = |error: hyper::Error| Unhealthy::new(address, &error);
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await.map_err(failed)?;
    let driver = tokio::spawn(driver);
    let request = Request::get("/v1/health").header(HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Unhealthy::new(address, &error))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    driver.abort();
    let said = body.map_err(|error| Unhealthy::new(address, &error))?.to_bytes();
    let health: Option<Said> = agentwrit_json::object_from_slice(&said, 4).ok();
    if status == StatusCode::OK && health.is_some_and(|health| health.status == "ok") {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&said).chars().take(LONGEST_COMPLAINT).collect();
    Err(Unhealthy::new(address, &format!("{status}: {said}")))
}

/// What of the answer counts.
#[derive(serde::Deserialize)]
struct Said {
    status: String,
}

fn connector(files: &TlsConfig, client: Option<&ClientCertificate>) -> Result<Option<TlsConnector>, tls::TlsError> {
    let (cert, key, wants_client) = match files {
        TlsConfig::None => return Ok(None),
        TlsConfig::Tls { cert, key } => (cert, key, false),
        TlsConfig::Mtls { cert, key, client_ca: _ } => (cert, key, true),
    };
    let shown = tls::certificates("AA_TLS_CERT", cert)?;
    let builder = ClientConfig::builder();
    let pinned = Pinned { leaf: shown.into_iter().next(), provider: Arc::clone(builder.crypto_provider()) };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned));
    if !wants_client {
        return Ok(Some(TlsConnector::from(Arc::new(builder.with_no_client_auth()))));
    }
    let (cert, key) = client.map_or((cert, key), |client| (&client.cert, &client.key));
    let private_key = tls::private_key("client key", key)?;
    let config = builder.with_client_auth_cert(tls::certificates("client certificate", cert)?, private_key);
    let config = config.map_err(|error| tls::TlsError::unusable("client certificate", cert, &error))?;
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// Trusts one certificate, and checks that the other side has its key.
#[derive(Debug)]
struct Pinned {
    leaf: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
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

/// The broker did not say that it can serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker at {address} is not healthy: {reason}")]
pub struct Unhealthy {
    /// Where it was asked.
    pub address: SocketAddr,
    /// What it answered, or why it did not.
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
    fn a_broker_on_every_address_is_asked_on_the_loopback_one() {
        for (bind, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("192.0.2.7:443", "192.0.2.7:443"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()), asked.parse().unwrap());
        }
    }
}

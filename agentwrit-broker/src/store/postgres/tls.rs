//! TLS to the database.

use std::{fs, sync::Arc};

use agentwrit_verify::http_client::pem;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::store::OpenError;

/// Verification of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    None,
    Chain,
    ChainAndName,
}

/// Returns the connector that verifies the server's certificate as far as `verification` says.
pub(super) fn connector(verification: Verification, roots: Option<&str>) -> Result<MakeRustlsConnect, OpenError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| rejected(&error))?;
    let client = match verification {
        Verification::None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        Verification::Chain => {
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(root_store(roots)?), provider).build();
            let chain = chain.map_err(|error| rejected(&error))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(chain)))
        }
        Verification::ChainAndName => builder.with_root_certificates(root_store(roots)?),
    };
    Ok(MakeRustlsConnect::new(client.with_no_client_auth()))
}

fn root_store(file: Option<&str>) -> Result<RootCertStore, OpenError> {
    let missing = "a verifying `sslmode` needs `sslrootcert`: the file with the certificate authority's certificates";
    let file = file.ok_or_else(|| OpenError::Database { cause: missing.to_owned() })?;
    let text = fs::read(file).map_err(|error| OpenError::io(file.as_ref(), &error))?;
    let certificates = pem::certificates(&text).map_err(|error| rejected(&error))?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.into()).map_err(|error| rejected(&error))?;
    }
    Ok(store)
}

fn rejected(error: &dyn std::error::Error) -> OpenError {
    OpenError::Database { cause: format!("TLS to the database: {error}") }
}

/// Accepts every certificate: `prefer` and `require` protect against listening only.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies the chain of a certificate, not the name in it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is checked last, so that an error about it means that everything else is right.
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

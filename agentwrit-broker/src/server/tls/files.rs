//! Files of TLS: certificates, private key, client authorities.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use agentwrit_verify::http_client::pem::{self, PemError, PrivateKeyFormat};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use zeroize::Zeroizing;

use crate::config::TlsConfig;

/// Fingerprint of the files that changes when one of them is replaced or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<Option<FileStamp>>);

/// Size, inode, and the times of the last change of content and of inode, in nanoseconds.
type FileStamp = (u64, u64, (i64, i64), (i64, i64));

impl Fingerprint {
    pub(super) fn of(files: &TlsConfig) -> Self {
        let stamp = |path: &PathBuf| fs::metadata(path).ok().map(|metadata| stamp(&metadata));
        Self(match files {
            TlsConfig::None => Vec::new(),
            TlsConfig::Tls { cert, key } => vec![stamp(cert), stamp(key)],
            TlsConfig::Mtls { cert, key, client_ca } => vec![stamp(cert), stamp(key), stamp(client_ca)],
        })
    }
}

fn stamp(metadata: &Metadata) -> FileStamp {
    let written = (metadata.mtime(), metadata.mtime_nsec());
    (metadata.len(), metadata.ino(), written, (metadata.ctime(), metadata.ctime_nsec()))
}

/// Reads the configuration of the listener. Returns `None` in mode `none`.
pub(super) fn server_config(files: &TlsConfig) -> Result<Option<ServerConfig>, TlsError> {
    let (cert, key, client_ca) = match files {
        TlsConfig::None => return Ok(None),
        TlsConfig::Tls { cert, key } => (cert, key, None),
        TlsConfig::Mtls { cert, key, client_ca } => (cert, key, Some(client_ca)),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError::unusable("AA_TLS_CERT", cert, &error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider)
                .build()
                .map_err(|error| TlsError::unusable("AA_TLS_CLIENT_CA", path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let private_key = private_key("AA_TLS_KEY", key)?;
    let mut server = builder
        .with_single_cert(certificates("AA_TLS_CERT", cert)?, private_key)
        .map_err(|error| TlsError::unusable("AA_TLS_CERT", cert, &error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(server))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("AA_TLS_CLIENT_CA", path)? {
        roots.add(certificate).map_err(|error| TlsError::unusable("AA_TLS_CLIENT_CA", path, &error))?;
    }
    Ok(roots)
}

/// Reads every certificate in a file.
pub(crate) fn certificates(variable: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = pem::certificates(&read(variable, path)?);
    let certificates = certificates.map_err(|error| TlsError::unusable(variable, path, &error))?;
    Ok(certificates.into_iter().map(CertificateDer::from).collect())
}

/// Reads the private key in a file.
pub(crate) fn private_key(variable: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = pem::private_key(&read(variable, path)?);
    let mut key = key.map_err(|error: PemError| TlsError::unusable(variable, path, &error))?;
    let der = std::mem::take(&mut *key.der);
    Ok(match key.format {
        PrivateKeyFormat::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
        PrivateKeyFormat::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
        PrivateKeyFormat::Sec1 => PrivateKeyDer::Sec1(der.into()),
    })
}

fn read(variable: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path).map(Zeroizing::new).map_err(|error| TlsError::unusable(variable, path, &error))
}

/// Error of a file of TLS that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: `{}` cannot be used: {cause}", path.display())]
pub struct TlsError {
    variable: &'static str,
    path: PathBuf,
    cause: String,
}

impl TlsError {
    pub(crate) fn unusable(variable: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> Self {
        Self { variable, path: path.into(), cause: cause.to_string() }
    }
}

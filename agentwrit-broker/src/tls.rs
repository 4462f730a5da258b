//! TLS 1.2 and later, with or without client certificates. Certificates can be replaced while the broker runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use crate::config::TlsConfig;

/// How much of a response is encrypted ahead of what the client has taken, in bytes.
const BUFFER: usize = 16 * 1024;

/// Accepts encrypted connections. Clones share the certificate, which can be replaced while connections are open.
#[derive(Clone)]
pub(crate) struct Tls {
    files: TlsConfig,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    /// Reads the files that the mode needs; `None` in mode `none`.
    pub(crate) fn load(files: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let current = read(files)?;
        Ok(current.map(|current| Self { files: files.clone(), current: Arc::new(ArcSwap::from_pointee(current)) }))
    }

    /// Reads the files again. When they can't be used, the old certificate stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        if let Some(config) = read(&self.files)? {
            self.current.store(Arc::new(config));
        }
        Ok(())
    }

    /// Encrypts a connection, with the certificate of this moment.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER))).await
    }

    /// What changes when a file is replaced: its size, and when it was written.
    pub(crate) fn fingerprint(&self) -> Vec<Option<(u64, SystemTime)>> {
        let stamp = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        };
        match &self.files {
            TlsConfig::None => Vec::new(),
            TlsConfig::Tls { cert, key } => vec![stamp(cert), stamp(key)],
            TlsConfig::Mtls { cert, key, client_ca } => vec![stamp(cert), stamp(key), stamp(client_ca)],
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read(files: &TlsConfig) -> Result<Option<ServerConfig>, TlsError> {
    let (cert, key, client_ca) = match files {
        TlsConfig::None => return Ok(None),
        TlsConfig::Tls { cert, key } => (cert, key, None),
        TlsConfig::Mtls { cert, key, client_ca } => (cert, key, Some(client_ca)),
    };
    let builder = ServerConfig::builder();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(path)?))
                .build()
                .map_err(|error| TlsError::unusable("AA_TLS_CLIENT_CA", path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::unusable("AA_TLS_KEY", key, &error))?;
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

pub(crate) fn certificates(variable: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |error| TlsError::unusable(variable, path, &error);
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<_, _>>().map_err(unusable)?;
    if certificates.is_empty() {
        return Err(TlsError::unusable(variable, path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

/// A file that TLS needs can't be used.
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

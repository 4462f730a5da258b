//! TLS 1.2 and later, with or without client certificates, and the reload of certificates while the broker runs.
//!
//! 1. Files that changed are read again until they can be used; until then the previous certificates stay.
//! 2. A failed reload is logged once, and again when its reason changes; the metric `agentwrit_tls_renewal_failing` is 1
//!    until a reload succeeds. The broker serves meanwhile and is healthy.
//! 3. Failed handshakes are logged as warnings, folded by reason and address: [`handshakes`].

mod files;
mod handshakes;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};

use self::files::Fingerprint;
pub use self::files::TlsError;
pub(crate) use self::{
    files::{certificates, private_key},
    handshakes::FailedHandshakes,
};
use crate::config::TlsConfig;

/// Size of the buffer of encrypted bytes that the client has not read, in bytes.
const BUFFER: usize = 16 * 1024;

/// Acceptor of encrypted connections. Clones share the certificate, which can be replaced while connections are open.
#[derive(Clone)]
pub(crate) struct Tls {
    files: TlsConfig,
    current: Arc<ArcSwap<ServerConfig>>,
    renewal: Arc<Mutex<Renewal>>,
}

/// State of the reload of certificates.
struct Renewal {
    /// The files in use.
    loaded: Fingerprint,
    /// Reason that the current files cannot be used.
    failing: Option<TlsError>,
}

/// Outcome of a reload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The files have not changed.
    Unchanged,
    /// The certificates in the files are in use.
    Loaded,
    /// The files cannot be used. The previous certificates stay.
    Failed(TlsError),
    /// The files cannot be used, for the same reason as before.
    StillFailing,
}

impl Tls {
    /// Reads the files that the mode needs. Returns `None` in mode `none`.
    pub(crate) fn load(files: &TlsConfig) -> Result<Option<Self>, TlsError> {
        // Before the files are read, so that a change meanwhile causes another reload.
        let loaded = Fingerprint::of(files);
        let current = files::server_config(files)?;
        Ok(current.map(|current| Self {
            files: files.clone(),
            current: Arc::new(ArcSwap::from_pointee(current)),
            renewal: Arc::new(Mutex::new(Renewal { loaded, failing: None })),
        }))
    }

    /// Reads the files again if they are not those in use. If they cannot be used, the previous certificates stay and the
    /// next call tries again.
    pub(crate) fn reload_if_changed(&self) -> Reload {
        self.reload_unless(|renewal, found| renewal.loaded == *found)
    }

    /// Reads the files again, even if they have not changed.
    pub(crate) fn reload(&self) -> Reload {
        self.reload_unless(|_, _| false)
    }

    fn reload_unless(&self, unchanged: impl FnOnce(&Renewal, &Fingerprint) -> bool) -> Reload {
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let found = Fingerprint::of(&self.files);
        if renewal.failing.is_none() && unchanged(&renewal, &found) {
            return Reload::Unchanged;
        }
        match files::server_config(&self.files) {
            Ok(config) => {
                // Mode `none` has no files to reload.
                if let Some(config) = config {
                    self.current.store(Arc::new(config));
                }
                *renewal = Renewal { loaded: found, failing: None };
                Reload::Loaded
            }
            Err(error) if renewal.failing.as_ref() == Some(&error) => Reload::StillFailing,
            Err(error) => {
                renewal.failing = Some(error.clone());
                Reload::Failed(error)
            }
        }
    }

    /// Returns true if the last reload failed.
    pub(crate) fn is_renewal_failing(&self) -> bool {
        self.renewal.lock().unwrap_or_else(PoisonError::into_inner).failing.is_some()
    }

    /// Performs the handshake of a connection with the current certificate.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER))).await
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

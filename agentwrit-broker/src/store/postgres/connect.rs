//! How to reach the database: its URL and TLS.
//!
//! `sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`, with the meaning that libpq gives it.
//! `sslrootcert` names the file with the certificates to verify against.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_postgres::{AsyncMessage, Client, Config, config::SslMode, error::Severity};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, Verification};
use crate::store::{OpenError, StoreError};

/// Time after which a silent connection counts as lost.
const SILENCE: Duration = Duration::from_secs(5);
/// Time limit for the first connection to each host.
pub(super) const FIRST_CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for each host when a connection is made again, while clients wait.
pub(super) const RECONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A database that can be connected to.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Server {
    /// Parses a URL of the form `postgres://user:password@host1,host2/database?sslmode=verify-full&sslrootcert=ca.pem`.
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let rejected = |cause: String| OpenError::Database { cause };
        let (rest, tls_options) = split_tls_options(url);
        let mut config: Config = rest.parse().map_err(|error| rejected(format!("AA_DATABASE_URL: {error}")))?;
        let (mode, verification) = match tls_options.mode.as_deref() {
            Some("disable") => (SslMode::Disable, Verification::None),
            None | Some("prefer") => (SslMode::Prefer, Verification::None),
            Some("require") if tls_options.root_certificates.is_none() => (SslMode::Require, Verification::None),
            Some("require" | "verify-ca") => (SslMode::Require, Verification::Chain),
            Some("verify-full") => (SslMode::Require, Verification::ChainAndName),
            Some(other) => {
                let modes = "disable, prefer, require, verify-ca or verify-full";
                return Err(rejected(format!("`sslmode={other}` is unknown: use {modes}")));
            }
        };
        let tls = tls::connector(verification, tls_options.root_certificates.as_deref())?;
        config.ssl_mode(mode).connect_timeout(SILENCE).tcp_user_timeout(SILENCE);
        config.keepalives_idle(SILENCE).application_name("agentwrit-broker");
        Ok(Self { config, tls })
    }

    /// Connects, within `limit` for each host. The runtime of the caller drives the connection.
    pub(super) async fn connect(&self, limit: Duration) -> Result<(Client, Warned), StoreError> {
        self.connect_notified(limit, || {}).await
    }

    /// Connects, within `limit` for each host. Calls `notified` at each notification.
    pub(super) async fn connect_notified(
        &self,
        limit: Duration,
        notified: impl Fn() + Send + 'static,
    ) -> Result<(Client, Warned), StoreError> {
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        let connecting =
            tokio::time::timeout(limit.saturating_mul(hosts.max(1)), self.config.connect(self.tls.clone()));
        let silent = |_| StoreError::Unavailable { cause: "the database does not respond".to_owned() };
        let (client, mut connection) = connecting.await.map_err(silent)??;
        let warned = Warned::default();
        let notices = warned.clone();
        tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notice(notice))) if notice.parsed_severity() == Some(Severity::Warning) => {
                        tracing::warn!(component = "store", code = notice.code().code(), "{}", notice.message());
                        notices.0.store(true, Ordering::Relaxed);
                    }
                    Some(Ok(AsyncMessage::Notification(_))) => notified(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::warn!(component = "store", %error, "a connection to the database was lost");
                        break;
                    }
                    None => break,
                }
            }
        });
        Ok((client, warned))
    }

    /// Returns the name of the database for messages, without the password.
    pub(super) fn name(&self) -> String {
        self.config.get_dbname().unwrap_or("postgres").to_owned()
    }
}

/// Flag for a warning that the server sent on a connection, such as that a commit "might not have been replicated".
#[derive(Clone, Debug, Default)]
pub(super) struct Warned(Arc<AtomicBool>);

impl Warned {
    /// Returns whether a warning came since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("database", &self.name()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct TlsOptions {
    mode: Option<String>,
    root_certificates: Option<String>,
}

/// Takes `sslmode` and `sslrootcert` out of the parameters of a URL.
fn split_tls_options(url: &str) -> (String, TlsOptions) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), TlsOptions::default());
    };
    let mut options = TlsOptions::default();
    let mut others = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => options.mode = Some(decoded(mode)),
            Some(("sslrootcert", file)) => options.root_certificates = Some(decoded(file)),
            _ => others.push(parameter),
        }
    }
    (format!("{base}?{}", others.join("&")), options)
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_modes_of_tls_and_rejects_unknown_one() {
        for mode in ["disable", "prefer", "require"] {
            Server::parse(&format!("postgres://u@localhost/d?sslmode={mode}&target_session_attrs=read-write")).unwrap();
        }
        let OpenError::Database { cause } = Server::parse("postgres://u@h/d?sslmode=allow").unwrap_err() else {
            panic!()
        };
        assert_eq!(cause, "`sslmode=allow` is unknown: use disable, prefer, require, verify-ca or verify-full");
    }

    #[test]
    fn verifying_mode_needs_root_certificates() {
        let OpenError::Database { cause } = Server::parse("postgres://u@h/d?sslmode=verify-full").unwrap_err() else {
            panic!()
        };
        assert!(cause.contains("sslrootcert"), "{cause}");
    }
}

//! How to reach the database: its URL and TLS.
//!
//! `sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`, with the meaning that libpq gives it.
//! `sslrootcert` names the file with the certificates to verify against.

use std::{fmt, time::Duration};

use tokio_postgres::{Client, Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, Verification};
use crate::store::{OpenError, StoreError};

/// Time after which a silent connection counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

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

    /// Connects. The runtime of the caller drives the connection.
    pub(super) async fn connect(&self) -> Result<Client, StoreError> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(component = "store", %error, "a connection to the database was lost");
            }
        });
        Ok(client)
    }

    /// Returns the name of the database for messages, without the password.
    pub(super) fn name(&self) -> String {
        self.config.get_dbname().unwrap_or("postgres").to_owned()
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

//! TLS, as configured. The files are read when the listener opens.

use std::path::PathBuf;

use super::{
    error::ConfigError,
    names,
    values::{self, TlsMode, path},
    written::Written,
};

/// How connections are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// Plain HTTP.
    None,
    /// The broker shows a certificate.
    Tls {
        /// `AA_TLS_CERT`: its chain in PEM, leaf first.
        cert: PathBuf,
        /// `AA_TLS_KEY`: its private key in PEM.
        key: PathBuf,
    },
    /// Clients show one too.
    Mtls {
        /// `AA_TLS_CERT`: the broker's chain in PEM, leaf first.
        cert: PathBuf,
        /// `AA_TLS_KEY`: its private key in PEM.
        key: PathBuf,
        /// `AA_TLS_CLIENT_CA`: the authorities that clients' certificates come from, in PEM.
        client_ca: PathBuf,
    },
}

impl TlsConfig {
    pub(super) fn check(written: &Written) -> Result<Self, ConfigError> {
        let mode = written.value(&values::TLS_MODE)?;
        if mode == TlsMode::None && written.find(names::TLS_MODE).is_none() {
            // Whoever names a certificate wants TLS; serving plain HTTP then would be the worst surprise.
            return match Self::unused(written, mode).first() {
                Some(variable) => Err(ConfigError::TlsModeMissing { variable }),
                None => Ok(Self::None),
            };
        }
        Ok(match mode {
            TlsMode::None => Self::None,
            TlsMode::Tls => Self::Tls { cert: required(written, CERT, "tls")?, key: required(written, KEY, "tls")? },
            TlsMode::Mtls => Self::Mtls {
                cert: required(written, CERT, "mtls")?,
                key: required(written, KEY, "mtls")?,
                client_ca: required(written, CLIENT_CA, "mtls")?,
            },
        })
    }

    /// The paths that were written although the mode does not use them.
    pub(super) fn unused(written: &Written, mode: TlsMode) -> Vec<&'static str> {
        let unused: &[&'static str] = match mode {
            TlsMode::None => &[CERT, KEY, CLIENT_CA],
            TlsMode::Tls => &[CLIENT_CA],
            TlsMode::Mtls => &[],
        };
        let is_written = |name: &&str| written.find(name).is_some_and(|setting| !setting.text.is_empty());
        unused.iter().copied().filter(is_written).collect()
    }
}

const CERT: &str = "AA_TLS_CERT";
const KEY: &str = "AA_TLS_KEY";
const CLIENT_CA: &str = "AA_TLS_CLIENT_CA";

fn required(written: &Written, variable: &'static str, mode: &'static str) -> Result<PathBuf, ConfigError> {
    let text = written.find(variable).map(|setting| setting.text.as_str());
    text.and_then(path).ok_or(ConfigError::TlsPathMissing { variable, mode })
}

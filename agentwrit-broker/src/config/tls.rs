//! TLS, as configured. The files are read when the listener opens.

use std::path::PathBuf;

use super::{
    error::{ConfigError, Found},
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
    pub(super) fn check(written: &Written, found: &mut Found) -> Option<Self> {
        let mode = found.take(written.value(&values::TLS_MODE))?;
        if mode == TlsMode::None && written.find(names::TLS_MODE).is_none() {
            // An operator who names a certificate wants TLS; serving plain HTTP then would be the worst surprise.
            let unused = Self::unused(written, mode);
            return match unused.first() {
                Some(variable) => found.take(Err(ConfigError::TlsModeMissing { variable })),
                None => Some(Self::None),
            };
        }
        let mut required = |variable, mode| found.take(required(written, variable, mode));
        match mode {
            TlsMode::None => Some(Self::None),
            TlsMode::Tls => {
                let (cert, key) = (required(CERT, "tls"), required(KEY, "tls"));
                Some(Self::Tls { cert: cert?, key: key? })
            }
            TlsMode::Mtls => {
                let (cert, key) = (required(CERT, "mtls"), required(KEY, "mtls"));
                let client_ca = required(CLIENT_CA, "mtls");
                Some(Self::Mtls { cert: cert?, key: key?, client_ca: client_ca? })
            }
        }
    }

    /// The paths that were written although the mode does not use them.
    pub(super) fn unused(written: &Written, mode: TlsMode) -> Vec<&'static str> {
        let unused: &[&'static str] = match mode {
            TlsMode::None => &[CERT, KEY, CLIENT_CA],
            TlsMode::Tls => &[CLIENT_CA],
            TlsMode::Mtls => &[],
        };
        unused.iter().copied().filter(|name| written.find(name).is_some()).collect()
    }
}

const CERT: &str = "AA_TLS_CERT";
const KEY: &str = "AA_TLS_KEY";
const CLIENT_CA: &str = "AA_TLS_CLIENT_CA";

fn required(written: &Written, variable: &'static str, mode: &'static str) -> Result<PathBuf, ConfigError> {
    let text = written.find(variable).map(|setting| setting.text.as_str());
    text.and_then(path).ok_or(ConfigError::TlsPathMissing { variable, mode })
}

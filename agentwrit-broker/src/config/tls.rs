//! Configuration of TLS. Its files are read when the listener opens.

use std::path::PathBuf;

use super::{
    error::{ConfigError, ErrorList},
    names,
    sources::Settings,
    values::{self, TlsMode, path},
};

/// Protection of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// Plain HTTP.
    None,
    /// The broker presents a certificate.
    Tls {
        /// `AA_TLS_CERT`: its chain in PEM, leaf first.
        cert: PathBuf,
        /// `AA_TLS_KEY`: its private key in PEM.
        key: PathBuf,
    },
    /// Clients present a certificate too.
    Mtls {
        /// `AA_TLS_CERT`: the broker's chain in PEM, leaf first.
        cert: PathBuf,
        /// `AA_TLS_KEY`: its private key in PEM.
        key: PathBuf,
        /// `AA_TLS_CLIENT_CA`: authorities of client certificates in PEM.
        client_ca: PathBuf,
    },
}

impl TlsConfig {
    pub(super) fn check(settings: &Settings, errors: &mut ErrorList) -> Option<Self> {
        let mode = errors.keep(settings.value(&values::TLS_MODE))?;
        if mode == TlsMode::None && settings.find(names::TLS_MODE).is_none() {
            // A certificate without a mode must not serve plain HTTP.
            let unused = Self::unused(settings, mode);
            return match unused.first() {
                Some(variable) => errors.keep(Err(ConfigError::TlsModeMissing { variable })),
                None => Some(Self::None),
            };
        }
        let mut required = |variable, mode| errors.keep(required(settings, variable, mode));
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

    /// Returns the paths that are set and that the mode does not use.
    pub(super) fn unused(settings: &Settings, mode: TlsMode) -> Vec<&'static str> {
        let unused: &[&'static str] = match mode {
            TlsMode::None => &[CERT, KEY, CLIENT_CA],
            TlsMode::Tls => &[CLIENT_CA],
            TlsMode::Mtls => &[],
        };
        unused.iter().copied().filter(|name| settings.find(name).is_some()).collect()
    }
}

const CERT: &str = "AA_TLS_CERT";
const KEY: &str = "AA_TLS_KEY";
const CLIENT_CA: &str = "AA_TLS_CLIENT_CA";

fn required(settings: &Settings, variable: &'static str, mode: &'static str) -> Result<PathBuf, ConfigError> {
    let text = settings.find(variable).map(|setting| setting.text.as_str());
    text.and_then(path).ok_or(ConfigError::TlsPathMissing { variable, mode })
}

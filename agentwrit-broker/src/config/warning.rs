//! What is legal but hardly meant.

use std::{fmt, net::IpAddr};

use super::{Config, Mode, TlsConfig, values, written::Written};

/// Something to tell the operator at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable of the environment that begins like ours.
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// A path for TLS that the mode does not use.
    UnusedTlsPath {
        /// The variable.
        variable: &'static str,
    },
    /// Secrets cross the network in clear.
    PlainHttp {
        /// Where the broker listens.
        address: IpAddr,
    },
    /// Seed tokens, but the config file says production.
    SeedTokensInProduction,
}

impl Warning {
    pub(super) fn all(config: &Config, written: &Written) -> Vec<Self> {
        let mut warnings: Vec<Self> =
            written.strangers.iter().map(|name| Self::UnknownVariable { name: name.clone() }).collect();
        let unused = written.value(&values::TLS_MODE).map(|mode| TlsConfig::unused(written, mode)).unwrap_or_default();
        warnings.extend(unused.into_iter().map(|variable| Self::UnusedTlsPath { variable }));
        let address = config.bind.ip();
        // Behind a trusted proxy it is the proxy's part to speak TLS.
        if config.tls == TlsConfig::None && !address.is_loopback() && config.trusted_proxies.is_empty() {
            warnings.push(Self::PlainHttp { address });
        }
        if config.seed_tokens && config.mode == Some(Mode::Production) {
            warnings.push(Self::SeedTokensInProduction);
        }
        warnings
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariable { name } => write!(f, "`{name}` is not a variable of this broker"),
            Self::UnusedTlsPath { variable } => write!(f, "`{variable}` is set but AA_TLS_MODE does not use it"),
            Self::PlainHttp { address } => {
                write!(
                    f,
                    "AA_BIND_ADDRESS is `{address}` and AA_TLS_MODE is `none`: secrets cross the network in clear"
                )
            }
            Self::SeedTokensInProduction => {
                f.write_str("AA_SEED_TOKENS prints tokens, and the config file says MODE=production")
            }
        }
    }
}

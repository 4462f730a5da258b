//! What is legal but hardly meant.

use std::{fmt, net::IpAddr, path::PathBuf};

use super::{
    Mode, Origin, TlsConfig, names,
    values::{self, TlsMode},
    written::Written,
};

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
    /// Quotation marks around a value: they belong to it.
    Quoted {
        /// The variable.
        variable: &'static str,
        /// Where the value stands.
        origin: Origin,
    },
    /// A lifetime that is cut to the ceiling.
    TtlAboveMaximum {
        /// The variable.
        variable: &'static str,
        /// Its value in seconds.
        ttl: u64,
        /// `AA_MAX_TTL` in seconds.
        maximum: u64,
    },
    /// A config file in the usual places that this process may not read.
    FileSkipped {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// A config file with the admin secret that its group can open.
    FileOpenToGroup {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Warning {
    pub(super) fn all(written: &Written) -> Vec<Self> {
        let mut warnings: Vec<Self> =
            written.unknown.iter().map(|name| Self::UnknownVariable { name: name.clone() }).collect();
        warnings.extend(Self::of_files(written));
        let quoted = written.all().filter(|(_, setting)| is_quoted(&setting.text));
        warnings.extend(quoted.map(|(variable, setting)| Self::Quoted { variable, origin: setting.origin.clone() }));
        warnings.extend(Self::of_ttls(written));
        let tls = written.value(&values::TLS_MODE);
        let unused = tls.as_ref().map(|mode| TlsConfig::unused(written, *mode)).unwrap_or_default();
        warnings.extend(unused.into_iter().map(|variable| Self::UnusedTlsPath { variable }));
        // Behind a trusted proxy it is the proxy's part to speak TLS.
        if let (Ok(TlsMode::None), Ok(address)) = (tls, written.value(&values::BIND_ADDRESS))
            && !address.is_loopback()
            && written.find(values::TRUSTED_PROXIES.name).is_none()
        {
            warnings.push(Self::PlainHttp { address });
        }
        let mode = written.value(&values::MODE).unwrap_or_default();
        if written.value(&values::SEED_TOKENS) == Ok(true) && mode == Some(Mode::Production) {
            warnings.push(Self::SeedTokensInProduction);
        }
        warnings
    }

    fn of_files(written: &Written) -> Vec<Self> {
        let skipped = written.unreadable.iter();
        let mut warnings: Vec<Self> =
            skipped.map(|(path, cause)| Self::FileSkipped { path: path.clone(), cause: cause.clone() }).collect();
        let secret = written.find(names::ADMIN_SECRET).map(|setting| &setting.origin);
        if let (Some(Origin::File { .. }), Some((path, mode))) = (secret, &written.file)
            && mode & 0o070 != 0
        {
            warnings.push(Self::FileOpenToGroup { path: path.clone(), mode: *mode });
        }
        warnings
    }

    /// Only what was written: that a default is cut to a ceiling is no surprise.
    fn of_ttls(written: &Written) -> Vec<Self> {
        let Ok(Some(maximum)) = written.value(&values::MAX_TTL) else { return Vec::new() };
        let ttls = [&values::DEFAULT_TTL, &values::ADMIN_TOKEN_TTL, &values::APP_TOKEN_TTL].into_iter();
        ttls.filter(|variable| written.find(variable.name).is_some())
            .filter_map(|variable| Some((variable.name, written.value(variable).ok()?)))
            .filter(|(_, ttl)| *ttl > maximum)
            .map(|(variable, ttl)| Self::TtlAboveMaximum { variable, ttl, maximum })
            .collect()
    }
}

/// Docker's `--env-file` and config files keep quotation marks, unlike shells.
fn is_quoted(text: &str) -> bool {
    ['"', '\''].iter().any(|mark| text.len() > 1 && text.starts_with(*mark) && text.ends_with(*mark))
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
            Self::Quoted { variable, origin } => {
                write!(
                    f,
                    "{variable} ({origin}) begins and ends with a quotation mark, which belongs to the value: remove both"
                )
            }
            Self::TtlAboveMaximum { variable, ttl, maximum } => {
                write!(f, "{variable} is {ttl} but AA_MAX_TTL is {maximum}: tokens get {maximum} seconds at most")
            }
            Self::FileSkipped { path, cause } => {
                write!(
                    f,
                    "the config file `{}` is not used: {cause}; let the broker's user read it, or name another with AA_CONFIG_PATH",
                    path.display()
                )
            }
            Self::FileOpenToGroup { path, mode } => {
                write!(
                    f,
                    "the config file `{}` holds the admin secret and its group can open it (mode {mode:04o}): \
                     run `chmod 600` on it unless the group is meant to",
                    path.display()
                )
            }
        }
    }
}

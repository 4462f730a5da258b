//! Warnings about settings that are valid and probably not intended.

use std::{fmt, net::IpAddr, path::PathBuf};

use super::{
    Mode, Origin, TlsConfig, names,
    sources::Settings,
    values::{self, SenderConstrained, TlsMode},
};

/// Seconds for which HTTP caches may hold the key set.
const KEY_SET_MAX_AGE: u64 = 300;

/// Warning for the operator at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable of the environment begins with `AA_` and is not known.
    UnknownVariable {
        /// Name of the variable.
        name: String,
    },
    /// The TLS mode does not use a path that is set.
    UnusedTlsPath {
        /// The variable.
        variable: &'static str,
    },
    /// Secrets cross the network unencrypted.
    PlainHttp {
        /// Address of the listener.
        address: IpAddr,
    },
    /// Agents' tokens are bound to keys, and no proof for this broker can name the URL that its clients call.
    ExternalUrlMissing {
        /// Address of the listener.
        address: IpAddr,
    },
    /// Seed tokens are printed and `MODE` is `production`.
    SeedTokensInProduction,
    /// Quotation marks enclose a value and are part of it.
    Quoted {
        /// The variable.
        variable: &'static str,
        /// Origin of the value.
        origin: Origin,
    },
    /// A lifetime is reduced to the maximum.
    TtlAboveMaximum {
        /// The variable.
        variable: &'static str,
        /// Configured lifetime in seconds.
        ttl: u64,
        /// `AA_MAX_TTL` in seconds.
        maximum: u64,
    },
    /// A new signing key may sign before third parties, which cache the key set, have it.
    ShortPreparation {
        /// `AA_KEY_PREPARE_FOR` in seconds.
        seconds: u64,
    },
    /// This process may not read a config file in the default places.
    FileSkipped {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
    /// The group can open a config file with the admin secret.
    FileOpenToGroup {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Warning {
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let mut warnings: Vec<Self> =
            settings.unknown.iter().map(|name| Self::UnknownVariable { name: name.clone() }).collect();
        warnings.extend(Self::of_files(settings));
        let quoted = settings.all().filter(|(_, setting)| is_quoted(&setting.text));
        warnings.extend(quoted.map(|(variable, setting)| Self::Quoted { variable, origin: setting.origin.clone() }));
        warnings.extend(Self::of_ttls(settings));
        let tls = settings.value(&values::TLS_MODE);
        let unused = tls.as_ref().map(|mode| TlsConfig::unused(settings, *mode)).unwrap_or_default();
        warnings.extend(unused.into_iter().map(|variable| Self::UnusedTlsPath { variable }));
        warnings.extend(Self::of_external_url(settings));
        // A trusted proxy terminates TLS.
        if let (Ok(TlsMode::None), Ok(address)) = (tls, settings.value(&values::BIND_ADDRESS))
            && !address.is_loopback()
            && settings.find(values::TRUSTED_PROXIES.name).is_none()
        {
            warnings.push(Self::PlainHttp { address });
        }
        let mode = settings.value(&values::MODE).unwrap_or_default();
        if settings.value(&values::SEED_TOKENS) == Ok(true) && mode == Some(Mode::Production) {
            warnings.push(Self::SeedTokensInProduction);
        }
        if let Ok(prepare_for) = settings.value(&values::KEY_PREPARE_FOR)
            && prepare_for.as_secs() < KEY_SET_MAX_AGE
        {
            warnings.push(Self::ShortPreparation { seconds: prepare_for.as_secs() });
        }
        warnings
    }

    /// Checks that agents can renew, if all of their tokens are bound.
    fn of_external_url(settings: &Settings) -> Option<Self> {
        let address = settings.value(&values::BIND_ADDRESS).ok().filter(|address| !address.is_loopback())?;
        let is_required = settings.value(&values::SENDER_CONSTRAINED) == Ok(SenderConstrained::Required);
        (is_required && settings.find(values::EXTERNAL_URL.name).is_none())
            .then_some(Self::ExternalUrlMissing { address })
    }

    fn of_files(settings: &Settings) -> Vec<Self> {
        let skipped = settings.unreadable.iter();
        let mut warnings: Vec<Self> =
            skipped.map(|(path, cause)| Self::FileSkipped { path: path.clone(), cause: cause.clone() }).collect();
        let secret = settings.find(names::ADMIN_SECRET).map(|setting| &setting.origin);
        if let (Some(Origin::File { .. }), Some((path, mode))) = (secret, &settings.file)
            && mode & 0o070 != 0
        {
            warnings.push(Self::FileOpenToGroup { path: path.clone(), mode: *mode });
        }
        warnings
    }

    /// Checks lifetimes that are set; a default is reduced without a warning.
    fn of_ttls(settings: &Settings) -> Vec<Self> {
        let Ok(Some(maximum)) = settings.value(&values::MAX_TTL) else { return Vec::new() };
        let ttls = [&values::DEFAULT_TTL, &values::ADMIN_TOKEN_TTL, &values::APP_TOKEN_TTL].into_iter();
        ttls.filter(|variable| settings.find(variable.name).is_some())
            .filter_map(|variable| Some((variable.name, settings.value(variable).ok()?)))
            .filter(|(_, ttl)| *ttl > maximum)
            .map(|(variable, ttl)| Self::TtlAboveMaximum { variable, ttl, maximum })
            .collect()
    }
}

/// Returns true for quotation marks, which `--env-file` of Docker and config files keep, unlike shells.
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
            Self::ExternalUrlMissing { address } => {
                write!(
                    f,
                    "AA_SENDER_CONSTRAINED is `required`, AA_BIND_ADDRESS is `{address}` and AA_EXTERNAL_URL is not set: agents that \
                     reach the broker by another URL than the address of its listener can't renew"
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
            Self::ShortPreparation { seconds } => write!(
                f,
                "AA_KEY_PREPARE_FOR is {seconds} s, and third parties may cache the key set for {KEY_SET_MAX_AGE} s: they \
                 would reject tokens of a new key"
            ),
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

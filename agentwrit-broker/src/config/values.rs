//! Variables: the values that each accepts, and its default.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use agentwrit_protocol::limits::{MAX_TOKEN_TTL, MIN_APP_TOKEN_TTL};
use agentwrit_verify::{TrustDomain, audit::ChainBreakId, proof::ExternalUrl};
use ipnet::{IpNet, Ipv6Net};
use reqwest::Url;

use super::names;
use crate::{
    attestation::{PrivateHosts, api_server_url},
    limits::budgets::SessionBudget,
    telemetry::log::{LogFormat, LogLevel},
};

/// Variable, with the function that parses its text. Errors quote `accepts`.
pub(super) struct Variable<T> {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    pub(super) accepts: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
}

pub(super) const PORT: Variable<u16> = Variable {
    name: "AA_PORT",
    default: "8080",
    accepts: "a port number from 1 to 65535, or 0 for any free one",
    parse: |text| number(text)?.try_into().ok(),
};

pub(super) const BIND_ADDRESS: Variable<IpAddr> = Variable {
    name: "AA_BIND_ADDRESS",
    default: "127.0.0.1",
    accepts: "an IP address of this machine, such as `127.0.0.1`, `::1` or `0.0.0.0`",
    parse: |text| text.parse().ok(),
};

pub(super) const LOG_LEVEL: Variable<LogLevel> = Variable {
    name: "AA_LOG_LEVEL",
    default: "verbose",
    accepts: "`quiet`, `standard`, `verbose` or `trace`; `error` and `warn` are `quiet`, `info` is `verbose`, `debug` is `trace`",
    parse: |text| match text {
        "quiet" | "error" | "warn" => Some(LogLevel::Quiet),
        "standard" => Some(LogLevel::Standard),
        "verbose" | "info" => Some(LogLevel::Verbose),
        "trace" | "debug" => Some(LogLevel::Trace),
        _ => None,
    },
};

pub(super) const LOG_FORMAT: Variable<LogFormat> = Variable {
    name: "AA_LOG_FORMAT",
    default: "text",
    accepts: "`text` or `json`",
    parse: |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    },
};

pub(super) const TRUST_DOMAIN: Variable<TrustDomain> = Variable {
    name: "AA_TRUST_DOMAIN",
    default: "agentwrit.local",
    accepts: "a SPIFFE trust domain: 1 to 255 of `a-z 0-9 . _ -`",
    parse: |text| TrustDomain::parse(text).ok(),
};

pub(super) const ISSUER: Variable<Option<String>> = Variable {
    name: "AA_ISSUER",
    default: "",
    accepts: "1 to 256 visible ASCII characters, usually an https URL; empty for `https://<trust domain>`",
    parse: claim,
};

pub(super) const AUDIENCE: Variable<Option<String>> = Variable {
    name: "AA_AUDIENCE",
    default: "",
    accepts: "1 to 256 visible ASCII characters; empty for none",
    parse: claim,
};

/// Policy for binding agents' tokens to their registered keys (RFC 9449).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderConstrained {
    /// No launch token, app or agent can ask for it. Tokens that are bound stay bound.
    Off,
    /// Launch tokens, apps and agents ask for it.
    #[default]
    Allowed,
    /// Every token of an agent is bound.
    Required,
}

impl SenderConstrained {
    /// Returns the text of the setting.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Allowed => "allowed",
            Self::Required => "required",
        }
    }
}

pub(super) const SENDER_CONSTRAINED: Variable<SenderConstrained> = Variable {
    name: "AA_SENDER_CONSTRAINED",
    default: "allowed",
    accepts: "`off`, `allowed` or `required`",
    parse: |text| match text {
        "off" => Some(SenderConstrained::Off),
        "allowed" => Some(SenderConstrained::Allowed),
        "required" => Some(SenderConstrained::Required),
        _ => None,
    },
};

pub(super) const EXTERNAL_URL: Variable<Vec<ExternalUrl>> = Variable {
    name: "AA_EXTERNAL_URL",
    default: "",
    accepts: "URLs under which clients reach this broker, such as `https://broker.example.com`, separated by commas: \
              `http` or `https`, with a host, without user, query and fragment; empty for the address that it listens on",
    parse: external_urls,
};

pub(super) const DEFAULT_TTL: Variable<u64> = Variable {
    name: "AA_DEFAULT_TTL",
    default: "300",
    accepts: "whole seconds from 1 to 86400",
    parse: |text| number(text).filter(|ttl| (1..=MAX_TOKEN_TTL).contains(ttl)),
};

pub(super) const MAX_TTL: Variable<Option<u64>> = Variable {
    name: "AA_MAX_TTL",
    default: "86400",
    accepts: "whole seconds from 1 to 31536000 (a year), or 0 for no ceiling",
    parse: |text| match number(text)? {
        0 => Some(None),
        ttl @ 1..=31_536_000 => Some(Some(ttl)),
        _ => None,
    },
};

pub(super) const ADMIN_TOKEN_TTL: Variable<u64> = Variable {
    name: "AA_ADMIN_TOKEN_TTL",
    default: "300",
    accepts: "whole seconds from 1 to 86400",
    parse: |text| number(text).filter(|ttl| (1..=MAX_TOKEN_TTL).contains(ttl)),
};

pub(super) const APP_TOKEN_TTL: Variable<u64> = Variable {
    name: "AA_APP_TOKEN_TTL",
    default: "1800",
    accepts: "whole seconds from 60 to 86400",
    parse: |text| number(text).filter(|ttl| (MIN_APP_TOKEN_TTL..=MAX_TOKEN_TTL).contains(ttl)),
};

pub(super) const SESSION_BUDGET: Variable<Option<SessionBudget>> = Variable {
    name: "AA_SESSION_BUDGET",
    default: "20/1",
    accepts: "renewals at once and renewals a second after that, such as `20/1`, each from 1 to 1000000; or `off`",
    parse: session_budget,
};

pub(super) const DB_PATH: Variable<PathBuf> = Variable {
    name: "AA_DB_PATH",
    default: "./data.db",
    accepts: "a path to a file (not `:memory:` nor a `file:` URI)",
    // SQLite does not treat these two as paths, and a database in memory is not durable.
    parse: |text| path(text).filter(|_| !text.starts_with(':') && !text.starts_with("file:")),
};

pub(super) const STATE_PATH: Variable<PathBuf> =
    Variable { name: "AA_STATE_PATH", default: "./broker.state", accepts: "a path to a file", parse: path };

/// Reaction to a database that lacks commits which this broker saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLostHistory {
    /// Everything issued so far is revoked, in a new epoch of the revocation log.
    RevokeAll,
    /// The broker stops.
    Stop,
}

pub(super) const ON_LOST_HISTORY: Variable<OnLostHistory> = Variable {
    name: "AA_ON_LOST_HISTORY",
    default: "revoke-all",
    accepts: "`revoke-all` or `stop`",
    parse: |text| match text {
        "revoke-all" => Some(OnLostHistory::RevokeAll),
        "stop" => Some(OnLostHistory::Stop),
        _ => None,
    },
};

pub(super) const SIGNING_KEY_PATH: Variable<PathBuf> =
    Variable { name: "AA_SIGNING_KEY_PATH", default: "./signing.key", accepts: "a path to a file", parse: path };

pub(super) const KEY_ROTATION: Variable<Option<Duration>> = Variable {
    name: "AA_KEY_ROTATION",
    default: "off",
    accepts: "a period of 1 to 3650 days, such as `30d`, `720h` or whole seconds; or `off`",
    parse: |text| match text {
        "off" => Some(None),
        _ => duration(text).filter(|period| (DAY..=3650 * DAY).contains(&period.as_secs())).map(Some),
    },
};

pub(super) const KEY_PREPARE_FOR: Variable<Duration> = Variable {
    name: "AA_KEY_PREPARE_FOR",
    default: "600",
    accepts: "whole seconds from 1 to 86400, or a time such as `10m` or `2h`",
    parse: |text| duration(text).filter(|time| (1..=DAY).contains(&time.as_secs())),
};

pub(super) const ATTESTATION_PRIVATE_HOSTS: Variable<PrivateHosts> = Variable {
    name: "AA_ATTESTATION_PRIVATE_HOSTS",
    default: "",
    accepts: "names of hosts, such as `keys.internal`, separated by commas; empty for none",
    parse: PrivateHosts::parse,
};

pub(super) const KUBERNETES_API_URL: Variable<Option<Url>> = Variable {
    name: "AA_KUBERNETES_API_URL",
    default: "",
    accepts: "an `https` URL such as `https://kubernetes.default.svc`, or `http` with a literal loopback address, without user, \
              query and fragment; empty for none",
    parse: |text| match text {
        "" => Some(None),
        _ => api_server_url(text).map(Some),
    },
};

pub(super) const KUBERNETES_TOKEN_PATH: Variable<PathBuf> = Variable {
    name: "AA_KUBERNETES_TOKEN_PATH",
    default: "/var/run/secrets/kubernetes.io/serviceaccount/token",
    accepts: "a path to a file",
    parse: path,
};

pub(super) const KUBERNETES_CA_PATH: Variable<PathBuf> = Variable {
    name: "AA_KUBERNETES_CA_PATH",
    default: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
    accepts: "a path to a PEM file",
    parse: path,
};

pub(super) const KUBERNETES_WATCH: Variable<bool> =
    Variable { name: "AA_KUBERNETES_WATCH", default: "false", accepts: SEED_TOKENS.accepts, parse: SEED_TOKENS.parse };

pub(super) const TLS_MODE: Variable<TlsMode> = Variable {
    name: names::TLS_MODE,
    default: "none",
    accepts: "`none`, `tls` or `mtls`",
    parse: |text| match text {
        "none" => Some(TlsMode::None),
        "tls" => Some(TlsMode::Tls),
        "mtls" => Some(TlsMode::Mtls),
        _ => None,
    },
};

pub(super) const TRUSTED_PROXIES: Variable<Vec<IpNet>> = Variable {
    name: "AA_TRUSTED_PROXIES",
    default: "",
    accepts: "networks such as `10.0.0.0/8,2001:db8::/32` separated by commas, together less than half of all \
              addresses and not all of 2000::/3; empty for none",
    parse: networks,
};

pub(super) const ACCEPT_BROKEN_AUDIT: Variable<Vec<ChainBreakId>> = Variable {
    name: "AA_ACCEPT_BROKEN_AUDIT",
    default: "",
    accepts: "breaks of the audit trail as a refused start names them, separated by commas; empty for none",
    parse: |text| match text {
        "" => Some(Vec::new()),
        _ => text.split(',').map(|id| ChainBreakId::parse(id).ok()).collect(),
    },
};

pub(super) const CONSOLE: Variable<bool> =
    Variable { name: "AA_CONSOLE", default: "false", accepts: "`true` or `false`", parse: flag };

pub(super) const SEED_TOKENS: Variable<bool> =
    Variable { name: "AA_SEED_TOKENS", default: "false", accepts: "`true` or `false`", parse: flag };

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

pub(super) const MODE: Variable<Option<Mode>> = Variable {
    name: names::MODE,
    default: "",
    accepts: "`development` or `production`",
    parse: |text| match text {
        "" => Some(None),
        "dev" | "development" => Some(Some(Mode::Development)),
        "prod" | "production" => Some(Some(Mode::Production)),
        _ => None,
    },
};

/// Purpose for which `awrit init` made the config file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Development.
    Development,
    /// Production.
    Production,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    None,
    Tls,
    Mtls,
}

#[expect(
    clippy::option_option,
    reason = "the outer one is None for a text that is not accepted, the inner one for an unset value"
)]
fn session_budget(text: &str) -> Option<Option<SessionBudget>> {
    if text == "off" {
        return Some(None);
    }
    let (at_once, per_second) = text.split_once('/')?;
    let count = |text: &str| u32::try_from(number(text)?).ok().filter(|count| (1..=1_000_000).contains(count));
    Some(Some(SessionBudget { at_once: count(at_once)?, per_second: count(per_second)? }))
}

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Parses whole seconds, or a whole number with the unit `s`, `m`, `h` or `d`.
fn duration(text: &str) -> Option<Duration> {
    let (count, seconds) = match text.char_indices().next_back()? {
        (at, 's') => (text.get(..at)?, 1),
        (at, 'm') => (text.get(..at)?, 60),
        (at, 'h') => (text.get(..at)?, 3600),
        (at, 'd') => (text.get(..at)?, DAY),
        _ => (text, 1),
    };
    number(count)?.checked_mul(seconds).map(Duration::from_secs)
}

/// Parses digits only: no sign, fraction or white space.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// Parses the value of `iss` or `aud`.
#[expect(
    clippy::option_option,
    reason = "the outer one is None for a text that is not accepted, the inner one for an unset value"
)]
fn claim(text: &str) -> Option<Option<String>> {
    let is_visible = text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_visible.then(|| (!text.is_empty()).then(|| text.to_owned()))
}

fn external_urls(text: &str) -> Option<Vec<ExternalUrl>> {
    match text {
        "" => Some(Vec::new()),
        _ => text.split(',').map(|url| ExternalUrl::parse(url.trim()).ok()).collect(),
    }
}

fn networks(text: &str) -> Option<Vec<IpNet>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let networks = text.split(',').map(|entry| network(entry.trim())).collect::<Option<Vec<_>>>()?;
    (!is_catch_all(&networks)).then_some(networks)
}

/// Returns true if so many addresses are trusted that clients are among them, which could then choose their address.
fn is_catch_all(networks: &[IpNet]) -> bool {
    let whole = IpNet::aggregate(&networks.to_vec());
    // In units of the longest prefix: 2^32 of all IPv4 addresses, 2^64 networks of IPv6.
    let share = |is_v4: bool, bits: u8| {
        let networks = whole.iter().filter(|network| network.addr().is_ipv4() == is_v4);
        networks.map(|network| 1_u128 << bits.saturating_sub(network.prefix_len())).sum::<u128>()
    };
    let public: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3));
    share(true, 32) >= 1 << 31 || share(false, 64) >= 1 << 63 || whole.iter().any(|network| network.contains(&public))
}

/// Parses a network or one address. IPv4 in IPv6 becomes IPv4, as in the addresses that are compared with it.
fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network.trunc(),
        Err(_) => text.parse::<IpAddr>().ok()?.into(),
    };
    let address = network.addr().to_canonical();
    let length = match (network, address) {
        (IpNet::V6(mapped), IpAddr::V4(_)) => mapped.prefix_len().checked_sub(96)?,
        (IpNet::V4(_) | IpNet::V6(_), _) => network.prefix_len(),
    };
    IpNet::new(address, length).ok()
}

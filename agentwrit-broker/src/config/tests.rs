use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::{CommandFactory, Parser};

use super::*;
use crate::keys::AdminSecretError;

const SECRET: &str = "correct horse battery staple";

/// Environment, files and command line of a process.
#[derive(Default)]
struct Process {
    args: Args,
    environment: Vec<(OsString, OsString)>,
    files: BTreeMap<PathBuf, FileContents>,
    forbidden: BTreeSet<PathBuf>,
}

impl Process {
    fn bare() -> Self {
        Self::default()
    }

    fn with_secret() -> Self {
        Self::bare().env("AA_ADMIN_SECRET", SECRET)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn file(mut self, path: &str, text: &str, mode: u32) -> Self {
        self.files.insert(path.into(), FileContents { text: text.into(), mode });
        self
    }

    fn forbidden_file(mut self, path: &str) -> Self {
        self.forbidden.insert(path.into());
        self
    }

    fn flags(mut self, flags: &[&str]) -> Self {
        self.args = Args::try_parse_from([&["agentwrit-broker"], flags].concat()).unwrap();
        self
    }

    fn report(self) -> ConfigReport {
        let read = |path: &Path| {
            if self.forbidden.contains(path) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        Config::report(&self.args, self.environment, &read)
    }

    /// Returns the configuration, or its only error.
    fn load(self) -> Result<Config, ConfigError> {
        self.report().config.map_err(|errors| {
            let errors: Vec<_> = errors.iter().cloned().collect();
            let [error] = errors.as_slice() else { panic!("one error: {errors:?}") };
            error.clone()
        })
    }

    fn error(self) -> ConfigError {
        self.load().unwrap_err()
    }
}

fn of_environment(name: &str, value: &str) -> Result<Config, ConfigError> {
    Process::with_secret().env(name, value).load()
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Process::with_secret().load().unwrap();
    assert_eq!(config.bind.to_string(), "127.0.0.1:8080");
    assert_eq!((config.log_level, config.log_format), (LogLevel::Verbose, LogFormat::Text));
    assert_eq!(config.trust_domain.as_str(), "agentwrit.local");
    assert_eq!(config.issuer, "https://agentwrit.local");
    assert_eq!(config.audience, None);
    assert_eq!(config.sender_constrained, SenderConstrained::Allowed);
    assert!(config.external_urls.is_empty());
    assert_eq!((config.default_ttl, config.max_ttl), (300, Some(86_400)));
    assert_eq!((config.admin_token_ttl, config.app_token_ttl), (300, 1_800));
    assert_eq!(config.session_budget, Some(SessionBudget { at_once: 20, per_second: 1 }));
    assert_eq!(config.db_path, Path::new("./data.db"));
    assert_eq!(config.signing_key_path, Path::new("./signing.key"));
    assert_eq!((config.key_rotation, config.key_prepare_for), (None, Duration::from_secs(600)));
    assert_eq!(config.tls, TlsConfig::None);
    assert_eq!(config.trusted_proxies, []);
    assert!(!config.seed_tokens && config.accept_broken_audit.is_empty());
    assert_eq!((config.mode, config.file), (None, None));
    assert_eq!(config.warnings, []);
}

#[test]
fn each_variable_rejects_bad_values_and_names_accepted_ones() {
    let bad: [(&str, &[&str], &str); 21] = [
        ("AA_ACCEPT_BROKEN_AUDIT", &["true", "1", "evt-000003", "evt-000003:ab", ","], "breaks of the audit trail"),
        (
            "AA_SESSION_BUDGET",
            &["none", "20", "0", "0/1", "20/0", "20/1/1", "/", "20/", "20/0.5", " 20/1", "1000001/1", "-1/1"],
            "renewals at once",
        ),
        ("AA_PORT", &["http", "65536", "-1", "+80", "80 ", "8080.0", "99999999999999999999"], "port number"),
        ("AA_BIND_ADDRESS", &["localhost", "127.0.0", "127.0.0.1:80", "[::1]", "0x7f.1"], "an IP address"),
        ("AA_LOG_LEVEL", &["Verbose", "debugging", "3"], "`quiet`, `standard`, `verbose` or `trace`"),
        ("AA_LOG_FORMAT", &["JSON", "logfmt"], "`text` or `json`"),
        ("AA_TRUST_DOMAIN", &["Example.org", "a b", "a/b", "spiffe://a"], "SPIFFE trust domain"),
        ("AA_ISSUER", &["https://a b", "https://é", "a\nb"], "visible ASCII"),
        ("AA_AUDIENCE", &["a b", "é", "a\tb"], "visible ASCII"),
        ("AA_SENDER_CONSTRAINED", &["on", "true", "Required", "dpop"], "`off`, `allowed` or `required`"),
        (
            "AA_EXTERNAL_URL",
            &[
                "broker.example.com",
                "broker.example.com:8080",
                "/v1",
                "ftp://broker.example.com",
                "https://",
                "https://user@broker.example.com",
                "https://broker.example.com/?a=b",
                "https://broker.example.com/#a",
                "https://broker.example.com,",
                "https://broker.example.com https://other.example.com",
            ],
            "URLs under which clients reach this broker",
        ),
        ("AA_DEFAULT_TTL", &["0", "-5", "86401", "5m", "1e3", "300.5"], "from 1 to 86400"),
        ("AA_MAX_TTL", &["-1", "31536001", "1d"], "or 0 for no ceiling"),
        ("AA_ADMIN_TOKEN_TTL", &["0", "86401", "five"], "from 1 to 86400"),
        ("AA_APP_TOKEN_TTL", &["0", "59", "86401"], "from 60 to 86400"),
        ("AA_DB_PATH", &[":memory:", "file:data.db?mode=memory", "a\0b"], "a path to a file"),
        ("AA_SIGNING_KEY_PATH", &["a\0b"], "a path to a file"),
        (
            "AA_KEY_ROTATION",
            &["on", "0", "86399", "23h", "3651d", "30 d", "30D", "1.5d", "-1d", "d", "1w", "99999999999999999999d"],
            "a period of 1 to 3650 days",
        ),
        ("AA_KEY_PREPARE_FOR", &["0", "0m", "86401", "25h", "2d", "off", "10 m", "m", "ten"], "from 1 to 86400"),
        ("AA_TLS_MODE", &["TLS", "mtsl", "on", "true", "tls "], "`none`, `tls` or `mtls`"),
        ("AA_SEED_TOKENS", &["yes", "TRUE", "2"], "`true` or `false`"),
    ];
    for (variable, values, accepts) in bad {
        for value in values {
            let error = of_environment(variable, value).unwrap_err();
            let ConfigError::Malformed { variable: named, origin: Origin::Environment, .. } = error else {
                panic!("{variable}={value}: {error}");
            };
            assert_eq!(named, variable);
            let message = error.to_string();
            assert!(message.starts_with(&format!("{variable} (environment) is `")), "{message}");
            assert!(message.contains(accepts), "{message}");
            assert!(!message.contains(char::is_control), "{message}");
        }
    }
}

#[test]
fn trusted_proxies_are_networks_and_not_half_of_all_addresses() {
    for value in [
        "10.0.0.0/33",
        "10.0.0.0/8;10.1.0.0/16",
        "proxy.example",
        "10.0.0.1/",
        "10.0.0.0/8,",
        ",",
        "0.0.0.0/0",
        "::/0",
        "::ffff:0.0.0.0/96",
        "0.0.0.0/1,128.0.0.0/1",
        "0.0.0.0/1",
        "10.0.0.0/8,128.0.0.0/2,192.0.0.0/2",
        "0.0.0.0/2,64.0.0.0/2,128.0.0.0/2,192.0.0.0/3",
        "::ffff:0.0.0.0/97,::ffff:128.0.0.0/97",
        "2000::/3",
        "2000::/4,3000::/4",
        "8000::/1",
    ] {
        let error = of_environment("AA_TRUSTED_PROXIES", value).unwrap_err();
        assert!(matches!(error, ConfigError::Malformed { variable: "AA_TRUSTED_PROXIES", .. }), "{value}: {error}");
    }
    let config =
        of_environment("AA_TRUSTED_PROXIES", "10.1.2.3/8, 192.0.2.1,2001:db8::/32,::1,::ffff:172.16.0.0/108").unwrap();
    let networks: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128", "172.16.0.0/12"]);
    assert_eq!(of_environment("AA_TRUSTED_PROXIES", "").unwrap().trusted_proxies, []);
    for value in ["10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7", "13.32.0.0/15,2600:9000::/28"] {
        assert!(of_environment("AA_TRUSTED_PROXIES", value).is_ok(), "{value}");
    }
}

#[test]
fn reads_periods_of_key_rotation_with_units() {
    for (text, days) in [("30d", 30), ("720h", 30), ("86400", 1), ("1440m", 1), ("86400s", 1), ("3650d", 3650)] {
        let config = of_environment("AA_KEY_ROTATION", text).unwrap();
        assert_eq!(config.key_rotation, Some(Duration::from_secs(days * 86_400)), "{text}");
    }
    assert_eq!(of_environment("AA_KEY_ROTATION", "off").unwrap().key_rotation, None);
    let config = of_environment("AA_KEY_PREPARE_FOR", "5m").unwrap();
    assert_eq!((config.key_prepare_for, config.warnings), (Duration::from_secs(300), vec![]));
    let warnings = of_environment("AA_KEY_PREPARE_FOR", "299").unwrap().warnings;
    assert_eq!(warnings, [Warning::ShortPreparation { seconds: 299 }]);
}

#[test]
fn accepts_good_values() {
    let config = Process::with_secret()
        .env("AA_PORT", "0")
        .env("AA_BIND_ADDRESS", "::1")
        .env("AA_LOG_LEVEL", "quiet")
        .env("AA_LOG_FORMAT", "json")
        .env("AA_TRUST_DOMAIN", "prod.example.org")
        .env("AA_AUDIENCE", "https://api.example.org")
        .env("AA_SENDER_CONSTRAINED", "required")
        .env("AA_EXTERNAL_URL", "https://broker.example.com/issuer, http://127.0.0.1:8080")
        .env("AA_DEFAULT_TTL", "86400")
        .env("AA_MAX_TTL", "0")
        .env("AA_ADMIN_TOKEN_TTL", "1")
        .env("AA_APP_TOKEN_TTL", "60")
        .env("AA_DB_PATH", "/var/lib/broker/data.db")
        .env("AA_SIGNING_KEY_PATH", "/var/lib/broker/signing.key")
        .env("AA_SEED_TOKENS", "true")
        .load()
        .unwrap();
    assert_eq!(config.bind.to_string(), "[::1]:0");
    assert_eq!((config.log_level, config.log_format), (LogLevel::Quiet, LogFormat::Json));
    assert_eq!(config.issuer, "https://prod.example.org");
    assert_eq!(config.audience.as_deref(), Some("https://api.example.org"));
    assert_eq!(config.sender_constrained, SenderConstrained::Required);
    let urls: Vec<_> = config.external_urls.iter().map(ExternalUrl::as_str).collect();
    assert_eq!(urls, ["https://broker.example.com/issuer", "http://127.0.0.1:8080"]);
    assert_eq!((config.default_ttl, config.max_ttl), (86_400, None));
    assert_eq!((config.admin_token_ttl, config.app_token_ttl), (1, 60));
    assert_eq!(config.db_path, Path::new("/var/lib/broker/data.db"));
    assert_eq!(config.signing_key_path, Path::new("/var/lib/broker/signing.key"));
    assert!(config.seed_tokens);
}

#[test]
fn reads_settings_of_attestation_and_rejects_watch_without_api_server() {
    let process = || Process::with_secret().env("AA_ATTESTATION_PRIVATE_HOSTS", "keys.internal");
    let attestation = process().load().unwrap().attestation;
    assert_eq!(attestation.kubernetes, None);
    let config = process()
        .env("AA_KUBERNETES_API_URL", "https://kubernetes.default.svc")
        .env("AA_KUBERNETES_TOKEN_PATH", "/run/token")
        .env("AA_KUBERNETES_WATCH", "true")
        .load()
        .unwrap();
    let kubernetes = config.attestation.kubernetes.unwrap();
    assert_eq!(kubernetes.api_url.as_str(), "https://kubernetes.default.svc/");
    assert_eq!((kubernetes.token_path.to_str(), kubernetes.watch), (Some("/run/token"), true));
    assert!(kubernetes.ca_path.ends_with("serviceaccount/ca.crt"));

    assert_eq!(process().env("AA_KUBERNETES_WATCH", "true").error(), ConfigError::KubernetesApiUrlMissing);
    let unused = process().env("AA_KUBERNETES_CA_PATH", "/run/ca.crt").load().unwrap().unused;
    assert_eq!(unused, ["AA_KUBERNETES_CA_PATH"]);
    for (name, value) in [
        ("AA_ATTESTATION_PRIVATE_HOSTS", "10.0.0.1"),
        ("AA_ATTESTATION_PRIVATE_HOSTS", "https://keys.internal"),
        ("AA_KUBERNETES_API_URL", "http://kubernetes.default.svc"),
        ("AA_KUBERNETES_API_URL", "kubernetes.default.svc"),
        ("AA_KUBERNETES_WATCH", "yes"),
    ] {
        assert!(
            matches!(process().env(name, value).error(), ConfigError::Malformed { variable, .. } if variable == name)
        );
    }
}

#[test]
fn warns_when_bound_tokens_are_required_and_external_url_is_not_known() {
    let required = || {
        let process = Process::with_secret().env("AA_SENDER_CONSTRAINED", "required");
        process.env("AA_TRUSTED_PROXIES", "10.0.0.0/8")
    };
    assert_eq!(required().load().unwrap().warnings, []);
    let on_network = || required().env("AA_BIND_ADDRESS", "0.0.0.0");
    let address = "0.0.0.0".parse().unwrap();
    assert_eq!(on_network().load().unwrap().warnings, [Warning::ExternalUrlMissing { address }]);
    assert_eq!(on_network().env("AA_EXTERNAL_URL", "https://broker.example").load().unwrap().warnings, []);
    assert_eq!(on_network().env("AA_SENDER_CONSTRAINED", "allowed").load().unwrap().warnings, []);
}

#[test]
fn default_ttl_is_at_most_max_ttl() {
    assert_eq!(of_environment("AA_MAX_TTL", "60").unwrap().default_ttl, 60);
}

#[test]
fn empty_value_is_unset_in_every_source() {
    let names = || names::ALL.into_iter().filter(|name| *name != names::ADMIN_SECRET);
    let default = format!("{:?}", Process::with_secret().load().unwrap());
    let environment = names().fold(Process::with_secret(), |process, name| process.env(name, ""));
    assert_eq!(format!("{:?}", environment.load().unwrap()), default);

    let lines: Vec<String> = names().filter(|name| *name != "AA_CONFIG_PATH").map(|name| format!("{name}=")).collect();
    let text = format!("{}\nMODE=\n", lines.join("\n"));
    let config = Process::with_secret().file("/etc/broker/config", &text, 0o644).load().unwrap();
    assert_eq!((config.bind.to_string().as_str(), config.max_ttl), ("127.0.0.1:8080", Some(86_400)));

    let flags: Vec<String> =
        names().map(|name| format!("--{}=", name.trim_start_matches("AA_").to_lowercase().replace('_', "-"))).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(format!("{:?}", Process::with_secret().flags(&flags).load().unwrap()), default);
}

#[test]
fn empty_value_leaves_variable_to_weaker_sources() {
    let config = Process::with_secret()
        .file("/etc/broker/config", "AA_AUDIENCE=from-the-file\n", 0o644)
        .env("AA_AUDIENCE", "")
        .flags(&["--audience="])
        .load()
        .unwrap();
    assert_eq!(config.audience.as_deref(), Some("from-the-file"));
    assert_eq!(of_environment("AA_TLS_MOD", "").unwrap().warnings, []);
}

#[test]
fn rejects_empty_admin_secret_though_weaker_source_sets_one() {
    let file = || Process::bare().file("/etc/broker/config", &format!("ADMIN_SECRET={SECRET}\n"), 0o600);
    for (process, origin) in
        [(file().env("AA_ADMIN_SECRET", ""), Origin::Environment), (file().flags(&["--admin-secret="]), Origin::Flag)]
    {
        assert_eq!(process.error(), ConfigError::AdminSecret { origin, reason: AdminSecretError::Empty });
    }
}

#[test]
fn reports_all_errors_at_once() {
    let file = "AA_MAX_TTL=1d\nnonsense\nAA_PROT=1\nAA_APP_TOKEN_TTL=1\nAA_APP_TOKEN_TTL=2\n";
    let report = Process::bare()
        .env("AA_ADMIN_SECRET", "aaaaaaaaaaaaaaaa")
        .env("AA_PORT", "eighty")
        .env("AA_BIND_ADDRESS", "0.0.0.0")
        .env("AA_LOG_LEVEL", "loud")
        .env("AA_LOG_FROMAT", "json")
        .env("AA_SOMETHING_ELSE", "1")
        .env("AA_TLS_MODE", "mtls")
        .env("AA_TLS_KEY", "/key")
        .file("/etc/broker/config", file, 0o644)
        .report();
    let errors = report.config.unwrap_err();
    let lines: Vec<String> = errors.to_string().lines().map(|line| line.chars().take(60).collect()).collect();
    assert_eq!(
        lines,
        [
            "`AA_LOG_FROMAT` (environment) is not a variable of this brok",
            "line 2 of the config file `/etc/broker/config` is neither `K",
            "line 3 of the config file `/etc/broker/config`: `AA_PROT` is",
            "line 5 of the config file `/etc/broker/config` sets AA_APP_T",
            "AA_ADMIN_SECRET (environment) repeats a few characters, or i",
            "AA_PORT (environment) is `eighty`: it accepts a port number ",
            "AA_LOG_LEVEL (environment) is `loud`: it accepts `quiet`, `s",
            "AA_MAX_TTL (/etc/broker/config line 1) is `1d`: it accepts w",
            "AA_APP_TOKEN_TTL (/etc/broker/config line 5) is `2`: it acce",
            "AA_TLS_CERT is not set: AA_TLS_MODE `mtls` requires a path t",
            "AA_TLS_CLIENT_CA is not set: AA_TLS_MODE `mtls` requires a p",
        ]
    );
    assert_eq!(report.warnings, [Warning::UnknownVariable { name: "AA_SOMETHING_ELSE".into() }]);
}

#[test]
fn warns_of_lifetimes_above_max_ttl() {
    let config = Process::with_secret()
        .env("AA_DEFAULT_TTL", "900")
        .env("AA_APP_TOKEN_TTL", "600")
        .env("AA_MAX_TTL", "600")
        .load()
        .unwrap();
    let expected = Warning::TtlAboveMaximum { variable: "AA_DEFAULT_TTL", ttl: 900, maximum: 600 };
    assert_eq!(config.warnings, [expected]);
    assert_eq!(
        config.warnings[0].to_string(),
        "AA_DEFAULT_TTL is 900 but AA_MAX_TTL is 600: tokens get 600 seconds at most"
    );
    assert_eq!(of_environment("AA_MAX_TTL", "60").unwrap().warnings, [], "defaults are cut in silence");
}

#[test]
fn warns_of_quotation_marks_around_value() {
    for quoted in [r#""correct-horse-battery-staple-42""#, "'correct-horse-battery-staple-42'"] {
        let config = Process::bare().env("AA_ADMIN_SECRET", quoted).load().unwrap();
        let origin = Origin::Environment;
        assert_eq!(config.warnings, [Warning::Quoted { variable: "AA_ADMIN_SECRET", origin }]);
        assert!(!config.warnings[0].to_string().contains("horse"), "{}", config.warnings[0]);
    }
    let config = Process::with_secret().file("/etc/broker/config", "AA_DB_PATH=\"/a\"\n", 0o644).load().unwrap();
    let origin = Origin::File { path: "/etc/broker/config".into(), line: 1 };
    assert_eq!(config.warnings, [Warning::Quoted { variable: "AA_DB_PATH", origin }]);
    assert_eq!(Process::bare().env("AA_ADMIN_SECRET", "\"a quotation mark first").load().unwrap().warnings, []);
}

#[test]
fn accepts_common_names_of_log_levels() {
    for (name, level) in
        [("error", LogLevel::Quiet), ("warn", LogLevel::Quiet), ("info", LogLevel::Verbose), ("debug", LogLevel::Trace)]
    {
        assert_eq!(of_environment("AA_LOG_LEVEL", name).unwrap().log_level, level, "{name}");
    }
}

#[test]
fn requires_admin_secret_and_never_shows_it() {
    assert_eq!(Process::bare().error(), ConfigError::AdminSecretMissing);
    for (text, reason) in [
        ("", AdminSecretError::Empty),
        ("hunter2", AdminSecretError::TooShort { length: 7 }),
        ("change-me-in-production", AdminSecretError::KnownWeak),
        ("$2b$12$incomplete", AdminSecretError::MalformedHash),
        ("with a line feed at its end\n", AdminSecretError::Padded),
    ] {
        let error = Process::bare().env("AA_ADMIN_SECRET", text).error();
        assert_eq!(error, ConfigError::AdminSecret { origin: Origin::Environment, reason });
        let message = error.to_string();
        assert!(message.starts_with("AA_ADMIN_SECRET (environment) "), "{message}");
        assert!(message.contains("at least 16 characters"), "{message}");
        assert!(text.is_empty() || !message.contains(text), "{message}");
    }
}

#[test]
fn debug_output_omits_secret() {
    let process = Process::bare().flags(&["--admin-secret", SECRET, "--port", "1"]);
    assert_eq!(format!("{:?}", process.args), r#"{"AA_ADMIN_SECRET", "AA_PORT"}"#);
    let config = process.load().unwrap();
    assert!(!format!("{config:?}").contains("horse"));
    let contents = FileContents { text: format!("ADMIN_SECRET={SECRET}"), mode: 0o600 };
    assert_eq!(format!("{contents:?}"), "FileContents { mode: 0600, .. }");
}

#[test]
fn rejects_database_url_of_another_scheme_without_showing_it() {
    for url in ["mysql://broker:hunter2@db.example.org/broker", "broker:hunter2@db", "postgres://", "postgres:hunter2"]
    {
        let process = Process::with_secret().env("AA_DATABASE_URL", url).env("AA_KEY_ENCRYPTION_KEY_PATH", "kek");
        let error = process.load().unwrap_err();
        assert_eq!(error, ConfigError::DatabaseUrl { origin: Origin::Environment });
        assert!(error.to_string().starts_with("AA_DATABASE_URL (environment) "));
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[test]
fn database_url_selects_shared_store_and_is_never_printed() {
    for scheme in ["postgres", "postgresql"] {
        let url = format!("{scheme}://broker:hunter2@db.example.org/broker");
        let process = Process::with_secret().env("AA_DATABASE_URL", &url).env("AA_KEY_ENCRYPTION_KEY_PATH", "kek");
        let config = process.load().unwrap();
        let shared = config.shared_store.as_ref().unwrap();
        assert_eq!(shared.url.expose(), url);
        assert_eq!(shared.state_path, Path::new("./broker.state"));
        assert_eq!(shared.key_encryption_key_path, Path::new("kek"));
        assert_eq!(shared.on_lost_history, OnLostHistory::RevokeAll);
        assert_eq!(config.own_file(), shared.state_path);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    let config = Process::with_secret().load().unwrap();
    assert!(config.shared_store.is_none());
    assert_eq!(config.own_file(), config.db_path);
}

#[test]
fn database_url_requires_key_encryption_key_and_says_how_to_make_it() {
    let error = of_environment("AA_DATABASE_URL", "postgres://db/broker").unwrap_err();
    assert_eq!(error, ConfigError::KeyEncryptionKeyMissing);
    assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
}

#[test]
fn settings_of_the_other_store_are_listed_as_unused() {
    let set = [
        ("AA_DB_PATH", "d"),
        ("AA_SIGNING_KEY_PATH", "k"),
        ("AA_STATE_PATH", "s"),
        ("AA_KEY_ENCRYPTION_KEY_PATH", "kek"),
        ("AA_ON_LOST_HISTORY", "stop"),
    ];
    let process = || set.iter().fold(Process::with_secret(), |process, (name, value)| process.env(name, value));
    assert_eq!(process().load().unwrap().unused, ["AA_STATE_PATH", "AA_KEY_ENCRYPTION_KEY_PATH", "AA_ON_LOST_HISTORY"]);
    let config = process().env("AA_DATABASE_URL", "postgres://db/broker").load().unwrap();
    assert_eq!(config.unused, ["AA_DB_PATH", "AA_SIGNING_KEY_PATH"]);
    assert_eq!(config.shared_store.unwrap().on_lost_history, OnLostHistory::Stop);
}

#[test]
fn rejects_config_file_with_database_url_that_others_can_open() {
    let text = "AA_DATABASE_URL=postgres://broker:hunter2@db/broker";
    let text = format!("{text}\nAA_KEY_ENCRYPTION_KEY_PATH=kek");
    let error = Process::with_secret().file("/etc/broker/config", &text, 0o644).load().unwrap_err();
    let path = PathBuf::from("/etc/broker/config");
    assert_eq!(error, ConfigError::FileExposed { path, secret: "AA_DATABASE_URL", mode: 0o644 });
}

#[test]
fn each_tls_mode_requires_its_paths() {
    let tls = |mode: &str, paths: &[&str]| {
        let process = Process::with_secret().env("AA_TLS_MODE", mode);
        paths.iter().fold(process, |process, name| process.env(name, &format!("/{name}"))).load()
    };
    let (cert, key) = (PathBuf::from("/AA_TLS_CERT"), PathBuf::from("/AA_TLS_KEY"));
    let config = tls("tls", &["AA_TLS_CERT", "AA_TLS_KEY"]).unwrap();
    assert_eq!(config.tls, TlsConfig::Tls { cert: cert.clone(), key: key.clone() });
    let config = tls("mtls", &["AA_TLS_CERT", "AA_TLS_KEY", "AA_TLS_CLIENT_CA"]).unwrap();
    assert_eq!(config.tls, TlsConfig::Mtls { cert, key, client_ca: "/AA_TLS_CLIENT_CA".into() });
    for (mode, paths, variable) in [
        ("tls", &["AA_TLS_KEY"][..], "AA_TLS_CERT"),
        ("tls", &["AA_TLS_CERT"], "AA_TLS_KEY"),
        ("mtls", &["AA_TLS_KEY", "AA_TLS_CLIENT_CA"], "AA_TLS_CERT"),
        ("mtls", &["AA_TLS_CERT", "AA_TLS_CLIENT_CA"], "AA_TLS_KEY"),
        ("mtls", &["AA_TLS_CERT", "AA_TLS_KEY"], "AA_TLS_CLIENT_CA"),
    ] {
        let error = tls(mode, paths).unwrap_err();
        assert_eq!(error, ConfigError::TlsPathMissing { variable, mode });
        assert!(error.to_string().starts_with(variable), "{error}");
    }
}

#[test]
fn rejects_certificate_without_tls_mode() {
    for variable in ["AA_TLS_CERT", "AA_TLS_KEY", "AA_TLS_CLIENT_CA"] {
        let error = of_environment(variable, "/some.pem").unwrap_err();
        assert_eq!(error, ConfigError::TlsModeMissing { variable });
    }
    let config = Process::with_secret().env("AA_TLS_MODE", "none").env("AA_TLS_CERT", "/some.pem").load().unwrap();
    assert_eq!(config.tls, TlsConfig::None);
    assert_eq!(config.warnings, [Warning::UnusedTlsPath { variable: "AA_TLS_CERT" }]);
}

#[test]
fn rejects_misspelt_variable_and_warns_of_unknown_one() {
    for name in ["AA_TLS_MOD", "AA_TSL_MODE", "aa_tls_mode", "AA_TLS_MODE "] {
        let error = of_environment(name, "mtls").unwrap_err();
        assert_eq!(error, ConfigError::Misspelt { name: name.into(), suggestion: "AA_TLS_MODE" });
        assert!(error.to_string().contains("did you mean AA_TLS_MODE?"), "{error}");
    }
    let config = of_environment("AA_SOMETHING_ELSE", "1").unwrap();
    assert_eq!(config.warnings, [Warning::UnknownVariable { name: "AA_SOMETHING_ELSE".into() }]);
    assert_eq!(of_environment("AACTL_BROKER_URL", "x").unwrap().warnings, []);
}

#[test]
fn rejects_value_that_is_not_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let mut process = Process::with_secret();
    process.environment.push(("AA_TLS_MODE".into(), OsString::from_vec(vec![b'm', 0xff])));
    assert_eq!(process.error(), ConfigError::NotUnicode { variable: "AA_TLS_MODE" });
}

#[test]
fn warns_of_plain_http_beyond_loopback_and_of_seeds_in_production() {
    let config = of_environment("AA_BIND_ADDRESS", "0.0.0.0").unwrap();
    assert_eq!(config.warnings, [Warning::PlainHttp { address: "0.0.0.0".parse().unwrap() }]);
    let process = Process::with_secret().env("AA_BIND_ADDRESS", "0.0.0.0").env("AA_TRUSTED_PROXIES", "10.0.0.0/8");
    assert_eq!(process.load().unwrap().warnings, []);
    let process =
        Process::with_secret().env("AA_SEED_TOKENS", "1").file("/etc/broker/config", "MODE=production", 0o644);
    assert_eq!(process.load().unwrap().warnings, [Warning::SeedTokensInProduction]);
}

mod sources {
    use super::*;

    #[test]
    fn flag_precedes_environment_precedes_file_precedes_default() {
        let config = Process::with_secret()
            .file("/etc/broker/config", "AA_PORT=1\nAA_MAX_TTL=1000\nAA_ADMIN_TOKEN_TTL=1\n", 0o644)
            .env("AA_PORT", "2")
            .env("AA_MAX_TTL", "2000")
            .flags(&["--port", "3", "--seed-tokens"])
            .load()
            .unwrap();
        assert_eq!(config.bind.port(), 3);
        assert_eq!(config.max_ttl, Some(2_000));
        assert_eq!(config.admin_token_ttl, 1);
        assert_eq!(config.app_token_ttl, 1_800);
        assert!(config.seed_tokens);
    }

    #[test]
    fn weaker_source_is_not_checked() {
        let process = Process::with_secret().env("AA_PORT", "bad").flags(&["--port", "3"]);
        assert_eq!(process.load().unwrap().bind.port(), 3);
    }

    #[test]
    fn error_names_origin_of_value() {
        let process = Process::with_secret().file("/etc/broker/config", "# ports\n\nAA_PORT = many\n", 0o644);
        let message = process.error().to_string();
        assert!(message.starts_with("AA_PORT (/etc/broker/config line 3) is `many`"), "{message}");
        let message = Process::with_secret().flags(&["--port", "many"]).error().to_string();
        assert!(message.starts_with("AA_PORT (flag) is `many`"), "{message}");
    }

    #[test]
    fn each_variable_is_a_flag() {
        Args::command().debug_assert();
        let mut variables: Vec<_> = Args::default().values().map(|(name, _)| name).to_vec();
        variables.sort_unstable();
        let mut known = names::ALL.to_vec();
        known.sort_unstable();
        assert_eq!(variables, known);
        for name in known {
            let flag = name.trim_start_matches("AA_").to_lowercase().replace('_', "-");
            let flag = format!("--{flag}=value");
            let args = Args::try_parse_from(["agentwrit-broker", &flag]).unwrap();
            let given: Vec<_> = args.values().into_iter().filter(|(_, value)| value.is_some()).collect();
            assert_eq!(given, [(name, &Some("value".to_owned()))]);
        }
    }

    #[test]
    fn reads_first_default_place_with_a_file() {
        let personal =
            || Process::with_secret().env("HOME", "/home/op").file("/home/op/.broker/config", "AA_PORT=1", 0o644);
        let config = personal().load().unwrap();
        assert_eq!((config.bind.port(), config.file), (1, Some("/home/op/.broker/config".into())));
        let config = personal().file("/etc/broker/config", "AA_PORT=2", 0o644).load().unwrap();
        assert_eq!((config.bind.port(), config.file), (2, Some("/etc/broker/config".into())));
    }

    #[test]
    fn named_file_must_exist_and_replaces_default_places() {
        let process = || {
            Process::with_secret().file("/etc/broker/config", "AA_PORT=1", 0o644).file("/mine", "AA_MAX_TTL=7", 0o644)
        };
        let config = process().env("AA_CONFIG_PATH", "/mine").load().unwrap();
        assert_eq!((config.bind.port(), config.max_ttl), (8_080, Some(7)));
        let config = process().env("AA_CONFIG_PATH", "/missing").flags(&["--config", "/mine"]).load().unwrap();
        assert_eq!(config.max_ttl, Some(7));
        let error = process().env("AA_CONFIG_PATH", "/missing").error();
        assert_eq!(error, ConfigError::FileMissing { path: "/missing".into() });
        assert!(error.to_string().starts_with("AA_CONFIG_PATH"), "{error}");
    }

    #[test]
    fn warns_of_unreadable_default_file_when_secret_is_set_elsewhere() {
        let process = || Process::bare().env("HOME", "/home/op").forbidden_file("/etc/broker/config");
        let skipped = Warning::FileSkipped { path: "/etc/broker/config".into(), cause: "permission denied".to_owned() };
        let config = process().env("AA_ADMIN_SECRET", SECRET).load().unwrap();
        assert_eq!((config.file, config.warnings), (None, vec![skipped.clone()]));
        let personal = format!("ADMIN_SECRET={SECRET}");
        let config = process().file("/home/op/.broker/config", &personal, 0o600).load().unwrap();
        assert_eq!((config.file, config.warnings), (Some("/home/op/.broker/config".into()), vec![skipped]));

        let errors = process().report().config.unwrap_err();
        let unreadable =
            ConfigError::FileUnreadable { path: "/etc/broker/config".into(), cause: "permission denied".to_owned() };
        assert_eq!(errors.iter().collect::<Vec<_>>(), [&unreadable, &ConfigError::AdminSecretMissing]);
        // A named file is required.
        let named = Process::with_secret().forbidden_file("/mine").env("AA_CONFIG_PATH", "/mine");
        assert!(matches!(named.error(), ConfigError::FileUnreadable { .. }));
    }

    #[test]
    fn rejects_default_file_with_another_read_error() {
        let load = |kind: io::ErrorKind| {
            let environment = [("AA_ADMIN_SECRET".into(), SECRET.into()), ("HOME".into(), "/home/op".into())];
            Config::load(&Args::default(), environment, &move |_| Err(kind.into()))
        };
        let errors = load(io::ErrorKind::InvalidData).unwrap_err();
        let Some(ConfigError::FileUnreadable { path, .. }) = errors.iter().next() else { panic!("{errors}") };
        assert_eq!(path, Path::new("/etc/broker/config"));
        assert!(load(io::ErrorKind::NotADirectory).is_ok());
    }
}

mod file {
    use super::*;

    fn load(text: &str, mode: u32) -> Result<Config, ConfigError> {
        Process::bare().file("/f", text, mode).env("AA_CONFIG_PATH", "/f").load()
    }

    #[test]
    fn parses_short_names_comments_and_spaces() {
        let text = "\u{feff}# made by awrit init\r\n\r\nMODE=development\r\n  ADMIN_SECRET = a=b # not \"a\" comment \r\nAA_PORT=9\n#AA_PORT=10";
        let config = load(text, 0o600).unwrap();
        assert_eq!(config.mode, Some(Mode::Development));
        assert_eq!(config.bind.port(), 9);
        let (config_secret, runtime) =
            (config.admin_secret, tokio::runtime::Builder::new_current_thread().build().unwrap());
        let offered = Secret::new("a=b # not \"a\" comment".into());
        assert_eq!(runtime.block_on(config_secret.verify(&offered, IpAddr::from([192, 0, 2, 1]))), Ok(true));
    }

    #[test]
    fn rejects_secret_readable_by_others_even_when_overridden() {
        for mode in [0o604, 0o644, 0o666, 0o601] {
            for key in ["ADMIN_SECRET", "AA_ADMIN_SECRET"] {
                let error = load(&format!("{key}={SECRET}"), mode).unwrap_err();
                assert_eq!(error, ConfigError::FileExposed { path: "/f".into(), secret: "ADMIN_SECRET", mode });
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
        let process = Process::with_secret().file("/etc/broker/config", &format!("ADMIN_SECRET={SECRET}"), 0o644);
        assert!(matches!(process.error(), ConfigError::FileExposed { .. }));
        assert!(load(&format!("ADMIN_SECRET={SECRET}"), 0o400).is_ok());
    }

    #[test]
    fn warns_of_secret_readable_by_group() {
        // Mode of systemd's `LoadCredential=` and of Kubernetes volumes.
        let config = load(&format!("ADMIN_SECRET={SECRET}"), 0o440).unwrap();
        assert_eq!(config.warnings, [Warning::FileOpenToGroup { path: "/f".into(), mode: 0o440 }]);
        let config = Process::with_secret().file("/etc/broker/config", "AA_PORT=1", 0o640).load().unwrap();
        assert_eq!(config.warnings, [], "there is no secret in it");
    }

    #[test]
    fn rejects_malformed_lines() {
        let path = || PathBuf::from("/f");
        for (text, error) in [
            ("MODE=dev\nADMIN_SECRET", ConfigError::FileSyntax { path: path(), line: 2 }),
            ("AA_PROT=1", ConfigError::UnknownKey { path: path(), line: 1, key: "AA_PROT".into() }),
            ("export AA_PORT=1", ConfigError::UnknownKey { path: path(), line: 1, key: "export AA_PORT".into() }),
            ("PORT=1", ConfigError::UnknownKey { path: path(), line: 1, key: "PORT".into() }),
            ("=1", ConfigError::UnknownKey { path: path(), line: 1, key: String::new() }),
            ("AA_CONFIG_PATH=/g", ConfigError::UnknownKey { path: path(), line: 1, key: "AA_CONFIG_PATH".into() }),
            ("AA_PORT=1\nAA_PORT=1", ConfigError::DuplicateKey { path: path(), line: 2, variable: "AA_PORT" }),
            (
                "ADMIN_SECRET=a\nAA_ADMIN_SECRET=b",
                ConfigError::DuplicateKey { path: path(), line: 2, variable: "AA_ADMIN_SECRET" },
            ),
        ] {
            let process = Process::bare().file("/f", text, 0o600).env("AA_CONFIG_PATH", "/f");
            assert_eq!(process.report().config.unwrap_err().iter().next(), Some(&error));
        }
        let error = load(&format!("ADMIN_SECRET={SECRET}\nMODE=staging"), 0o600).unwrap_err();
        assert!(error.to_string().contains("`development` or `production`"), "{error}");
    }

    #[test]
    fn reads_file_with_permissions_and_bounded_size() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, "AA_PORT=1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let contents = read_file(&path).unwrap();
        assert_eq!(contents, FileContents { text: "AA_PORT=1\n".into(), mode: 0o640 });
        for content in ["#".repeat(64 * 1024 + 1).into_bytes(), b"AA_PORT=\xff".to_vec()] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(read_file(&directory.path().join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(read_file(directory.path()).is_err());
    }
}

//! The command line of the broker.

use std::path::PathBuf;

use agentwrit_protocol::limits::MAX_REASON;
use clap::{Parser, Subcommand};

/// Subcommand that the program runs instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// After restoring the database from a backup, before the next start: everything issued until now is revoked, launch
    /// tokens are deleted, agents barred and apps suspended, so that what was used or withdrawn after the backup stays so
    MarkRestored {
        /// The clock was compared with another: also when it does not fit the newest record. Marks that are dated later
        /// are taken back
        #[arg(long)]
        clock_is_right: bool,
    },
    /// Withdraw signing keys while the broker is stopped, or while brokers of a shared database do not start: tokens that they
    /// signed are rejected from then on, and another key signs. Needs neither the file nor the row of a withdrawn key
    WithdrawKey {
        /// Ids of the keys, as `awrit keys list` and the audit trail show them
        #[arg(value_name = "KID", required = true)]
        kids: Vec<String>,
        /// Reason for the audit trail, up to 512 bytes
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
    },
    /// While the broker is stopped: the clock was compared with another, so that what expired while the broker was not
    /// running may be deleted at once instead of after an hour
    ConfirmClock,
    /// While the broker is stopped: copy the SQLite database, the signing key and the nonce secret to an empty PostgreSQL
    /// database, sealed under the key of `AA_KEY_ENCRYPTION_KEY_PATH`; all or nothing
    Migrate {
        /// The source, `sqlite:` and a path (default `AA_DB_PATH`)
        #[arg(long, value_name = "SOURCE")]
        from: Option<String>,
        /// URL of the target; better set `AA_DATABASE_URL`, flags are visible to other users
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
    /// Print the SQL that creates the tables of a shared database, or apply it
    Schema {
        /// Apply it to the database of `AA_DATABASE_URL`, whose role must be able to create tables; brings older tables up to
        /// date
        #[arg(long)]
        apply: bool,
        /// Also grant the rights that a broker needs to this role, which must exist: it can't change or delete audit events
        /// and revocations
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
    },
    /// Report every error and every warning of the configuration; start nothing and change nothing: exit code 0 when the
    /// broker would start, else 1
    Check {
        /// Also read the database and the files of TLS, and try the address
        #[arg(long)]
        probe: bool,
    },
    /// Ask the broker of this configuration, on this machine, how it is: exit code 0 when it can serve, else 1; for
    /// health checks of containers and service managers
    Health {
        /// With mTLS: the certificate to show, PEM [default: the broker's own]
        #[arg(long, value_name = "PATH", requires = "client_key")]
        client_cert: Option<PathBuf>,
        /// With mTLS: its private key, PEM
        #[arg(long, value_name = "PATH", requires = "client_cert")]
        client_key: Option<PathBuf>,
    },
}

/// Accepts what `POST /v1/admin/keys/{kid}/withdraw` does.
fn reason(text: &str) -> Result<String, String> {
    if text.len() > MAX_REASON { Err(format!("at most {MAX_REASON} bytes")) } else { Ok(text.to_owned()) }
}

/// The broker: issues, renews, delegates, revokes and audits short-lived credentials for AI agents.
///
/// Every flag is also a variable of the environment and a line of the config file; flags win over both.
#[derive(Clone, Default, Parser)]
#[command(name = "agentwrit-broker", version)]
pub struct Args {
    /// Subcommand to run instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Config file (`AA_CONFIG_PATH`, default `/etc/broker/config`, then `~/.broker/config`)
    #[arg(long, value_name = "PATH", visible_alias = "config-path")]
    pub config: Option<String>,

    /// Admin secret or its bcrypt hash; better set elsewhere, flags are visible to other users (`AA_ADMIN_SECRET`)
    #[arg(long, value_name = "SECRET")]
    pub admin_secret: Option<String>,

    /// Port, 0 for any free one (`AA_PORT`, default 8080)
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,

    /// IP address to listen on (`AA_BIND_ADDRESS`, default 127.0.0.1)
    #[arg(long, value_name = "ADDRESS")]
    pub bind_address: Option<String>,

    /// quiet, standard, verbose or trace, or error, warn, info or debug (`AA_LOG_LEVEL`, default verbose)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// text or json (`AA_LOG_FORMAT`, default text)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Trust domain of the agents' SPIFFE ids (`AA_TRUST_DOMAIN`, default agentwrit.local)
    #[arg(long, value_name = "DOMAIN")]
    pub trust_domain: Option<String>,

    /// `iss` of every token (`AA_ISSUER`, default `https://` and the trust domain)
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,

    /// `aud` of every token (`AA_AUDIENCE`)
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<String>,

    /// Binding of agents' tokens to their keys (RFC 9449): off, allowed or required (`AA_SENDER_CONSTRAINED`, default
    /// allowed)
    #[arg(long, value_name = "POLICY")]
    pub sender_constrained: Option<String>,

    /// URLs under which clients reach this broker, separated by commas: each proof of a key names one; the address that it
    /// listens on if not set (`AA_EXTERNAL_URL`)
    #[arg(long, value_name = "URLS")]
    pub external_url: Option<String>,

    /// `max_ttl` of a launch token that states none (`AA_DEFAULT_TTL`, default 300)
    #[arg(long, value_name = "SECONDS")]
    pub default_ttl: Option<String>,

    /// No token and no session lives longer, 0 for no ceiling (`AA_MAX_TTL`, default 86400)
    #[arg(long, value_name = "SECONDS")]
    pub max_ttl: Option<String>,

    /// Lifetime of admin tokens (`AA_ADMIN_TOKEN_TTL`, default 300)
    #[arg(long, value_name = "SECONDS")]
    pub admin_token_ttl: Option<String>,

    /// Lifetime of the tokens of an app that states none (`AA_APP_TOKEN_TTL`, default 1800)
    #[arg(long, value_name = "SECONDS")]
    pub app_token_ttl: Option<String>,

    /// Renewals of one session: how many at once and how many a second after that, or off; delegations likewise, five
    /// times as many (`AA_SESSION_BUDGET`, default 20/1)
    #[arg(long, value_name = "BUDGET")]
    pub session_budget: Option<String>,

    /// Database (`AA_DB_PATH`, default ./data.db)
    #[arg(long, value_name = "PATH")]
    pub db_path: Option<String>,

    /// Signing key, made if missing (`AA_SIGNING_KEY_PATH`, default ./signing.key)
    #[arg(long, value_name = "PATH")]
    pub signing_key_path: Option<String>,

    /// Period after which a new signing key replaces the active one, such as 30d; or off (`AA_KEY_ROTATION`, default off)
    #[arg(long, value_name = "PERIOD")]
    pub key_rotation: Option<String>,

    /// Time for which a new signing key is published before it signs (`AA_KEY_PREPARE_FOR`, default 600)
    #[arg(long, value_name = "DURATION")]
    pub key_prepare_for: Option<String>,

    /// Hosts of `jwks_url` that may have private addresses, separated by commas (`AA_ATTESTATION_PRIVATE_HOSTS`)
    #[arg(long, value_name = "HOSTS")]
    pub attestation_private_hosts: Option<String>,

    /// API server that reviews Kubernetes tokens and tells of deleted pods (`AA_KUBERNETES_API_URL`)
    #[arg(long, value_name = "URL")]
    pub kubernetes_api_url: Option<String>,

    /// Token of the broker's own service account (`AA_KUBERNETES_TOKEN_PATH`, default
    /// /var/run/secrets/kubernetes.io/serviceaccount/token)
    #[arg(long, value_name = "PATH")]
    pub kubernetes_token_path: Option<String>,

    /// Authorities of the API server, PEM (`AA_KUBERNETES_CA_PATH`, default
    /// /var/run/secrets/kubernetes.io/serviceaccount/ca.crt)
    #[arg(long, value_name = "PATH")]
    pub kubernetes_ca_path: Option<String>,

    /// Revoke the agents of deleted pods at once (`AA_KUBERNETES_WATCH`, default false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub kubernetes_watch: Option<String>,

    /// PostgreSQL database that several brokers share, instead of `--db-path`; better set elsewhere, flags are visible to
    /// other users (`AA_DATABASE_URL`)
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// With a shared database: this broker's own file, made if missing (`AA_STATE_PATH`, default ./broker.state)
    #[arg(long, value_name = "PATH")]
    pub state_path: Option<String>,

    /// With a shared database: file with the 32-byte key that its keys are sealed under, the same for all brokers
    /// (`AA_KEY_ENCRYPTION_KEY_PATH`)
    #[arg(long, value_name = "PATH")]
    pub key_encryption_key_path: Option<String>,

    /// With a shared database: revoke-all or stop, when it lacks commits that this broker saw (`AA_ON_LOST_HISTORY`, default
    /// revoke-all)
    #[arg(long, value_name = "REACTION")]
    pub on_lost_history: Option<String>,

    /// none, tls or mtls (`AA_TLS_MODE`, default none)
    #[arg(long, value_name = "MODE")]
    pub tls_mode: Option<String>,

    /// Certificate chain in PEM (`AA_TLS_CERT`)
    #[arg(long, value_name = "PATH")]
    pub tls_cert: Option<String>,

    /// Private key in PEM (`AA_TLS_KEY`)
    #[arg(long, value_name = "PATH")]
    pub tls_key: Option<String>,

    /// Authorities of client certificates in PEM (`AA_TLS_CLIENT_CA`)
    #[arg(long, value_name = "PATH")]
    pub tls_client_ca: Option<String>,

    /// Networks whose X-Forwarded-For is believed, separated by commas (`AA_TRUSTED_PROXIES`)
    #[arg(long, value_name = "CIDRS")]
    pub trusted_proxies: Option<String>,

    /// Serve the operator's console under /console (`AA_CONSOLE`, default false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub console: Option<String>,

    /// Print a launch token and an admin token at the start, for development (`AA_SEED_TOKENS`, default false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub seed_tokens: Option<String>,

    /// Breaks of the audit trail to record as accepted and to go on behind, separated by commas, as a start that was refused
    /// names them (`AA_ACCEPT_BROKEN_AUDIT`)
    #[arg(long, value_name = "EVENT:HASH")]
    pub accept_broken_audit: Option<String>,
}

impl Args {
    /// Returns the value of each variable's flag.
    pub(super) fn values(&self) -> [(&'static str, &Option<String>); 37] {
        [
            ("AA_CONFIG_PATH", &self.config),
            ("AA_ADMIN_SECRET", &self.admin_secret),
            ("AA_PORT", &self.port),
            ("AA_BIND_ADDRESS", &self.bind_address),
            ("AA_LOG_LEVEL", &self.log_level),
            ("AA_LOG_FORMAT", &self.log_format),
            ("AA_TRUST_DOMAIN", &self.trust_domain),
            ("AA_ISSUER", &self.issuer),
            ("AA_AUDIENCE", &self.audience),
            ("AA_SENDER_CONSTRAINED", &self.sender_constrained),
            ("AA_EXTERNAL_URL", &self.external_url),
            ("AA_DEFAULT_TTL", &self.default_ttl),
            ("AA_MAX_TTL", &self.max_ttl),
            ("AA_ADMIN_TOKEN_TTL", &self.admin_token_ttl),
            ("AA_APP_TOKEN_TTL", &self.app_token_ttl),
            ("AA_SESSION_BUDGET", &self.session_budget),
            ("AA_DB_PATH", &self.db_path),
            ("AA_SIGNING_KEY_PATH", &self.signing_key_path),
            ("AA_KEY_ROTATION", &self.key_rotation),
            ("AA_KEY_PREPARE_FOR", &self.key_prepare_for),
            ("AA_ATTESTATION_PRIVATE_HOSTS", &self.attestation_private_hosts),
            ("AA_KUBERNETES_API_URL", &self.kubernetes_api_url),
            ("AA_KUBERNETES_TOKEN_PATH", &self.kubernetes_token_path),
            ("AA_KUBERNETES_CA_PATH", &self.kubernetes_ca_path),
            ("AA_KUBERNETES_WATCH", &self.kubernetes_watch),
            ("AA_DATABASE_URL", &self.database_url),
            ("AA_STATE_PATH", &self.state_path),
            ("AA_KEY_ENCRYPTION_KEY_PATH", &self.key_encryption_key_path),
            ("AA_ON_LOST_HISTORY", &self.on_lost_history),
            ("AA_TLS_MODE", &self.tls_mode),
            ("AA_TLS_CERT", &self.tls_cert),
            ("AA_TLS_KEY", &self.tls_key),
            ("AA_TLS_CLIENT_CA", &self.tls_client_ca),
            ("AA_TRUSTED_PROXIES", &self.trusted_proxies),
            ("AA_CONSOLE", &self.console),
            ("AA_SEED_TOKENS", &self.seed_tokens),
            ("AA_ACCEPT_BROKEN_AUDIT", &self.accept_broken_audit),
        ]
    }
}

impl std::fmt::Debug for Args {
    /// Prints names only: the admin secret and the database URL may be among the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = self.values().into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name);
        f.debug_set().entries(given).finish()
    }
}

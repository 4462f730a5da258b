//! What every command takes: where the broker is, and how to talk to it.

use std::path::PathBuf;

use clap::Args;

/// Options of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// The broker's address
    #[arg(long, global = true, value_name = "URL", env = "AACTL_BROKER_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080", help_heading = HEADING)]
    pub(crate) broker: String,

    /// File with the admin secret, in place of the variable `AACTL_ADMIN_SECRET`; `-` reads stdin
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub(crate) admin_secret_file: Option<PathBuf>,

    /// Certificate authority to trust too, PEM
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub(crate) cacert: Option<PathBuf>,

    /// Client certificate for mTLS, PEM
    #[arg(long, global = true, value_name = "FILE", requires = "key", help_heading = HEADING)]
    pub(crate) cert: Option<PathBuf>,

    /// Private key of the client certificate, PEM
    #[arg(long, global = true, value_name = "FILE", requires = "cert", help_heading = HEADING)]
    pub(crate) key: Option<PathBuf>,

    /// HTTP proxy to send everything through; proxies from the environment are never used
    #[arg(long, global = true, value_name = "URL", help_heading = HEADING)]
    pub(crate) proxy: Option<String>,

    /// Seconds that one request may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = HEADING)]
    pub(crate) timeout: u64,

    /// Log in for this command alone: keep no session, and use none that is kept (`awrit logout`)
    #[arg(long, global = true, env = "AACTL_NO_SESSION_CACHE", value_parser = clap::builder::FalseyValueParser::new(), help_heading = HEADING)]
    pub(crate) no_session_cache: bool,

    /// Print JSON, for scripts
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,

    /// Do not ask before something is destroyed; needed where stdin or stderr is no terminal
    #[arg(long, short, global = true, help_heading = HEADING)]
    pub(crate) yes: bool,
}

const HEADING: &str = "Options of every command";

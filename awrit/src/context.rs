//! Options of every command, and what a command works with: the broker, the admin secret, the output and the terminal.

use std::{
    env, fs,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentwrit_client::{Admin, Client, RetryDelay, Secret};
use agentwrit_verify::{Clock, SystemClock, http_client::pem};
use clap::Args;
use zeroize::Zeroizing;

use crate::{
    error::{CliError, write_stderr},
    output::Output,
    session,
};

const HEADING: &str = "Options of every command";

/// Largest input that is read as a whole, in bytes.
const MAX_INPUT_SIZE: u64 = 1024 * 1024;

/// Options of every command.
#[derive(Args)]
pub(crate) struct GlobalOptions {
    /// Address of the broker
    #[arg(long, global = true, value_name = "URL", env = "AACTL_BROKER_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080", help_heading = HEADING)]
    broker: String,

    /// File with the admin secret, in place of the variable `AACTL_ADMIN_SECRET`; `-` reads stdin
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    admin_secret_file: Option<PathBuf>,

    /// Additional certificate authority to trust, PEM
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    cacert: Option<PathBuf>,

    /// Client certificate for mTLS, PEM
    #[arg(long, global = true, value_name = "FILE", requires = "key", help_heading = HEADING)]
    cert: Option<PathBuf>,

    /// Private key of the client certificate, PEM
    #[arg(long, global = true, value_name = "FILE", requires = "cert", help_heading = HEADING)]
    key: Option<PathBuf>,

    /// HTTP proxy for every request; proxies from the environment are never used
    #[arg(long, global = true, value_name = "URL", help_heading = HEADING)]
    proxy: Option<String>,

    /// Timeout of one request in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = HEADING)]
    timeout: u64,

    /// Log in for this command alone: neither use nor store a session (`awrit logout`)
    #[arg(long, global = true, env = "AACTL_NO_SESSION_CACHE", value_parser = clap::builder::FalseyValueParser::new(), help_heading = HEADING)]
    no_session_cache: bool,

    /// Print JSON, for scripts
    #[arg(long, global = true, help_heading = HEADING)]
    json: bool,

    /// Skip the confirmation of destructive commands; required where stdin or stderr is not a terminal
    #[arg(long, short, global = true, help_heading = HEADING)]
    yes: bool,
}

pub(crate) struct Context {
    options: GlobalOptions,
    pub(crate) output: Output,
    pub(crate) clock: Box<dyn Clock>,
}

impl Context {
    pub(crate) fn new(options: GlobalOptions) -> Self {
        let output = Output::new(options.json);
        Self { options, output, clock: Box::new(SystemClock) }
    }

    pub(crate) fn broker_url(&self) -> &str {
        &self.options.broker
    }

    /// Timeout of one request.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.options.timeout)
    }

    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let mut builder =
            Client::builder(&self.options.broker).timeout(self.timeout()).on_retry_delay(print_retry_delay);
        if let Some(path) = &self.options.cacert {
            let certificates = read_file(path)?;
            pem::certificates(&certificates).map_err(|error| CliError::file(path, &error))?;
            builder = builder.root_certificate_pem(certificates.to_vec());
        }
        if let (Some(cert), Some(key)) = (&self.options.cert, &self.options.key) {
            let (certificates, private_key) = (read_file(cert)?, read_file(key)?);
            pem::certificates(&certificates).map_err(|error| CliError::file(cert, &error))?;
            let identity = pem::identity(&private_key, &certificates);
            let mut identity = identity.map_err(|error| CliError::file(key, &error))?;
            builder = builder.client_identity_pem(std::mem::take(&mut *identity));
        }
        if let Some(url) = &self.options.proxy {
            builder = builder.proxy(url);
        }
        let client = builder.build()?;
        if client.sends_cleartext() {
            let url = client.url();
            write_stderr(format_args!(
                "awrit: warning: requests to {url} are sent without TLS and can be read on the network"
            ));
        }
        Ok(client)
    }

    /// Authenticates as the operator, by `--admin-secret-file` or `AACTL_ADMIN_SECRET`.
    pub(crate) fn admin(&self) -> Result<Admin, CliError> {
        let secret = match &self.options.admin_secret_file {
            Some(path) => read_secret(path)?,
            None => env::var("AACTL_ADMIN_SECRET").map(Secret::from).map_err(|_| {
                CliError::failed("the admin secret is not set")
                    .hint("set AACTL_ADMIN_SECRET, or name a file with --admin-secret-file")
            })?,
        };
        let client = self.client()?;
        let store = if self.options.no_session_cache { None } else { session::store(client.url(), &secret) };
        Ok(match store {
            Some(store) => client.admin_with_store(secret, Arc::new(store))?,
            None => client.admin(secret)?,
        })
    }

    /// Asks for confirmation at the terminal, unless `--yes` was given.
    ///
    /// # Errors
    ///
    /// A reply other than yes, or a stdin or stderr that is not a terminal.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), CliError> {
        let (stdin, mut stderr) = (io::stdin(), io::stderr());
        if self.options.yes {
            return Ok(());
        }
        if !stdin.is_terminal() || !stderr.is_terminal() {
            let reason = "(stdin or stderr is not a terminal; --yes confirms)";
            return Err(CliError::Usage(format!("not confirmed, nothing was done: {question} {reason}")));
        }
        let mut reply = String::new();
        let prompted = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        prompted
            .and_then(|()| stdin.lock().read_line(&mut reply))
            .map_err(|error| CliError::failed(error.to_string()))?;
        match reply.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(CliError::failed("nothing was done")),
        }
    }
}

fn print_retry_delay(delay: &RetryDelay) {
    let reason = if delay.status == 429 { "too many requests" } else { "the broker is unavailable" };
    let (status, seconds) = (delay.status, delay.duration.as_secs_f64());
    write_stderr(format_args!("awrit: {reason} ({status}); trying again in {seconds:.1} s"));
}

/// Reads a file, or stdin for `-`, that holds a secret and nothing else but a line end.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, CliError> {
    let bytes = read_file(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| CliError::file(path, &"it is not text"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Secret::from(text))
}

/// Returns the token in an argument, or the one on stdin for `-`, without surrounding white space.
pub(crate) fn token_argument(argument: &str) -> Result<Secret, CliError> {
    let secret = if argument == "-" { read_secret(Path::new("-"))? } else { Secret::from(argument) };
    Ok(Secret::from(secret.expose().trim()))
}

/// Reads a file, or stdin for `-`, of at most 1 MiB.
pub(crate) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    read_limited(path, MAX_INPUT_SIZE)
}

/// Reads a file, or stdin for `-`, of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
    };
    let length = read.map_err(|error| CliError::file(path, &error))?;
    if length as u64 > limit {
        return Err(CliError::file(path, &format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

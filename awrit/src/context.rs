//! What a command works with: the broker, the secret, the output and the person at the terminal.

use std::{
    env, fs,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use agentwrit_client::{Admin, Client, Pause, Secret};
use agentwrit_verify::{Clock, SystemClock, http_client::pem};
use zeroize::Zeroizing;

use crate::{
    error::CliError,
    global::Global,
    output::{Output, write_stderr},
    session::{self, SessionFile},
};

/// Nothing that is read whole is longer than this.
const LONGEST_FILE: u64 = 1024 * 1024;

pub(crate) struct Context {
    global: Global,
    pub(crate) output: Output,
    pub(crate) clock: Box<dyn Clock>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let output = Output::new(global.json);
        Self { global, output, clock: Box::new(SystemClock) }
    }

    pub(crate) fn broker_url(&self) -> &str {
        &self.global.broker
    }

    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let mut builder =
            Client::builder(&self.global.broker).timeout(Duration::from_secs(self.global.timeout)).on_pause(say_pause);
        if let Some(path) = &self.global.cacert {
            let certificates = read_bytes(path)?;
            pem::certificates(&certificates).map_err(|error| CliError::file(path, &error))?;
            builder = builder.root_certificate_pem(certificates.to_vec());
        }
        if let (Some(cert), Some(key)) = (&self.global.cert, &self.global.key) {
            let (certificates, private_key) = (read_bytes(cert)?, read_bytes(key)?);
            pem::certificates(&certificates).map_err(|error| CliError::file(cert, &error))?;
            let identity = pem::identity(&private_key, &certificates);
            let mut identity = identity.map_err(|error| CliError::file(key, &error))?;
            builder = builder.client_identity_pem(std::mem::take(&mut *identity));
        }
        if let Some(url) = &self.global.proxy {
            builder = builder.proxy(url);
        }
        let client = builder.build()?;
        if client.is_exposed() {
            let url = client.url();
            write_stderr(format_args!(
                "awrit: warning: what is sent to {url} can be read on the way: it is without TLS"
            ));
        }
        Ok(client)
    }

    /// The operator, by `--admin-secret-file` or `AACTL_ADMIN_SECRET`.
    pub(crate) fn admin(&self) -> Result<Admin, CliError> {
        let secret = match &self.global.admin_secret_file {
            Some(path) => read_secret(path)?,
            None => env::var("AACTL_ADMIN_SECRET").map(Secret::from).map_err(|_| {
                CliError::failed("the admin secret is not set")
                    .hint("set AACTL_ADMIN_SECRET, or name a file with --admin-secret-file")
            })?,
        };
        let client = self.client()?;
        match session::directory().filter(|_| !self.global.no_session_cache) {
            Some(directory) => {
                let store = SessionFile::new(directory, client.url()).of_secret(&secret);
                Ok(client.admin_with_store(secret, Arc::new(store))?)
            }
            None => Ok(client.admin(secret)?),
        }
    }

    /// Asks before something is destroyed, unless `--yes` was given. An error unless the answer is yes.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), CliError> {
        let (stdin, mut stderr) = (io::stdin(), io::stderr());
        if self.global.yes {
            return Ok(());
        }
        if !stdin.is_terminal() || !stderr.is_terminal() {
            let unasked =
                "This cannot be asked here, as stdin or stderr is no terminal; nothing was done, --yes does it";
            return Err(CliError::Usage(format!("{question} {unasked}")));
        }
        let mut answer = String::new();
        let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        asked
            .and_then(|()| stdin.lock().read_line(&mut answer))
            .map_err(|error| CliError::failed(error.to_string()))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(CliError::failed("nothing was done")),
        }
    }
}

/// Tells a person why nothing happens.
fn say_pause(pause: &Pause) {
    let reason = if pause.status == 429 { "too many requests" } else { "the broker is unavailable" };
    write_stderr(format_args!(
        "awrit: {reason} ({}); trying again in {:.1} s",
        pause.status,
        pause.lasts.as_secs_f64()
    ));
}

/// A secret that stands alone in a file, or on stdin for `-`; the line end after it does not count.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, CliError> {
    let bytes = read_bytes(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| CliError::file(path, &"it is not text"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Secret::from(text))
}

/// A token or launch token as it was given: itself, or `-` for stdin. White space around it does not count.
pub(crate) fn given_secret(argument: &str) -> Result<Secret, CliError> {
    let secret = if argument == "-" { read_secret(Path::new("-"))? } else { Secret::from(argument) };
    Ok(Secret::from(secret.expose().trim()))
}

/// What stands in a file, or comes from stdin for `-`: at most 1 MiB.
pub(crate) fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    read_up_to(path, LONGEST_FILE)
}

/// What stands in a file, or comes from stdin for `-`.
pub(crate) fn read_up_to(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, CliError> {
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

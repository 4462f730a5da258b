//! `awrit logout`.

use std::time::{Duration, Instant};

use agentwrit_client::{Client, ClientError, StoredToken};
use agentwrit_verify::{UnixTime, UnverifiedToken};
use clap::Args;
use serde_json::json;

use super::{SessionFile, directory};
use crate::{
    context::Context,
    error::{CliError, write_stderr},
    format,
};

/// Interval between attempts to lock the session.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// End the session that `awrit` keeps between commands: release its token and remove its file
///
/// A command that needs the admin secret logs in and keeps the token, never the secret, until it expires: 0600, under
/// `$XDG_STATE_HOME/awrit` or `~/.local/state/awrit`, one for each broker. --no-session-cache keeps none.
#[derive(Args)]
pub(crate) struct Logout;

impl Logout {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let (mut removed, mut released) = (false, false);
        if let Some(directory) = directory() {
            let file = SessionFile::new(directory, client.url());
            // A command that is logging in would store its token after the removal.
            let lock = lock(&file, context.timeout()).await?;
            let session = file.read();
            removed = file.remove().map_err(|error| CliError::failed(format!("the session file: {error}")))?;
            let session = session.map_err(|error| unreadable(&error))?;
            if session.as_ref().is_some_and(|session| session.is_exposed) {
                write_stderr(format_args!(
                    "awrit: warning: other users of this machine could read or change the session file"
                ));
            }
            if let Some(session) = session {
                released = release(&client, &session.token, context.clock.now()).await?;
            }
            drop(lock);
        }
        let json = json!({ "broker": client.url(), "logged_out": removed, "released": released });
        context.output.print(&json, |out| {
            let outcome = if removed { "Logged out of" } else { "There is no session at" };
            writeln!(out, "{outcome} {}.", client.url())
        })
    }
}

async fn lock(file: &SessionFile, timeout: Duration) -> Result<Box<dyn Send>, CliError> {
    let started = Instant::now();
    loop {
        if let Some(lock) = file.try_lock() {
            return Ok(lock);
        }
        if started.elapsed() >= timeout {
            let seconds = timeout.as_secs();
            let message = format!("another awrit command has been logging in for more than {seconds} s");
            return Err(CliError::failed(message).hint("try again when it has ended"));
        }
        tokio::time::sleep(LOCK_RETRY_INTERVAL).await;
    }
}

/// Releases the token; returns false for one that has expired or that the broker rejects as invalid.
async fn release(client: &Client, token: &StoredToken, now: UnixTime) -> Result<bool, CliError> {
    if token.expires_at <= now {
        return Ok(false);
    }
    match client.release(&token.token).await {
        Ok(()) => Ok(true),
        Err(rejected) if rejected.status() == Some(401) => Ok(false),
        Err(error) => Err(unreleased(error, token, now)),
    }
}

fn unreleased(error: ClientError, token: &StoredToken, now: UnixTime) -> CliError {
    let claims = UnverifiedToken::decode(token.token.expose()).and_then(|token| token.claims());
    let target = claims.map_or_else(
        |_| "--level agent --target admin".to_owned(),
        |claims| format!("--level token --target {}", claims.jti),
    );
    let expiry = format!("{} ({})", token.expires_at, format::relative(token.expires_at, now));
    CliError::from(error).hint(format!(
        "the session file was removed; its token stays valid until {expiry} unless you run `awrit revoke {target}`"
    ))
}

fn unreadable(error: &std::io::Error) -> CliError {
    CliError::failed(format!("the session file was removed, but its token could not be released: {error}"))
        .hint("`awrit revoke --level agent --target admin` ends every operator session")
}

//! `awrit logout`.

use clap::Args;
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    session::{self, SessionFile},
};

/// End the session that `awrit` keeps between commands: its token is given back, and its file removed
///
/// A command that needs the admin secret logs in and keeps the token, never the secret, until it expires: 0600, under
/// `$XDG_STATE_HOME/awrit` or `~/.local/state/awrit`, one for each broker. --no-session-cache keeps none.
#[derive(Args)]
pub(crate) struct Logout;

impl Logout {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let file = session::directory().map(|directory| SessionFile::new(directory, client.url()));
        let token = file.as_ref().and_then(SessionFile::token);
        let removed = file.map_or(Ok(false), |file| file.remove());
        let removed = removed.map_err(|error| CliError::failed(format!("the session's file: {error}")))?;
        // One that has expired, or that the broker does not know any more, needs no giving back.
        let live = token.filter(|stored| stored.expires_at > context.clock.now());
        let released = match &live {
            Some(stored) => match client.release(&stored.token).await {
                Ok(()) => true,
                Err(refused) if refused.status() == Some(401) => false,
                Err(error) => {
                    let error = CliError::from(error);
                    return Err(
                        error.hint("the file was removed; the token lives until it expires, five minutes at most")
                    );
                }
            },
            None => false,
        };
        let for_scripts = json!({ "broker": client.url(), "logged_out": removed, "released": released });
        context.output.show(&for_scripts, |out| {
            let what = if removed { "Logged out of" } else { "There is no session at" };
            writeln!(out, "{what} {}.", client.url())
        })
    }
}

//! Changes of the signing keys.

use agentwrit_client::{Admin, KeyChangeRequest, SigningKeyRecord};
use agentwrit_verify::{KeyId, audit::text::printable};
use clap::Args;

use super::list::next_step;
use crate::{
    confirmation::{ConfirmationWait, WaitEnd, WaitOption},
    context::Context,
    error::CliError,
    format,
};

/// Reason of a change.
#[derive(Args)]
struct Reason {
    /// Reason for the audit trail, up to 512 bytes
    #[arg(long)]
    reason: Option<String>,
}

impl Reason {
    fn change(self) -> KeyChangeRequest {
        KeyChangeRequest { reason: self.reason, ..KeyChangeRequest::default() }
    }
}

/// Publish a new key, which does not sign before `awrit keys activate`
#[derive(Args)]
pub(crate) struct Prepare {
    #[command(flatten)]
    reason: Reason,
}

impl Prepare {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let key = context.admin()?.prepare_key(&self.reason.change()).await?;
        print(context, &key, "is prepared: verifiers learn it from now on")
    }
}

/// Let a prepared key sign; the active one becomes retiring. With a retiring key this takes a rotation back
///
/// Rejected while a verifier may not know the key yet: it would refuse good tokens.
#[derive(Args)]
pub(crate) struct Activate {
    /// Id of the key
    #[arg(value_name = "KID", value_parser = key_id, allow_hyphen_values = true)]
    kid: KeyId,
    /// Activate the key although verifiers that do not know it yet refuse its tokens
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reason: Reason,
}

impl Activate {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        if self.force {
            let kid = self.kid.as_str();
            context.confirm(&format!("Activate {kid} at once? Verifiers that do not know it refuse its tokens."))?;
        }
        let change = KeyChangeRequest { force: self.force, ..self.reason.change() };
        let key = context.admin()?.activate_key(&self.kid, &change).await?;
        print(context, &key, "is active: it signs from now on")
    }
}

/// Remove a retiring key from the key set, once its last token has expired
#[derive(Args)]
pub(crate) struct Retire {
    /// Id of the key
    #[arg(value_name = "KID", value_parser = key_id, allow_hyphen_values = true)]
    kid: KeyId,
    #[command(flatten)]
    reason: Reason,
}

impl Retire {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let key = context.admin()?.retire_key(&self.kid, &self.reason.change()).await?;
        print(context, &key, "is retired: it is not published any more")
    }
}

/// Replace the active key: publish a new one, which signs by itself once every verifier knows it
///
/// Refuses no good token. With --wait, wait until every enrolled verifier has learnt that the new key is published; it signs from
/// the time that the command prints, once each verifier has reported that it has the key.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit keys rotate --reason 'quarterly'
  awrit keys rotate --wait=1m && awrit keys list")]
pub(crate) struct Rotate {
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    reason: Reason,
}

impl Rotate {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let admin = context.admin()?;
        let key = admin.rotate_key(&self.reason.change()).await?;
        print_and_wait(context, &admin, key, "is prepared and will replace the active key", &self.wait).await
    }
}

/// Withdraw a key that others may have: every token that it signed is rejected at once, everywhere
///
/// If it is the active key another one signs from then on. Agents register or log in again.
#[derive(Args)]
#[command(after_help = "\
Example:
  awrit keys withdraw \"$KID\" --reason 'in a stolen backup' --wait")]
pub(crate) struct Withdraw {
    /// Id of the key
    #[arg(value_name = "KID", value_parser = key_id, allow_hyphen_values = true)]
    kid: KeyId,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    reason: Reason,
}

impl Withdraw {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let kid = self.kid.as_str();
        context.confirm(&format!("Withdraw {kid}? This ends every token that it signed."))?;
        let admin = context.admin()?;
        let key = admin.withdraw_key(&self.kid, &self.reason.change()).await?;
        print_and_wait(context, &admin, key, "is withdrawn: its tokens are rejected", &self.wait).await
    }
}

fn print(context: &Context, key: &SigningKeyRecord, state: &str) -> Result<(), CliError> {
    let now = context.clock.now();
    context.output.print(key, |out| {
        writeln!(out, "{} {state}.", key.kid.as_str())?;
        key.warnings.iter().try_for_each(|warning| writeln!(out, "Warning: {}", printable(described(warning))))?;
        match (key.activates_at, key.retire_at) {
            (Some(time), _) if time.seconds() > now.seconds() => {
                writeln!(out, "It signs from {} on, once every verifier knows it.", format::time(time, now))
            }
            _ => match next_step(key, now).as_str() {
                "-" => Ok(()),
                next => writeln!(out, "Next: {next}"),
            },
        }
    })
}

/// Returns what a warning means and what to do about it.
fn described(warning: &str) -> &str {
    match warning {
        "signing_key_not_saved" => {
            "signing_key_not_saved: the new key is in the memory of the broker only; make the directory of the key files writable \
             before the broker stops"
        }
        "state_file_not_written" => {
            "state_file_not_written: if the database loses this change and the broker restarts, the key comes back; repair the disk \
             of AA_STATE_PATH"
        }
        other => other,
    }
}

/// Prints the change, and with `--wait` how far it is confirmed.
async fn print_and_wait(
    context: &Context,
    admin: &Admin,
    mut key: SigningKeyRecord,
    state: &str,
    wait: &WaitOption,
) -> Result<(), CliError> {
    let Some(limit) = wait.wait else { return print(context, &key, state) };
    if !context.output.is_json() {
        print(context, &key, state)?;
    }
    let cursor = key.cursor.clone().ok_or_else(|| {
        CliError::failed("the broker did not send a cursor, so the change cannot be confirmed")
            .hint("the change stands")
    })?;
    let wait = ConfirmationWait { admin, cursor: &cursor, limit, what: "change" };
    let WaitEnd { response, result } = wait.run(context, key.confirmation.take()).await?;
    if context.output.is_json() {
        key.confirmation = response;
        context.output.print(&key, |_| Ok(()))?;
    }
    result
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text)
        .ok_or_else(|| "a key id is 1 to 128 printable ASCII characters; `awrit keys list` shows them".to_owned())
}

//! `awrit keys list`.

use agentwrit_client::{KeyState, SigningKeyRecord};
use agentwrit_verify::{UnixTime, audit::text::printable};
use clap::Args;

use crate::{
    context::Context,
    error::CliError,
    format,
    output::{self, PageOptions},
};

/// List the signing keys, retired and withdrawn ones too
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: PageOptions,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.signing_keys(&self.page.page()).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            let rows = listing.entries.iter().map(|key| row(key, now));
            context.output.table(out, &["KID", "STATE", "CREATED", "SIGNS", "NEXT"], rows)?;
            for key in &listing.entries {
                if let Some(fault) = &key.fault {
                    writeln!(out, "{}: {}", key.kid.as_str(), printable(fault))?;
                }
            }
            output::print_next_cursor(out, &listing)
        })
    }
}

fn row(key: &SigningKeyRecord, now: UnixTime) -> Vec<String> {
    let signs = key.activated_at.map_or_else(|| "-".to_owned(), |since| format::relative(since, now));
    vec![
        key.kid.as_str().to_owned(),
        key.state.as_str().to_owned(),
        format::relative(key.created_at, now),
        signs,
        if key.fault.is_some() { "`awrit keys withdraw`".to_owned() } else { next_step(key, now) },
    ]
}

/// Describes the next state of the key.
pub(super) fn next_step(key: &SigningKeyRecord, now: UnixTime) -> String {
    match (key.state, key.activates_at, key.retire_at) {
        (KeyState::Prepared, Some(time), _) => format!("active {}", from(time, now)),
        (KeyState::Prepared, None, _) => "`awrit keys activate`".to_owned(),
        (KeyState::Retiring, _, Some(time)) => format!("retired {}", from(time, now)),
        (KeyState::Retiring, _, None) | (KeyState::Active | KeyState::Retired | KeyState::Withdrawn, _, _) => {
            "-".to_owned()
        }
    }
}

/// Formats the earliest time of a step; one that has passed is due.
fn from(time: UnixTime, now: UnixTime) -> String {
    if time.seconds() > now.seconds() { format::relative(time, now) } else { "when every verifier is ready".to_owned() }
}

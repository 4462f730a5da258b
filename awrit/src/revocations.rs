//! `awrit revocations`: what is revoked now.

use std::path::PathBuf;

use agentwrit_client::RevocationRecord;
use agentwrit_verify::UnixTime;
use clap::{Args, Subcommand};

use crate::{
    context::Context,
    error::CliError,
    export, format,
    paging::{self, Paging},
};

/// List the revocations in force, or export them for machines that verify offline
#[derive(Subcommand)]
pub(crate) enum Revocations {
    List(List),
    Export(Export),
}

impl Revocations {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Export(export) => export.run(context).await,
        }
    }
}

/// List the revocations in force
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    paging: Paging,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.revocations(&self.paging.page()).await?;
        let now = context.clock.now();
        context.output.show(&paging::answer("revocations", &listing), |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "Nothing is revoked.");
            }
            let rows = listing.entries.iter().map(|revocation| row(revocation, now));
            context.output.table(out, &["LEVEL", "TARGET", "REVOKED", "FORGOTTEN", "BY", "REASON"], rows)?;
            paging::say_more(out, &listing)
        })
    }
}

fn row(revocation: &RevocationRecord, now: UnixTime) -> Vec<String> {
    vec![
        revocation.level.to_string(),
        revocation.target.clone(),
        format::relative(revocation.revoked_at, now),
        format::relative(revocation.expires_at, now),
        revocation.revoked_by.clone(),
        revocation.reason.clone().unwrap_or_default(),
    ]
}

/// Write the revocation feed's snapshot, as the broker signed it: for `awrit token inspect --revocations FILE`
#[derive(Args)]
pub(crate) struct Export {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Export {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let snapshot = context.client()?.revocations().await?;
        export::write(&self.output, snapshot.trim().as_bytes(), context)
    }
}

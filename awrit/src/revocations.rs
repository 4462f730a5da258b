//! `awrit revocations`.

use std::path::PathBuf;

use agentwrit_client::RevocationRecord;
use agentwrit_verify::UnixTime;
use clap::{Args, Subcommand};

use crate::{
    context::Context,
    error::CliError,
    format,
    output::{self, PageOptions},
    output_file,
};

/// List the revocations in force, or export them for machines that verify offline
#[derive(Subcommand)]
pub(crate) enum Revocations {
    List(ListRevocations),
    Export(ExportFeed),
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
pub(crate) struct ListRevocations {
    #[command(flatten)]
    page: PageOptions,
}

impl ListRevocations {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.revocations(&self.page.page()).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "Nothing is revoked.");
            }
            let rows = listing.entries.iter().map(|revocation| row(revocation, now));
            context.output.table(out, &["LEVEL", "TARGET", "REVOKED", "EXPIRES", "BY", "REASON"], rows)?;
            output::print_next_cursor(out, &listing)
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
pub(crate) struct ExportFeed {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl ExportFeed {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let snapshot = context.client()?.revocations().await?;
        output_file::write(&self.output, snapshot.trim().as_bytes(), context)
    }
}

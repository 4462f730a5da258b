//! `awrit health` and `awrit keys`: what the broker publishes without authentication.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::{context::Context, error::CliError, format, output, output_file};

/// Report the broker's health; exit code 3 when it cannot serve
#[derive(Args)]
pub(crate) struct Health;

impl Health {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let health = context.client()?.health().await?;
        let printed = context.output.print(&health, |out| {
            let mut fields = vec![
                ("broker", context.broker_url().to_owned()),
                ("status", health.status.clone()),
                ("version", health.version.clone()),
                ("uptime", format::duration(Duration::from_secs(health.uptime))),
                ("store", if health.db_connected { "writable" } else { "not writable" }.to_owned()),
                ("audit events", format::number(health.audit_events_count)),
            ];
            if !health.warnings.is_empty() {
                fields.push(("warnings", health.warnings.join(" ")));
            }
            output::fields(out, &fields)
        });
        CliError::negative_unless(health.is_ok(), printed, Some("the broker cannot serve".to_owned()))
    }
}

/// Export the broker's public keys, for machines that verify offline
#[derive(Subcommand)]
pub(crate) enum Keys {
    Export(ExportKeys),
}

impl Keys {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let Self::Export(export) = self;
        export.run(context).await
    }
}

/// Write the broker's key set (JWKS): for `awrit token inspect --jwks FILE`, and for any JWT library
///
/// Every verifier that reads the file trusts it: protect it like the certificate of a certificate authority.
#[derive(Args)]
pub(crate) struct ExportKeys {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl ExportKeys {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let keys = context.client()?.key_set().await?;
        output_file::write(&self.output, keys.to_jwks().as_bytes(), context)
    }
}

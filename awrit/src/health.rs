//! `awrit health`.

use std::time::Duration;

use clap::Args;

use crate::{context::Context, error::CliError, format, output};

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

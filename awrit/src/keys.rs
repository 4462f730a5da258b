//! `awrit keys`: what tokens are signed with.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{context::Context, error::CliError, export};

/// Export the broker's public keys, for machines that verify offline
#[derive(Subcommand)]
pub(crate) enum Keys {
    Export(Export),
}

impl Keys {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let Self::Export(export) = self;
        export.run(context).await
    }
}

/// Write the broker's key set (JWKS): for `awrit token inspect --jwks FILE`, and for any JWT library
///
/// Whoever gets the file trusts it: carry it as carefully as you would a certificate authority's certificate.
#[derive(Args)]
pub(crate) struct Export {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Export {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let keys = context.client()?.key_set().await?;
        export::write(&self.output, keys.to_jwks().as_bytes(), context)
    }
}

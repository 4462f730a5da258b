//! `awrit keys export`.

use std::path::PathBuf;

use clap::Args;

use crate::{context::Context, error::CliError, output_file};

/// Write the broker's key set (JWKS): for `awrit token inspect --jwks FILE`, and for any JWT library
///
/// Every verifier that reads the file trusts it: protect it like the certificate of a certificate authority.
#[derive(Args)]
pub(crate) struct Export {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let keys = context.client()?.key_set().await?;
        output_file::write(&self.output, keys.to_jwks().as_bytes(), context)
    }
}

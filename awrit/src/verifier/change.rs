//! Changes to an enrolled verifier: another key or bound, its removal, and instances that have ended.

use std::path::PathBuf;

use agentwrit_client::{PermittedBound, VerifierUpdateRequest};
use agentwrit_protocol::limits::MAX_VERIFIER_BOUND;
use agentwrit_verify::report::{InstanceId, VerifierName};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::{name, print_verifier, read_public_key};
use crate::{context::Context, error::CliError};

/// Change the key or the largest bound of a verifier
///
/// Instances whose reports the broker rejects from then on accept no token, until they run with the new key or bound. Revocations
/// wait for each instance under the bound that it reported.
#[derive(Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true), after_help = "\
Example:
  awrit verifier update payments-api --max-bound 60")]
pub(crate) struct Update {
    /// Name of the verifier
    #[arg(value_name = "NAME", value_parser = name)]
    name: VerifierName,
    /// Its new public key, PEM or base64; `-` reads stdin
    #[arg(long, value_name = "FILE", group = "change")]
    public_key: Option<PathBuf>,
    /// New largest bound on the age of its revocation list that its instances may report, in seconds
    #[arg(long, value_name = "SECONDS", group = "change", value_parser = clap::value_parser!(u64).range(1..=MAX_VERIFIER_BOUND))]
    max_bound: Option<u64>,
    /// Permit any bound, and none
    #[arg(long, group = "change", conflicts_with = "max_bound")]
    any_bound: bool,
}

impl Update {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let public_key = self.public_key.as_deref().map(read_public_key).transpose()?;
        let max_bound = self.max_bound.map(PermittedBound::Seconds);
        let max_bound = max_bound.or_else(|| self.any_bound.then_some(PermittedBound::Any));
        let change = VerifierUpdateRequest { public_key, max_bound };
        print_verifier(context, &context.admin()?.update_verifier(&self.name, &change).await?)
    }
}

/// Confirm that an instance without a bound has ended: revocations do not wait for it any more
///
/// Make sure that its process does not run: while it does, it may accept what was revoked, and no confirmation says so. Instances
/// with a bound need none of this: the broker stops counting them by itself.
#[derive(Args)]
#[command(override_usage = "awrit verifier forget [OPTIONS] <NAME> <INSTANCE|--unknown>")]
#[command(group = ArgGroup::new("which").required(true), after_help = "\
Examples:
  awrit verifier forget batch-api 5d083d7ea53c06248d428bcfbf189460
  awrit verifier forget batch-api --unknown")]
pub(crate) struct Forget {
    /// Name of the verifier
    #[arg(value_name = "NAME", value_parser = name)]
    name: VerifierName,
    /// The instance, as `awrit verifier list` shows it
    #[arg(value_name = "INSTANCE", group = "which", value_parser = instance)]
    instance: Option<InstanceId>,
    /// Those whose reports may be lost, after a backup was restored or a standby promoted: check that every process of the
    /// service that runs is in `awrit verifier list`
    #[arg(long, group = "which")]
    unknown: bool,
}

impl Forget {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let which = match self.instance {
            Some(id) => format!("instance {id} of {}", self.name),
            None => format!("the unknown instances of {}", self.name),
        };
        context.confirm(&format!("Forget {which}? It must have ended: revocations do not wait for it any more."))?;
        context.admin()?.forget_verifier_instance(&self.name, self.instance).await?;
        let forgotten = json!({ "name": self.name, "instance": self.instance, "forgotten": true });
        context.output.print(&forgotten, |out| writeln!(out, "Forgot {which}."))
    }
}

/// Remove a verifier
///
/// The broker rejects its reports from then on, so that its instances accept no token. Revocations wait for those that may not
/// have heard of it until their bound has passed, and for those without a bound until `awrit verifier forget`.
#[derive(Args)]
pub(crate) struct Remove {
    /// Name of the verifier
    #[arg(value_name = "NAME", value_parser = name)]
    name: VerifierName,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        context.confirm(&format!("Remove {}? Its instances accept no token from then on.", self.name))?;
        context.admin()?.remove_verifier(&self.name).await?;
        context.output.print(&json!({ "name": self.name, "removed": true }), |out| {
            writeln!(out, "{} was removed. Its instances accept no token from their next report on.", self.name)
        })
    }
}

fn instance(text: &str) -> Result<InstanceId, String> {
    InstanceId::parse(text).map_err(|error| error.to_string())
}

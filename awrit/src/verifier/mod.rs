//! `awrit verifier`: services that report to the broker which revocations they apply.

mod change;

use std::path::{Path, PathBuf};

use agentwrit_client::{VerifierEnrolmentRequest, VerifierInstance, VerifierRecord};
use agentwrit_protocol::{PublicKeyBytes, limits::MAX_VERIFIER_BOUND};
use agentwrit_verify::{
    UnixTime,
    report::{ReportedBound, VerifierName},
};
use clap::{Args, Subcommand};
use serde_json::json;

use self::change::{Forget, Remove, Update};
use crate::{
    context::{Context, read_file},
    error::CliError,
    format,
    key_file::{self, KeyPair},
    output::{self, PageOptions},
};

/// Enrol, change, list and remove the services whose confirmation a revocation waits for
#[derive(Subcommand)]
pub(crate) enum Verifier {
    Keygen(Keygen),
    Add(Add),
    Update(Update),
    List(List),
    Forget(Forget),
    Remove(Remove),
}

impl Verifier {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Keygen(keygen) => keygen.run(context),
            Self::Add(add) => add.run(context).await,
            Self::Update(update) => update.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Forget(forget) => forget.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
        }
    }
}

/// Make the key pair that a verifier signs its reports with
///
/// Run it where the service runs: the private key stays there, and the public key goes to the operator. A command of its own,
/// because the OpenSSL of some systems makes no Ed25519 keys. Needs no broker.
#[derive(Args)]
#[command(after_help = "\
Example:
  awrit verifier keygen --private-key verifier.pem > verifier.pub.pem")]
pub(crate) struct Keygen {
    /// The file to write the private key to, PEM, readable by its owner only; it must not exist
    #[arg(long, value_name = "FILE")]
    private_key: PathBuf,
}

impl Keygen {
    fn run(self, context: &Context) -> Result<(), CliError> {
        let pair = KeyPair::generate()?;
        pair.write_private(&self.private_key)?;
        let printed = context
            .output
            .print(&json!({ "public_key": pair.public_key() }), |out| out.write_all(pair.public_pem().as_bytes()));
        // A key pair whose public half was not printed is of no use.
        printed.inspect_err(|_| std::fs::remove_file(&self.private_key).unwrap_or_default())
    }
}

/// Enrol a verifier: from now on revocations wait for its confirmation
///
/// Its instances report under this name with the private half of the key (`Follower::identity`). One key serves every instance of
/// the service.
#[derive(Args)]
#[command(after_help = "\
Example:
  awrit verifier add payments-api --public-key verifier.pub.pem --max-bound 30")]
pub(crate) struct Add {
    /// Name of the verifier: 1 to 64 of `A-Z a-z 0-9 . _ -`
    #[arg(value_name = "NAME", value_parser = name)]
    name: VerifierName,
    /// Its public key, PEM (`awrit verifier keygen`, or `openssl pkey -pubout`) or base64; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Largest bound on the age of its revocation list that its instances may report, in seconds [default: any, and none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_VERIFIER_BOUND))]
    max_bound: Option<u64>,
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let public_key = read_public_key(&self.public_key)?;
        let request = VerifierEnrolmentRequest { name: self.name, public_key, max_bound: self.max_bound };
        print_verifier(context, &context.admin()?.enrol_verifier(&request).await?)
    }
}

fn read_public_key(path: &Path) -> Result<PublicKeyBytes, CliError> {
    key_file::public_key(&read_file(path)?).map_err(|reason| CliError::file(path, &reason))
}

fn print_verifier(context: &Context, verifier: &VerifierRecord) -> Result<(), CliError> {
    context.output.print(verifier, |out| {
        let mut fields = vec![
            ("name", verifier.name.to_string()),
            ("public_key", verifier.public_key.to_string()),
            ("added_at", verifier.added_at.to_rfc3339()),
        ];
        fields.extend(verifier.max_bound.map(|seconds| ("max_bound", seconds.to_string())));
        output::fields(out, &fields)
    })
}

/// List the enrolled verifiers with their instances
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: PageOptions,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.verifiers(&self.page.page()).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "No verifier is enrolled: `awrit verifier add` enrols one.");
            }
            let rows = listing.entries.iter().flat_map(|verifier| rows(verifier, now));
            let columns = ["VERIFIER", "INSTANCE", "LAST REPORT", "BEHIND", "BOUND", "KEYS", "CURSOR"];
            context.output.table(out, &columns, rows)?;
            output::print_next_cursor(out, &listing)
        })
    }
}

/// Returns a row for each instance, or one without an instance.
fn rows(verifier: &VerifierRecord, now: UnixTime) -> Vec<Vec<String>> {
    let name = match verifier.removed_at {
        Some(_) => format!("{} (removed)", verifier.name),
        None => verifier.name.to_string(),
    };
    let lost = verifier.may_have_unknown_instances.then(|| vec![name.clone(), "unknown".to_owned(), "lost".to_owned()]);
    if verifier.instances.is_empty() && lost.is_none() {
        return vec![vec![name, "-".to_owned(), "never".to_owned()]];
    }
    let row = |instance: &VerifierInstance| {
        let behind = match instance.behind {
            Some(cursors) => format::number(cursors),
            None => "other log".to_owned(),
        };
        let bound = match instance.bound {
            ReportedBound::Seconds(seconds) => format!("{} s", format::number(seconds)),
            ReportedBound::Unbounded => "none".to_owned(),
        };
        let keys = if instance.has_current_keys { "current" } else { "old" };
        vec![
            name.clone(),
            instance.instance.to_string(),
            format::relative(instance.last_heard, now),
            behind,
            bound,
            keys.to_owned(),
            instance.cursor.to_string(),
        ]
    };
    verifier.instances.iter().map(row).chain(lost).collect()
}

fn name(text: &str) -> Result<VerifierName, String> {
    VerifierName::parse(text).map_err(|error| error.to_string())
}

//! `awrit token inspect`: the claims of a token, and the checks that it passes. Works without a network.

use std::path::{Path, PathBuf};

use agentwrit_client::Secret;
use agentwrit_verify::{ClockReading, KeySet, RevocationList, SystemClock, UnverifiedToken, Verifier};
use clap::Args;

use super::{
    evidence::{Evidence, Feed, VerificationOptions},
    report::{Report, TokenHeader},
};
use crate::{
    context::{Context, read_file, read_limited, read_secret, token_argument},
    error::CliError,
};

/// Show the claims of a token and verify it, check by check; exit code 3 unless it is valid
///
/// With --jwks no request is sent: keys and revocations come from files (`awrit keys export`, `awrit revocations export`).
/// Otherwise both are fetched from the broker. The token itself is neither sent nor printed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit token inspect \"$TOKEN\"
  echo \"$TOKEN\" | awrit token inspect - --jwks keys.json --revocations revocations.jwt
  awrit token inspect --file token.txt --jwks keys.json --revocations old.jwt --accept-stale-revocations
  awrit token inspect --file token.txt --jwks keys.json --without-revocations")]
pub(crate) struct Inspect {
    /// The token; `-` reads it from stdin
    #[arg(value_name = "TOKEN", required_unless_present = "file")]
    token: Option<String>,
    /// Read the token from this file
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    file: Option<PathBuf>,
    /// Key set of the broker, in place of fetching it
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    options: VerificationOptions,
}

/// Largest snapshot of the feed that is read, in bytes.
const MAX_FEED_SIZE: u64 = 128 * 1024 * 1024;

impl Inspect {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let token = self.token()?;
        let evidence = match &self.jwks {
            Some(path) => self.evidence_from_files(path)?,
            None => self.evidence_from_broker(context).await?,
        };
        let claimed_issuer = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims()).ok();
        let issuer =
            self.options.issuer.clone().or_else(|| claimed_issuer.map(|claims| claims.iss)).unwrap_or_default();
        let (list, feed_error) = match evidence.list(&issuer, self.options.accept_stale_revocations) {
            Ok(list) => (list, None),
            Err(error) => (None, Some(error)),
        };
        let verifier = self.verifier(&issuer, &evidence.keys, list.clone());
        let inspection = verifier.inspect(token.expose());
        let report = Report {
            inspection: &inspection,
            options: &self.options,
            evidence: &evidence,
            header: token_header(token.expose()),
            list,
            feed_error,
            issuer: &issuer,
            now: ClockReading::of(&SystemClock),
        };
        let printed = context.output.print(&report.json(), |out| report.print(out));
        CliError::negative_unless(report.is_valid(), printed, None)
    }

    fn token(&self) -> Result<Secret, CliError> {
        match (&self.token, &self.file) {
            (Some(argument), _) => token_argument(argument),
            (None, Some(path)) => Ok(Secret::from(read_secret(path)?.expose().trim())),
            (None, None) => Err(CliError::Usage("no token was given".to_owned())),
        }
    }

    fn evidence_from_files(&self, jwks: &Path) -> Result<Evidence, CliError> {
        let keys = KeySet::from_jwks(&read_file(jwks)?)
            .map_err(|error| CliError::file(jwks, &error).hint("`awrit keys export` writes such a file"))?;
        let feed = self.options.revocations.as_ref().map(|path| {
            let bytes = read_limited(path, MAX_FEED_SIZE)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| CliError::file(path, &"it is not text"))?;
            let source = format!("`{}`", path.display());
            Ok::<_, CliError>(Feed { snapshot: text.trim().to_owned(), source })
        });
        Ok(Evidence { keys, keys_source: format!("`{}`", jwks.display()), feed: feed.transpose()? })
    }

    async fn evidence_from_broker(&self, context: &Context) -> Result<Evidence, CliError> {
        let client = context.client()?;
        let keys = client.key_set().await.map_err(|error| {
            CliError::from(error).hint("without the broker, name files: --jwks FILE --revocations FILE")
        })?;
        let source = context.broker_url().to_owned();
        let feed = if self.options.without_revocations {
            None
        } else {
            Some(Feed { snapshot: client.revocations().await?, source: source.clone() })
        };
        Ok(Evidence { keys, keys_source: source, feed })
    }

    fn verifier(&self, issuer: &str, keys: &KeySet, list: Option<RevocationList>) -> Verifier {
        let builder = Verifier::builder().issuer(issuer).keys(keys.clone());
        let builder = match list {
            Some(list) => builder.revocations(list),
            None => builder.without_revocations(),
        };
        match &self.options.audience {
            Some(audience) => builder.audience(audience.clone()).build(),
            None => builder.accept_any_audience().build(),
        }
    }
}

/// Returns the header of the token; empty for a malformed one.
fn token_header(token: &str) -> TokenHeader {
    UnverifiedToken::decode(token).map_or_else(
        |_| TokenHeader::default(),
        |token| {
            let kid = token.key_id().map(|kid| kid.as_str().to_owned());
            TokenHeader { algorithm: token.algorithm().to_owned(), kid: kid.unwrap_or_default() }
        },
    )
}

//! `awrit token inspect`: what a token says, and which checks it passes. Works without a network.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use agentwrit_client::Secret;
use agentwrit_verify::{
    ClockReading, FeedError, KeySet, RevocationList, Staleness, SystemClock, UnixTime, UnverifiedToken, Verifier,
    VerifyError,
    audit::text::printable,
    inspection::{Check, CheckResult, Inspection},
};
use clap::Args;
use serde_json::{Value, json};

use super::show;
use crate::{
    context::{Context, given_secret, read_bytes, read_secret, read_up_to},
    error::CliError,
    format,
};

/// Show what a token says and judge it, check by check; exit code 3 unless it is valid
///
/// With --jwks nothing is asked of anybody: keys and revocations come from files (`awrit keys export`, `awrit
/// revocations export`). Otherwise both are fetched from the broker; the token itself is sent nowhere, and never printed.
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
    /// The broker's key set, in place of asking the broker
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// A snapshot of the revocation feed, in place of asking the broker
    #[arg(long, value_name = "FILE", requires = "jwks")]
    revocations: Option<PathBuf>,
    /// Judge without revocations: a token that was withdrawn passes
    #[arg(long, conflicts_with = "revocations")]
    without_revocations: bool,
    /// Judge by a snapshot however old it is: what was withdrawn since passes
    #[arg(long, requires = "revocations")]
    accept_stale_revocations: bool,
    /// The issuer that it must be from [default: the one that it names, if the revocation feed is of that one too]
    #[arg(long)]
    issuer: Option<String>,
    /// The audience that it must be meant for
    #[arg(long)]
    audience: Option<String>,
}

/// The evidence that a token is judged by.
struct Evidence {
    keys: KeySet,
    keys_from: String,
    /// The snapshot, and where it is from.
    feed: Option<(String, String)>,
}

/// What the clocks of broker and issuer of the feed, one machine or a few, may differ by.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// The largest snapshot of the feed that is read.
const LONGEST_FEED: u64 = 128 * 1024 * 1024;

impl Inspect {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let token = self.token()?;
        let evidence = match &self.jwks {
            Some(path) => self.evidence_in_files(path)?,
            None => self.evidence_of_broker(context).await?,
        };
        let claimed_issuer = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims()).ok();
        let issuer = self.issuer.clone().or_else(|| claimed_issuer.map(|claims| claims.iss)).unwrap_or_default();
        let (list, feed_problem) = match evidence.list(&issuer, self.accept_stale_revocations) {
            Ok(list) => (list, None),
            Err(error) => (None, Some(error)),
        };
        let verifier = self.verifier(&issuer, &evidence.keys, list.clone());
        let inspection = verifier.inspect(token.expose());
        let report = Report {
            inspection: &inspection,
            asked: &self,
            evidence: &evidence,
            list,
            feed_problem,
            issuer: &issuer,
            now: ClockReading::of(&SystemClock),
        };
        let (algorithm, kid) = header(token.expose());
        let shown =
            context.output.show(&report.for_scripts(&algorithm, &kid), |out| report.print(out, &algorithm, &kid));
        CliError::judged(report.is_valid(), shown, None)
    }

    fn token(&self) -> Result<Secret, CliError> {
        match (&self.token, &self.file) {
            (Some(given), _) => given_secret(given),
            (None, Some(path)) => Ok(Secret::from(read_secret(path)?.expose().trim())),
            (None, None) => Err(CliError::Usage("no token was given".to_owned())),
        }
    }

    fn evidence_in_files(&self, jwks: &Path) -> Result<Evidence, CliError> {
        let keys = KeySet::from_jwks(&read_bytes(jwks)?)
            .map_err(|error| CliError::file(jwks, &error).hint("`awrit keys export` writes such a file"))?;
        let feed = self.revocations.as_ref().map(|path| {
            let bytes = read_up_to(path, LONGEST_FEED)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| CliError::file(path, &"it is not text"))?;
            Ok::<_, CliError>((text.trim().to_owned(), format!("`{}`", path.display())))
        });
        Ok(Evidence { keys, keys_from: format!("`{}`", jwks.display()), feed: feed.transpose()? })
    }

    async fn evidence_of_broker(&self, context: &Context) -> Result<Evidence, CliError> {
        let client = context.client()?;
        let keys = client.key_set().await.map_err(|error| {
            CliError::from(error).hint("without the broker, name files: --jwks FILE --revocations FILE")
        })?;
        let from = context.broker_url().to_owned();
        let feed = if self.without_revocations { None } else { Some((client.revocations().await?, from.clone())) };
        Ok(Evidence { keys, keys_from: from, feed })
    }

    fn verifier(&self, issuer: &str, keys: &KeySet, list: Option<RevocationList>) -> Verifier {
        let builder = Verifier::builder().issuer(issuer).keys(keys.clone());
        let builder = match list {
            Some(list) => builder.revocations(list),
            None => builder.without_revocations(),
        };
        match &self.audience {
            Some(audience) => builder.audience(audience.clone()).build(),
            None => builder.accept_any_audience().build(),
        }
    }
}

impl Evidence {
    /// The revocations that the feed tells of.
    fn list(&self, issuer: &str, accept_stale: bool) -> Result<Option<RevocationList>, FeedError> {
        let Some((snapshot, _)) = &self.feed else { return Ok(None) };
        let staleness = Staleness::default();
        let staleness = if accept_stale { staleness.accept_stale() } else { staleness };
        RevocationList::from_snapshot(snapshot, issuer, &self.keys, staleness, &SystemClock).map(Some)
    }
}

/// `alg` and `kid` as the header has them.
fn header(token: &str) -> (String, String) {
    UnverifiedToken::decode(token).map_or_else(
        |_| (String::new(), String::new()),
        |token| {
            let kid = token.key_id().map(|kid| kid.as_str().to_owned());
            (token.algorithm().to_owned(), kid.unwrap_or_default())
        },
    )
}

struct Report<'a> {
    inspection: &'a Inspection,
    asked: &'a Inspect,
    evidence: &'a Evidence,
    list: Option<RevocationList>,
    feed_problem: Option<FeedError>,
    issuer: &'a str,
    now: ClockReading,
}

/// How a check came out, and what was checked against what.
struct Line {
    check: Check,
    verdict: Verdict,
    explanation: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Fails,
    /// Could not be made for want of something: the token is not called valid.
    NotMade,
    /// Was not asked for.
    Skipped,
    /// Passed by what was known at an earlier time, as was asked for.
    AsFarAsKnown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fails => "FAILS",
            Self::NotMade => "not made",
            Self::Skipped => "skipped",
            Self::AsFarAsKnown => "ok then",
        }
    }
}

impl Report<'_> {
    fn lines(&self) -> Vec<Line> {
        Check::ALL.into_iter().map(|check| self.line(check)).collect()
    }

    fn is_valid(&self) -> bool {
        self.lines().iter().all(|line| !matches!(line.verdict, Verdict::Fails | Verdict::NotMade))
    }

    fn line(&self, check: Check) -> Line {
        let (verdict, explanation) = match (self.inspection.outcome(check), check) {
            (CheckResult::NotReached, _) => (Verdict::NotMade, "there was nothing to check".to_owned()),
            (_, Check::Revocation) if self.list.is_none() => self.without_list(),
            (CheckResult::Passed, Check::Audience) if self.asked.audience.is_none() && self.has_audience() => {
                (Verdict::Skipped, "it names an audience; say which one must be in it with --audience".to_owned())
            }
            (CheckResult::Passed, Check::Issuer) if self.asked.issuer.is_none() && self.list.is_none() => {
                (Verdict::Skipped, format!("it says `{}`; say which one it must be with --issuer", self.issuer))
            }
            (CheckResult::Passed, Check::Revocation) if self.is_from_before() => {
                let what = "the snapshot is from before the token: it cannot know what became of it";
                (Verdict::NotMade, what.to_owned())
            }
            (CheckResult::Passed, Check::Revocation) if self.asked.accept_stale_revocations => {
                (Verdict::AsFarAsKnown, self.not_revoked())
            }
            (CheckResult::Passed, check) => (Verdict::Ok, self.passed(check)),
            (CheckResult::Failed(VerifyError::Expired { .. }), Check::Revocation) => {
                (Verdict::Fails, "the broker's clock has passed its expiry".to_owned())
            }
            (CheckResult::Failed(error), Check::Revocation) if error.is_unavailable() => {
                self.too_old(&error.to_string())
            }
            (CheckResult::Failed(error), _) => (Verdict::Fails, error.to_string()),
        };
        Line { check, verdict, explanation }
    }

    fn without_list(&self) -> (Verdict, String) {
        match &self.feed_problem {
            Some(FeedError::Expired { by }) => {
                self.too_old(&format!("the snapshot expired {} ago", format::duration(*by)))
            }
            Some(error) => (Verdict::Fails, format!("the revocation feed cannot be used: {error}")),
            None if self.asked.without_revocations => {
                (Verdict::Skipped, "as --without-revocations says: a withdrawn token passes".to_owned())
            }
            None => {
                (Verdict::NotMade, "give --revocations FILE, or say --without-revocations to judge without".to_owned())
            }
        }
    }

    /// Whether the list ends before the token begins; clocks may differ a little.
    fn is_from_before(&self) -> bool {
        let ends = self.list.as_ref().and_then(RevocationList::true_at);
        let begins = self.inspection.claims().map(|claims| UnixTime::from_seconds(claims.iat));
        ends.zip(begins).is_some_and(|(ends, begins)| begins > ends.saturating_add(CLOCKS_DIFFER))
    }

    /// The broker itself gives fresh answers; a file is as old as it is.
    fn too_old(&self, reason: &str) -> (Verdict, String) {
        let advice = if self.asked.revocations.is_some() {
            "export a new one, or say --accept-stale-revocations to judge by what it knew"
        } else {
            "do the clocks of this machine and the broker agree?"
        };
        (Verdict::NotMade, format!("{reason}: {advice}"))
    }

    fn has_audience(&self) -> bool {
        self.inspection.claims().is_some_and(|claims| !claims.aud.is_empty())
    }

    fn passed(&self, check: Check) -> String {
        let claims = self.inspection.claims();
        let from = &self.evidence.keys_from;
        match check {
            Check::Format => "a compact JWS with the claims of a token".to_owned(),
            Check::Key => format!("its `kid` names one of the keys of {from} ({})", keys(self.evidence.keys.len())),
            Check::Signature => "Ed25519, by that key, over header and claims".to_owned(),
            Check::Issuer if self.asked.issuer.is_some() => "as --issuer says".to_owned(),
            Check::Issuer => "the revocation feed is of the same issuer".to_owned(),
            Check::Audience if self.asked.audience.is_some() => "as --audience says".to_owned(),
            Check::Audience => "it names none: it is for whoever trusts the issuer".to_owned(),
            Check::Chain => match claims.map_or(0, |claims| claims.delegation_chain.len()) {
                0 => "it was not delegated".to_owned(),
                1 => "1 hop: hash, signature, scope and times".to_owned(),
                hops => format!("{hops} hops: hash, signatures, scopes and times"),
            },
            Check::Times => {
                let expiry = claims.map(|claims| UnixTime::from_seconds(claims.exp));
                expiry.map_or_else(String::new, |at| format!("expires {}", format::relative(at, self.now.wall)))
            }
            Check::Revocation => self.not_revoked(),
        }
    }

    fn not_revoked(&self) -> String {
        let from = self.evidence.feed.as_ref().map_or("", |(_, from)| from);
        let Some(list) = &self.list else { return String::new() };
        let as_of = list
            .true_at()
            .map_or_else(String::new, |time| format!(", as of {time} ({})", format::relative(time, self.now.wall)));
        let entries = match list.len() {
            1 => "1 entry".to_owned(),
            entries => format!("{} entries", format::number(entries as u64)),
        };
        format!("none of the {entries} of {from} is about it{as_of}")
    }

    fn verdict(&self) -> &'static str {
        let lines = self.lines();
        let any = |verdict| lines.iter().any(|line| line.verdict == verdict);
        let unsure = any(Verdict::Skipped) || any(Verdict::AsFarAsKnown);
        match (any(Verdict::Fails), any(Verdict::NotMade), unsure) {
            (true, _, _) => "not valid",
            (false, true, _) => "not verified",
            (false, false, true) => "valid, as far as it was checked",
            (false, false, false) => "valid",
        }
    }

    fn print(&self, out: &mut dyn Write, algorithm: &str, kid: &str) -> io::Result<()> {
        if let Some(claims) = self.inspection.claims() {
            let proven = *self.inspection.outcome(Check::Signature) == CheckResult::Passed;
            writeln!(out, "{}", if proven { "The token says:" } else { "The token says (nobody vouches for it):" })?;
            writeln!(out)?;
            writeln!(out, "{:13}  {} {}", "signed with", printable(algorithm), printable(kid))?;
            show::claims(out, claims, self.now.wall)?;
            writeln!(out)?;
        }
        for line in self.lines() {
            let (name, word) = (name(line.check), line.verdict.word());
            writeln!(out, "{name:10}  {word:8}  {}", printable(&line.explanation))?;
        }
        writeln!(out, "\n{}", self.verdict())
    }

    fn for_scripts(&self, algorithm: &str, kid: &str) -> Value {
        let checks: Vec<Value> = self
            .lines()
            .into_iter()
            .map(|line| {
                let reason = match self.inspection.outcome(line.check) {
                    CheckResult::Failed(error) => Some(error.reason()),
                    CheckResult::Passed | CheckResult::NotReached => None,
                };
                json!({
                    "check": name(line.check), "verdict": line.verdict.word().to_ascii_lowercase(),
                    "reason": reason, "explanation": line.explanation,
                })
            })
            .collect();
        json!({
            "valid": self.is_valid(), "verdict": self.verdict(), "header": { "alg": algorithm, "kid": kid },
            "claims": self.inspection.claims(), "checks": checks,
        })
    }
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}

fn name(check: Check) -> &'static str {
    match check {
        Check::Format => "form",
        Check::Key => "key",
        Check::Signature => "signature",
        Check::Issuer => "issuer",
        Check::Audience => "audience",
        Check::Chain => "chain",
        Check::Times => "times",
        Check::Revocation => "revocation",
    }
}

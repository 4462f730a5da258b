//! Report of `awrit token inspect`: the result of each check, and the verdict on the token.

use std::{
    io::{self, Write},
    time::Duration,
};

use agentwrit_verify::{
    ClockReading, FeedError, RevocationList, UnixTime, VerifyError,
    audit::text::printable,
    inspection::{Check, CheckResult, Inspection},
};
use serde_json::{Value, json};

use super::{
    claims,
    evidence::{Evidence, VerificationOptions},
};
use crate::format;

/// Largest difference assumed between the clocks that date tokens and feed: of one broker, or of a few in a cluster.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// `alg` and `kid` of a token's header.
#[derive(Default)]
pub(super) struct TokenHeader {
    pub(super) algorithm: String,
    pub(super) kid: String,
}

pub(super) struct Report<'a> {
    pub(super) inspection: &'a Inspection,
    pub(super) options: &'a VerificationOptions,
    pub(super) evidence: &'a Evidence,
    pub(super) header: TokenHeader,
    pub(super) list: Option<RevocationList>,
    pub(super) feed_error: Option<FeedError>,
    pub(super) issuer: &'a str,
    pub(super) now: ClockReading,
}

/// Result of one check, and what it compared.
struct CheckReport {
    check: Check,
    verdict: Verdict,
    explanation: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Fails,
    /// Evidence is missing: the token is not reported as valid.
    NotMade,
    /// Not requested.
    Skipped,
    /// Passed by a snapshot of any age, as requested.
    OkWhenExported,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fails => "FAILS",
            Self::NotMade => "not made",
            Self::Skipped => "skipped",
            Self::OkWhenExported => "ok then",
        }
    }
}

impl Report<'_> {
    fn checks(&self) -> Vec<CheckReport> {
        Check::ALL.into_iter().map(|check| self.check(check)).collect()
    }

    pub(super) fn is_valid(&self) -> bool {
        self.checks().iter().all(|check| !matches!(check.verdict, Verdict::Fails | Verdict::NotMade))
    }

    fn check(&self, check: Check) -> CheckReport {
        let (verdict, explanation) = match (self.inspection.outcome(check), check) {
            (CheckResult::NotReached, _) => (Verdict::NotMade, "there was nothing to check".to_owned()),
            (_, Check::Revocation) if self.list.is_none() => self.no_revocation_list(),
            (CheckResult::Passed, Check::Audience) if self.options.audience.is_none() && self.has_audience() => {
                (Verdict::Skipped, "the token names an audience; require one with --audience".to_owned())
            }
            (CheckResult::Passed, Check::Issuer) if self.options.issuer.is_none() && self.list.is_none() => {
                (Verdict::Skipped, format!("the token names `{}`; require an issuer with --issuer", self.issuer))
            }
            (CheckResult::Passed, Check::Revocation) if self.feed_predates_token() => {
                (Verdict::NotMade, "the snapshot is older than the token and cannot list it".to_owned())
            }
            (CheckResult::Passed, Check::Revocation) if self.options.accept_stale_revocations => {
                (Verdict::OkWhenExported, self.not_revoked())
            }
            (CheckResult::Passed, check) => (Verdict::Ok, self.passed(check)),
            (CheckResult::Failed(VerifyError::Expired { .. }), Check::Revocation) => {
                (Verdict::Fails, "the broker's clock has passed its expiry".to_owned())
            }
            (CheckResult::Failed(error), Check::Revocation) if error.is_unavailable() => {
                self.stale_feed(&error.to_string())
            }
            (CheckResult::Failed(error), _) => (Verdict::Fails, error.to_string()),
        };
        CheckReport { check, verdict, explanation }
    }

    fn no_revocation_list(&self) -> (Verdict, String) {
        match &self.feed_error {
            Some(FeedError::Expired { by }) => {
                self.stale_feed(&format!("the snapshot expired {} ago", format::duration(*by)))
            }
            Some(error) => (Verdict::Fails, format!("the revocation feed cannot be used: {error}")),
            None if self.options.without_revocations => {
                (Verdict::Skipped, "--without-revocations was given: a revoked token passes".to_owned())
            }
            None => {
                (Verdict::NotMade, "give --revocations FILE, or --without-revocations to skip this check".to_owned())
            }
        }
    }

    /// Returns true if the snapshot was signed before the token was issued, by more than clocks may differ.
    fn feed_predates_token(&self) -> bool {
        let signed = self.list.as_ref().and_then(RevocationList::true_at);
        let issued = self.inspection.claims().map(|claims| UnixTime::from_seconds(claims.iat));
        signed.zip(issued).is_some_and(|(signed, issued)| issued > signed.saturating_add(CLOCK_TOLERANCE))
    }

    /// Returns the advice for a stale snapshot: the broker sends fresh ones, a file must be exported again.
    fn stale_feed(&self, reason: &str) -> (Verdict, String) {
        let advice = if self.options.revocations.is_some() {
            "export a new one, or give --accept-stale-revocations to verify with this one"
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
        let source = &self.evidence.keys_source;
        match check {
            Check::Format => "a compact JWS with the claims of a token".to_owned(),
            Check::Key => {
                format!("its `kid` names a key of {source} ({})", format::count(self.evidence.keys.len() as u64, "key"))
            }
            Check::Signature => "Ed25519, by that key, over header and claims".to_owned(),
            Check::Issuer if self.options.issuer.is_some() => "it is the one of --issuer".to_owned(),
            Check::Issuer => "the revocation feed is of the same issuer".to_owned(),
            Check::Audience if self.options.audience.is_some() => "it includes the one of --audience".to_owned(),
            Check::Audience => "the token names none: every service that trusts the issuer may accept it".to_owned(),
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
        let source = self.evidence.feed.as_ref().map_or("", |feed| &feed.source);
        let Some(list) = &self.list else { return String::new() };
        let as_of = list
            .true_at()
            .map_or_else(String::new, |time| format!(", as of {time} ({})", format::relative(time, self.now.wall)));
        let entries = match list.len() {
            1 => "1 entry".to_owned(),
            entries => format!("{} entries", format::number(entries as u64)),
        };
        format!("none of the {entries} of {source} matches it{as_of}")
    }

    fn verdict(&self) -> &'static str {
        let checks = self.checks();
        let any = |verdict| checks.iter().any(|check| check.verdict == verdict);
        let incomplete = any(Verdict::Skipped) || any(Verdict::OkWhenExported);
        match (any(Verdict::Fails), any(Verdict::NotMade), incomplete) {
            (true, _, _) => "not valid",
            (false, true, _) => "not verified",
            (false, false, true) => "valid, as far as it was checked",
            (false, false, false) => "valid",
        }
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(claims) = self.inspection.claims() {
            let verified = *self.inspection.outcome(Check::Signature) == CheckResult::Passed;
            writeln!(out, "{}", if verified { "Claims of the token:" } else { "Claims of the token (not verified):" })?;
            writeln!(out)?;
            let TokenHeader { algorithm, kid } = &self.header;
            writeln!(out, "{:13}  {} {}", "signed with", printable(algorithm), printable(kid))?;
            claims::print(out, claims, self.now.wall)?;
            writeln!(out)?;
        }
        for CheckReport { check, verdict, explanation } in self.checks() {
            writeln!(out, "{:10}  {:8}  {}", name(check), verdict.as_str(), printable(&explanation))?;
        }
        writeln!(out, "\n{}", self.verdict())
    }

    pub(super) fn json(&self) -> Value {
        let checks: Vec<Value> = self
            .checks()
            .into_iter()
            .map(|CheckReport { check, verdict, explanation }| {
                let reason = match self.inspection.outcome(check) {
                    CheckResult::Failed(error) => Some(error.reason()),
                    CheckResult::Passed | CheckResult::NotReached => None,
                };
                json!({
                    "check": name(check), "verdict": verdict.as_str().to_ascii_lowercase(),
                    "reason": reason, "explanation": explanation,
                })
            })
            .collect();
        json!({
            "valid": self.is_valid(), "verdict": self.verdict(),
            "header": { "alg": self.header.algorithm, "kid": self.header.kid },
            "claims": self.inspection.claims(), "checks": checks,
        })
    }
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

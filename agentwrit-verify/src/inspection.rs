//! Reports the result of every check on a token separately.
//!
//! [`Verifier::verify_without_proof`] returns at the first check that fails. An [`Inspection`] continues as far as possible and
//! reports the result of each check. It grants nothing: the claims of a token with an invalid signature are shown too,
//! and may be forged.

use std::sync::OnceLock;

use crate::{
    claims::ClaimSet,
    delegation,
    error::VerifyError,
    jws::shorten,
    keys::KeySet,
    revocation::TokenRevocationKeys,
    rules::{Rules, check_times},
    staleness::ClockReading,
    token::UnverifiedToken,
    verifier::Verifier,
};

/// Checks in the order of [`Verifier::verify_without_proof`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "callers that show the checks must show each")]
pub enum Check {
    /// A compact JWS of an accepted algorithm and type, with the claims of a token.
    Format,
    /// The `kid` names a trusted key.
    Key,
    /// The signature verifies with that key.
    Signature,
    /// The issuer is the expected one.
    Issuer,
    /// The audience is accepted.
    Audience,
    /// Every delegation was signed, and narrowed what it handed on.
    Chain,
    /// The token is valid at this time.
    Times,
    /// The token is not revoked, by a list that is fresh.
    Revocation,
}

impl Check {
    /// Every check, in order.
    pub const ALL: [Self; 8] = [
        Self::Format,
        Self::Key,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Chain,
        Self::Times,
        Self::Revocation,
    ];
}

/// Result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a check passes, fails or was not reached")]
pub enum CheckResult {
    /// The check passed.
    Passed,
    /// The check failed.
    Failed(VerifyError),
    /// An input of the check is missing: the claims of a malformed token, the key of a signature.
    NotReached,
}

/// A token, check by check.
#[derive(Clone, Debug)]
pub struct Inspection {
    outcomes: [CheckResult; 8],
    claims: Option<ClaimSet>,
}

impl Inspection {
    /// Returns the result of a check.
    #[must_use]
    pub fn outcome(&self, check: Check) -> &CheckResult {
        let [format, key, signature, issuer, audience, chain, times, revocation] = &self.outcomes;
        match check {
            Check::Format => format,
            Check::Key => key,
            Check::Signature => signature,
            Check::Issuer => issuer,
            Check::Audience => audience,
            Check::Chain => chain,
            Check::Times => times,
            Check::Revocation => revocation,
        }
    }

    /// Returns true when every check passed: exactly then [`Verifier::verify_without_proof`] accepts the token. Its
    /// [claims](Self::claims) tell whether it is sender-constrained: the sender's proof is not part of the token.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.outcomes.iter().all(|outcome| *outcome == CheckResult::Passed)
    }

    /// Returns the claims as written, if they can be parsed. Unless [`Inspection::is_valid`], they prove nothing.
    #[must_use]
    pub fn claims(&self) -> Option<&ClaimSet> {
        self.claims.as_ref()
    }
}

impl Verifier {
    /// Performs every check of [`Verifier::verify_without_proof`] and reports each result. Slower, and without the cache.
    ///
    /// ```
    /// use std::time::Duration;
    /// use agentwrit_verify::{inspection::{Check, CheckResult}, testing::TestIssuer};
    ///
    /// let issuer = TestIssuer::new();
    /// let token = issuer.token(&["read:data:*"]);
    /// assert!(issuer.verifier().inspect(&token).is_valid());
    ///
    /// issuer.clock().advance(Duration::from_secs(3600));
    /// let inspection = issuer.verifier().inspect(&token);
    /// assert_eq!(inspection.outcome(Check::Signature), &CheckResult::Passed);
    /// assert!(matches!(inspection.outcome(Check::Times), CheckResult::Failed(_)));
    /// ```
    #[must_use]
    pub fn inspect(&self, token: &str) -> Inspection {
        self.rules.inspect(token)
    }
}

impl Rules {
    fn inspect(&self, token: &str) -> Inspection {
        let read = UnverifiedToken::decode(token).and_then(|token| token.claims().map(|claims| (token, claims)));
        let (token, claims) = match read {
            Ok(read) => read,
            Err(error) => {
                let mut outcomes = [const { CheckResult::NotReached }; 8];
                let [format, ..] = &mut outcomes;
                *format = CheckResult::Failed(error);
                return Inspection { outcomes, claims: None };
            }
        };
        let now = ClockReading::of(&*self.clock);
        let keys = self.keys.key_set();
        let chain = |keys: &KeySet| delegation::verify_chain(&claims, keys).map(drop).map_err(VerifyError::Chain);
        let revocation_keys = OnceLock::new();
        let revocation_keys = || revocation_keys.get_or_init(|| TokenRevocationKeys::of(&claims));
        let (key, signature) = self.inspect_key(&token, keys.as_deref(), now);
        let outcomes = [
            CheckResult::Passed,
            key,
            signature,
            CheckResult::of(self.check_issuer(&claims)),
            CheckResult::of(self.check_audience(&claims)),
            keys.as_deref().map_or(CheckResult::NotReached, |keys| CheckResult::of(chain(keys))),
            CheckResult::of(check_times(&claims, now.wall, self.leeway)),
            CheckResult::of(self.check_revocation(&claims, revocation_keys, now.wall, || now.monotonic)),
        ];
        Inspection { outcomes, claims: Some(claims) }
    }

    /// Checks that the key is trusted, and that it signed the token.
    fn inspect_key(
        &self,
        token: &UnverifiedToken<'_>,
        keys: Option<&KeySet>,
        now: ClockReading,
    ) -> (CheckResult, CheckResult) {
        let Some(keys) = keys else {
            return (CheckResult::Failed(VerifyError::KeysUnavailable), CheckResult::NotReached);
        };
        let Some(key) = keys.select(token.key_id()) else {
            let kid = token.key_id().map(|kid| shorten(kid.as_str()));
            return (CheckResult::Failed(VerifyError::UnknownKey { kid }), CheckResult::NotReached);
        };
        let recent = CheckResult::of(self.keys.current(|| now.monotonic).map(drop));
        (recent, CheckResult::of(token.jws().check_signature(key)))
    }
}

impl CheckResult {
    fn of(result: Result<(), VerifyError>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

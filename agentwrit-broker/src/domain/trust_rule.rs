//! Trust rules: foreign tokens with which agents register.
//!
//! 1. Issuer and keys are the rule's, never those that a token names.
//! 2. A rule restricts the holders of tokens by at least one claim: see [`restriction`].
//! 3. A rule does not change: the operator removes it and adds another one.

mod restriction;

use std::fmt;

use agentwrit_protocol::{AttestationKind, ClaimMatch, JwkSetText};
use agentwrit_verify::{AppId, ScopeSet, Subject, UnixTime, identity::is_app_name};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

use self::restriction::check_restriction;
use super::{AppName, ClaimName, IdTemplate, claims::meets};

/// A rule by which foreign tokens register agents of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRule {
    /// `rule-<name>-<6 hex>`.
    pub id: TrustRuleId,
    /// Unique among the rules.
    pub name: AppName,
    /// App that the agents belong to.
    pub app_id: AppId,
    /// Kind of the tokens.
    pub kind: AttestationKind,
    /// Value of `iss`; `spiffe://<trust domain>` of the subjects for [`AttestationKind::Spiffe`].
    pub issuer: String,
    /// Keys of the issuer.
    pub keys: RuleKeys,
    /// Value that `aud` must contain.
    pub audience: String,
    /// Conditions on claims, all of which must be met.
    pub claims: Vec<(ClaimName, ClaimMatch)>,
    /// Scopes that an agent may register with at most.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agents' tokens, in seconds.
    pub max_ttl: u64,
    /// Template of the agents' `task_id`; without one the registration names it.
    pub task_template: Option<IdTemplate>,
    /// Template of the agents' `orch_id`; without one the registration names it.
    pub orch_template: Option<IdTemplate>,
    /// True if the Kubernetes API has to confirm each token.
    pub token_review: bool,
    /// Time of its creation, which no other rule has.
    pub created_at: UnixTime,
    /// Subject that created it.
    pub created_by: Subject,
}

/// Source of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKeys {
    /// Address of a JWK set.
    Url(String),
    /// A JWK set.
    Set(JwkSetText),
}

/// A member that no rule may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {problem}")]
pub struct TrustRuleError {
    /// Name of the member.
    pub member: &'static str,
    /// Condition that it must meet.
    pub problem: String,
}

impl TrustRule {
    /// Returns the first claim that does not meet its condition.
    #[must_use]
    pub fn unmet_claim(&self, claims: &Map<String, Value>) -> Option<&ClaimName> {
        let is_met =
            |(name, condition): &(ClaimName, ClaimMatch)| name.of(claims).is_some_and(|claim| meets(claim, condition));
        self.claims.iter().find(|condition| !is_met(condition)).map(|(name, _)| name)
    }

    /// Checks that the rule restricts what it trusts, and can make ids. Keys and issuer are the attestor's to check.
    ///
    /// # Errors
    ///
    /// [`TrustRuleError`].
    pub fn check(&self) -> Result<(), TrustRuleError> {
        check_text("issuer", &self.issuer)?;
        check_text("audience", &self.audience)?;
        check_restriction(self)?;
        if self.token_review && self.kind != AttestationKind::Kubernetes {
            return Err(fault("token_review", "is for the kind `kubernetes`"));
        }
        for (member, template) in [("task_template", &self.task_template), ("orch_template", &self.orch_template)] {
            if template.as_ref().is_some_and(|template| !template.can_make_id()) {
                return Err(fault(member, "makes no id: it is `.` or `..`, or longer than an id may be"));
            }
        }
        Ok(())
    }
}

fn fault(member: &'static str, problem: impl Into<String>) -> TrustRuleError {
    TrustRuleError { member, problem: problem.into() }
}

fn check_text(member: &'static str, text: &str) -> Result<(), TrustRuleError> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(()) } else { Err(fault(member, "must be printable ASCII characters without spaces")) }
}

/// Id of a trust rule: `rule-<name>-<6 hex>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustRuleId(Box<str>);

/// A text that is no id of a trust rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trust rule's id is `rule-<name>-<6 hex>`")]
pub struct TrustRuleIdError;

impl TrustRuleId {
    /// Names a rule; `suffix` comes from a cryptographic random source.
    #[must_use]
    pub fn new(name: &AppName, suffix: [u8; 3]) -> Self {
        Self(format!("rule-{name}-{}", HEXLOWER.encode(&suffix)).into())
    }

    /// Parses `rule-<name>-<6 hex>`.
    ///
    /// # Errors
    ///
    /// [`TrustRuleIdError`].
    pub fn parse(text: &str) -> Result<Self, TrustRuleIdError> {
        let valid = text.strip_prefix("rule-").and_then(|rest| rest.rsplit_once('-')).is_some_and(|(name, suffix)| {
            is_app_name(name)
                && suffix.len() == 6
                && suffix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        if valid { Ok(Self(text.into())) } else { Err(TrustRuleIdError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustRuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustRuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRuleId({})", self.0)
    }
}

#[cfg(test)]
mod tests;

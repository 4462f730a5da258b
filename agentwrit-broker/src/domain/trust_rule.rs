//! Trust rules: foreign tokens with which agents register.
//!
//! 1. Issuer and keys are the rule's, never those that a token names.
//! 2. A rule of the kinds `oidc` and `kubernetes` restricts the holders of tokens by at least one claim: an issuer such as that
//!    of a CI service issues tokens to everyone, for any audience. A rule of the kind `spiffe` restricts the SPIFFE id.
//! 3. A rule does not change: the operator removes it and adds another one.

use std::fmt;

use agentwrit_protocol::{AttestationKind, ClaimMatch, ClaimValue, JwkSetText};
use agentwrit_verify::{AppId, ScopeSet, Subject, TrustDomain, UnixTime, identity::is_app_name};
use data_encoding::HEXLOWER;
use http::Uri;
use serde_json::{Map, Value};

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

    /// Checks that the rule restricts what it trusts.
    ///
    /// # Errors
    ///
    /// [`TrustRuleError`].
    pub fn check(&self) -> Result<(), TrustRuleError> {
        check_text("issuer", &self.issuer)?;
        check_text("audience", &self.audience)?;
        if let RuleKeys::Url(url) = &self.keys {
            check_url(url)?;
        }
        match self.kind {
            AttestationKind::Spiffe => self.check_spiffe()?,
            AttestationKind::Oidc | AttestationKind::Kubernetes => self.check_claims()?,
        }
        if self.token_review && self.kind != AttestationKind::Kubernetes {
            return Err(fault("token_review", "is for the kind `kubernetes`"));
        }
        Ok(())
    }

    fn check_claims(&self) -> Result<(), TrustRuleError> {
        if self.claims.iter().any(|(name, _)| name.tells_subjects_apart()) {
            return Ok(());
        }
        let problem = "must restrict a claim that tells the issuer's subjects apart, such as `sub`: without one the rule would \
                       trust every token that the issuer gives out";
        Err(fault("claims", problem))
    }

    fn check_spiffe(&self) -> Result<(), TrustRuleError> {
        let domain = self.issuer.strip_prefix("spiffe://").filter(|domain| TrustDomain::parse(domain).is_ok());
        if domain.is_none() {
            return Err(fault("issuer", "must be `spiffe://` and the trust domain for the kind `spiffe`"));
        }
        let within = |id: &str| id.strip_prefix(&self.issuer).is_some_and(|path| path.starts_with('/'));
        let restricts = |(name, condition): &(ClaimName, ClaimMatch)| {
            name.as_str() == "sub"
                && match condition {
                    ClaimMatch::Equals(ClaimValue::Text(id)) => within(id),
                    ClaimMatch::Prefix(prefix) => within(prefix) && prefix.ends_with('/'),
                    ClaimMatch::Equals(ClaimValue::Flag(_) | ClaimValue::Number(_)) => false,
                }
        };
        if self.claims.iter().any(restricts) {
            return Ok(());
        }
        let problem = "must restrict `sub` for the kind `spiffe`: by `equals` a SPIFFE id of the issuer's trust domain, or by a \
                       `prefix` of one that ends in `/`";
        Err(fault("claims", problem))
    }
}

fn fault(member: &'static str, problem: impl Into<String>) -> TrustRuleError {
    TrustRuleError { member, problem: problem.into() }
}

fn check_text(member: &'static str, text: &str) -> Result<(), TrustRuleError> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(()) } else { Err(fault(member, "must be printable ASCII characters without spaces")) }
}

/// Checks the form of an address. Requests to it check where it leads.
fn check_url(url: &str) -> Result<(), TrustRuleError> {
    check_text("jwks_url", url)?;
    let uri = url.parse::<Uri>().ok().filter(|uri| !url.contains('#') && uri.host().is_some());
    let uri = uri.ok_or_else(|| fault("jwks_url", "must be an absolute URL without a fragment"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(fault("jwks_url", "must not contain a user"));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback => Ok(()),
        _ => Err(fault("jwks_url", "must be `https`, or `http` to a literal loopback address")),
    }
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

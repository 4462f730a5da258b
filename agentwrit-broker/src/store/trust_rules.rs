//! Reads of trust rules and of used assertions.

use agentwrit_protocol::{AttestationKind, ClaimMatch, JsonError, JwkSetText};
use agentwrit_verify::{AppId, UnixTime};

use super::{
    Page, StoreError,
    facts::{ReadFacts, lookup},
    wants::Wants,
};
use crate::domain::{AppName, ClaimName, ClaimNameError, Digest, RuleKeys, TrustRule, TrustRuleId};

/// Columns of a rule, in the order in which the stores read them.
macro_rules! rule_columns {
    () => {
        "rule_id, name, app_id, kind, issuer, jwks_url, jwks, audience, claims, allowed_scope, max_ttl, task_template, \
         orch_template, token_review, created_at, created_by"
    };
}
pub(super) use rule_columns;

/// Reads of trust rules.
pub trait ReadTrustRules: ReadFacts {
    /// Returns a rule.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trust_rule(&self, id: &TrustRuleId) -> Result<Option<TrustRule>, StoreError> {
        lookup(self, || Wants::none().trust_rule(id), |facts| Some(facts.trust_rules.find(id)?.cloned()))
    }

    /// Returns true if an assertion was used, and has not expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn is_used_assertion(&self, assertion: &Digest) -> Result<bool, StoreError> {
        let found = |facts: &super::facts::Facts| Some(facts.assertions.find(assertion.as_bytes())?.copied());
        Ok(lookup(self, || Wants::none().assertion(assertion), found)?.is_some())
    }

    /// Returns the rule of that name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trust_rule_named(&self, name: &AppName) -> Result<Option<TrustRule>, StoreError>;

    /// Returns the rules for tokens of a kind and an issuer, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trust_rules_for(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<TrustRule>, StoreError>;

    /// Returns the ids of these rules, and the times of their creation, in the same order. Reads no key sets.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trust_rule_ids_for(
        &self,
        kind: AttestationKind,
        issuer: &str,
    ) -> Result<Vec<(TrustRuleId, UnixTime)>, StoreError>;

    /// Returns the rules for an app, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trust_rules_of_app(&self, app_id: &AppId) -> Result<Vec<TrustRule>, StoreError>;

    /// Returns a page of all rules in the order of their creation, each with its cursor, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trust_rules(&self, page: &Page) -> Result<(Vec<(u64, TrustRule)>, u64), StoreError>;

    /// Returns the time of creation of the latest rule, in microseconds; 0 if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn latest_trust_rule(&self) -> Result<i64, StoreError>;
}

/// A column of a rule that can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadableRule {
    #[error("`{0}` is no kind of attestation")]
    Kind(String),
    #[error(transparent)]
    ClaimName(#[from] ClaimNameError),
    #[error(transparent)]
    Claims(#[from] serde_json::Error),
    #[error(transparent)]
    KeySet(#[from] JsonError),
    #[error("neither an address nor a set of keys")]
    NoKeys,
}

pub(super) fn kind(name: &str) -> Result<AttestationKind, UnreadableRule> {
    AttestationKind::parse(name).ok_or_else(|| UnreadableRule::Kind(name.to_owned()))
}

/// Encodes conditions as JSON: a list, which keeps their order.
pub(super) fn encoded_claims(claims: &[(ClaimName, ClaimMatch)]) -> String {
    let claims: Vec<(&str, &ClaimMatch)> = claims.iter().map(|(name, condition)| (name.as_str(), condition)).collect();
    // A list of texts and objects with text keys: its serialization can't fail.
    serde_json::to_string(&claims).unwrap_or_default()
}

pub(super) fn claims(text: &str) -> Result<Vec<(ClaimName, ClaimMatch)>, UnreadableRule> {
    let claims: Vec<(String, ClaimMatch)> = serde_json::from_str(text)?;
    claims.into_iter().map(|(name, condition)| Ok((ClaimName::parse(&name)?, condition))).collect()
}

pub(super) fn rule_keys(url: Option<String>, set: Option<&str>) -> Result<RuleKeys, UnreadableRule> {
    match (url, set) {
        (Some(url), None) => Ok(RuleKeys::Url(url)),
        (None, Some(set)) => Ok(RuleKeys::Set(JwkSetText::parse(set.as_bytes())?)),
        (Some(_), Some(_)) | (None, None) => Err(UnreadableRule::NoKeys),
    }
}

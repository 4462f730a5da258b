//! Rows of trust rules and of used assertions.

use agentwrit_verify::UnixTime;

use super::{
    super::{
        codec::{joined, signed},
        trust_rules::encoded_claims,
        value::Value,
    },
    record::{
        Kind::{Boolean, Bytes, Integer, Text},
        Record,
        Verb::{Delete, Insert},
        Write,
    },
};
use crate::domain::{IdTemplate, RuleKeys, TrustRule, TrustRuleId};

/// A new trust rule.
#[derive(Debug)]
pub(in crate::store) struct TrustRuleRow(pub(in crate::store) TrustRule);

impl Record for TrustRuleRow {
    const WRITE: Write = Write {
        verb: Insert,
        table: "trust_rules",
        columns: &[
            ("rule_id", Text),
            ("name", Text),
            ("app_id", Text),
            ("kind", Text),
            ("issuer", Text),
            ("jwks_url", Text),
            ("jwks", Text),
            ("audience", Text),
            ("claims", Text),
            ("allowed_scope", Text),
            ("max_ttl", Integer),
            ("task_template", Text),
            ("orch_template", Text),
            ("token_review", Boolean),
            ("created_at", Integer),
            ("created_by", Text),
        ],
    };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self(rule) = self;
        let (jwks_url, jwks) = match &rule.keys {
            RuleKeys::Url(url) => (Some(url.as_str()), None),
            RuleKeys::Set(set) => (None, Some(set.as_str())),
        };
        values.extend([
            rule.id.as_str().into(),
            rule.name.as_str().into(),
            rule.app_id.as_str().into(),
            rule.kind.as_str().into(),
            (&rule.issuer).into(),
            jwks_url.into(),
            jwks.into(),
            (&rule.audience).into(),
            encoded_claims(&rule.claims).into(),
            joined(&rule.allowed_scope).into(),
            signed(rule.max_ttl).into(),
            rule.task_template.as_ref().map(IdTemplate::as_str).into(),
            rule.orch_template.as_ref().map(IdTemplate::as_str).into(),
            rule.token_review.into(),
            rule.created_at.into(),
            rule.created_by.to_string().into(),
        ]);
    }
}

/// The deletion of a trust rule.
#[derive(Debug)]
pub(in crate::store) struct TrustRuleDeletion(pub(in crate::store) TrustRuleId);

impl Record for TrustRuleDeletion {
    const WRITE: Write = Write { verb: Delete, table: "trust_rules", columns: &[("rule_id", Text)] };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.push(self.0.as_str().into());
    }
}

/// The use of an assertion.
#[derive(Debug)]
pub(in crate::store) struct AssertionRow {
    pub(in crate::store) assertion: [u8; 32],
    pub(in crate::store) expires_at: UnixTime,
}

impl Record for AssertionRow {
    const WRITE: Write =
        Write { verb: Insert, table: "used_assertions", columns: &[("assertion", Bytes), ("expires_at", Integer)] };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.extend([(&self.assertion).into(), self.expires_at.into()]);
    }
}

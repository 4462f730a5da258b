//! Trust rules and used assertions.

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AppId, Subject, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_parsed, parsed, scopes, time, unreadable, unsigned},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{AppName, IdTemplate, TrustRule, TrustRuleId},
    store::{
        Page, StoreError,
        codec::signed,
        trust_rules::{ReadTrustRules, claims, kind, rule_columns, rule_keys},
        wants::Wants,
    },
};

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", rule_columns!(), " FROM trust_rules ", $rest)
    };
}

impl ReadTrustRules for Transaction<'_> {
    fn trust_rule_named(&self, name: &AppName) -> Result<Option<TrustRule>, StoreError> {
        self.find(select!("WHERE name = $1"), values![name.as_str()], rule)
    }

    fn trust_rules_for(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<TrustRule>, StoreError> {
        let sql = select!("WHERE issuer = $1 AND kind = $2 ORDER BY created_at");
        self.list(sql, values![issuer, kind.as_str()], rule)
    }

    fn trust_rule_ids_for(
        &self,
        kind: AttestationKind,
        issuer: &str,
    ) -> Result<Vec<(TrustRuleId, UnixTime)>, StoreError> {
        let sql = "SELECT rule_id, created_at FROM trust_rules WHERE issuer = $1 AND kind = $2 ORDER BY created_at";
        self.list(sql, values![issuer, kind.as_str()], |row| Ok((parsed(row, 0, TrustRuleId::parse)?, time(row, 1)?)))
    }

    fn trust_rules_of_app(&self, app_id: &AppId) -> Result<Vec<TrustRule>, StoreError> {
        self.list(select!("WHERE app_id = $1 ORDER BY created_at"), values![app_id.as_str()], rule)
    }

    fn trust_rules(&self, page: &Page) -> Result<(Vec<(u64, TrustRule)>, u64), StoreError> {
        let total = self.single("SELECT count(*) FROM trust_rules", values![], |row| unsigned(row, 0))?;
        let rows = self.list(
            select!("WHERE created_at > $1 ORDER BY created_at LIMIT $2 OFFSET $3"),
            values![signed(page.after), signed(page.limit), signed(page.offset)],
            |row| Ok((unsigned(row, 14)?, rule(row)?)),
        )?;
        Ok((rows, total))
    }

    fn latest_trust_rule(&self) -> Result<i64, StoreError> {
        self.single("SELECT coalesce(max(created_at), 0) FROM trust_rules", values![], |row| get(row, 0))
    }
}

/// Queries for rules by id, and for assertions that were used.
pub(super) fn queries(wants: &Wants) -> [Option<Query<'_>>; 2] {
    [
        Query::of(
            select!("WHERE rule_id = ANY($1)"),
            wants.trust_rules.iter().map(TrustRuleId::as_str),
            |row, facts| {
                let rule = rule(row)?;
                facts.trust_rules.learn(rule.id.clone(), Some(rule));
                Ok(())
            },
        ),
        Query::of(
            "SELECT assertion FROM used_assertions WHERE assertion = ANY($1)",
            &wants.assertions,
            |row, facts| {
                facts.assertions.learn(bytes(row, 0)?, Some(()));
                Ok(())
            },
        ),
    ]
}

fn rule(row: &Row) -> Result<TrustRule, StoreError> {
    let set: Option<&str> = get(row, 6)?;
    Ok(TrustRule {
        id: parsed(row, 0, TrustRuleId::parse)?,
        name: parsed(row, 1, AppName::parse)?,
        app_id: parsed(row, 2, AppId::parse)?,
        kind: parsed(row, 3, kind)?,
        issuer: get(row, 4)?,
        keys: rule_keys(get(row, 5)?, set).map_err(|error| unreadable(6, &error))?,
        audience: get(row, 7)?,
        claims: parsed(row, 8, claims)?,
        allowed_scope: scopes(row, 9)?,
        max_ttl: unsigned(row, 10)?,
        task_template: optional_parsed(row, 11, IdTemplate::parse)?,
        orch_template: optional_parsed(row, 12, IdTemplate::parse)?,
        token_review: get(row, 13)?,
        created_at: time(row, 14)?,
        created_by: parsed(row, 15, Subject::parse)?,
    })
}

//! Trust rules and used assertions.

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AppId, Subject, UnixTime};
use rusqlite::Row;

use super::{
    codec::{optional_parsed, parsed, scopes, time, unreadable, unsigned},
    transaction::Transaction,
};
use crate::{
    domain::{AppName, IdTemplate, TrustRule, TrustRuleId},
    store::{
        Page, StoreError,
        codec::signed,
        facts::Facts,
        trust_rules::{ReadTrustRules, claims, kind, rule_columns, rule_keys},
    },
};

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", rule_columns!(), " FROM trust_rules ", $rest)
    };
}

impl ReadTrustRules for Transaction<'_> {
    fn trust_rule_named(&self, name: &AppName) -> Result<Option<TrustRule>, StoreError> {
        self.find(select!("WHERE name = ?1"), [name.as_str()], rule)
    }

    fn trust_rules_for(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<TrustRule>, StoreError> {
        self.list(select!("WHERE issuer = ?1 AND kind = ?2 ORDER BY created_at"), [issuer, kind.as_str()], rule)
    }

    fn trust_rule_ids_for(
        &self,
        kind: AttestationKind,
        issuer: &str,
    ) -> Result<Vec<(TrustRuleId, UnixTime)>, StoreError> {
        let sql = "SELECT rule_id, created_at FROM trust_rules WHERE issuer = ?1 AND kind = ?2 ORDER BY created_at";
        self.list(sql, [issuer, kind.as_str()], |row| Ok((parsed(row, 0, TrustRuleId::parse)?, time(row, 1)?)))
    }

    fn trust_rules_of_app(&self, app_id: &AppId) -> Result<Vec<TrustRule>, StoreError> {
        self.list(select!("WHERE app_id = ?1 ORDER BY created_at"), [app_id.as_str()], rule)
    }

    fn trust_rules(&self, page: &Page) -> Result<(Vec<(u64, TrustRule)>, u64), StoreError> {
        let total = self.single("SELECT count(*) FROM trust_rules", [], |row| unsigned(row, 0))?;
        let rows = self.list(
            select!("WHERE created_at > ?1 ORDER BY created_at LIMIT ?2 OFFSET ?3"),
            [page.after, page.limit, page.offset].map(signed),
            |row| Ok((unsigned(row, 14)?, rule(row)?)),
        )?;
        Ok((rows, total))
    }

    fn latest_trust_rule(&self) -> Result<i64, StoreError> {
        self.single("SELECT ifnull(max(created_at), 0) FROM trust_rules", [], |row| row.get(0))
    }
}

impl Transaction<'_> {
    pub(super) fn fetch_trust_rule(&self, id: &TrustRuleId, facts: &mut Facts) -> Result<(), StoreError> {
        if let Some(found) = self.find(select!("WHERE rule_id = ?1"), [id.as_str()], rule)? {
            facts.trust_rules.learn(id.clone(), Some(found));
        }
        Ok(())
    }

    pub(super) fn fetch_assertion(&self, assertion: &[u8; 32], facts: &mut Facts) -> Result<(), StoreError> {
        let sql = "SELECT 1 FROM used_assertions WHERE assertion = ?1";
        if self.find(sql, [assertion], |_| Ok(()))?.is_some() {
            facts.assertions.learn(*assertion, Some(()));
        }
        Ok(())
    }
}

fn rule(row: &Row<'_>) -> rusqlite::Result<TrustRule> {
    let set = row.get_ref(6)?.as_str_or_null()?;
    Ok(TrustRule {
        id: parsed(row, 0, TrustRuleId::parse)?,
        name: parsed(row, 1, AppName::parse)?,
        app_id: parsed(row, 2, AppId::parse)?,
        kind: parsed(row, 3, kind)?,
        issuer: row.get(4)?,
        keys: rule_keys(row.get(5)?, set).map_err(|error| unreadable(6, error))?,
        audience: row.get(7)?,
        claims: parsed(row, 8, claims)?,
        allowed_scope: scopes(row, 9)?,
        max_ttl: unsigned(row, 10)?,
        task_template: optional_parsed(row, 11, IdTemplate::parse)?,
        orch_template: optional_parsed(row, 12, IdTemplate::parse)?,
        token_review: row.get(13)?,
        created_at: time(row, 14)?,
        created_by: parsed(row, 15, Subject::parse)?,
    })
}

//! Trust rules and used assertions.

use std::time::Duration;

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AppId, UnixTime};

use super::Tx;
use crate::{
    domain::{AppName, Digest, TrustRule, TrustRuleId},
    store::{
        Page, StoreError,
        codec::{from_micros, micros},
        pending::{AssertionRow, TrustRuleDeletion, TrustRuleRow},
        trust_rules::ReadTrustRules,
    },
};

impl ReadTrustRules for Tx<'_> {
    fn trust_rule_named(&self, name: &AppName) -> Result<Option<TrustRule>, StoreError> {
        self.flushed()?.trust_rule_named(name)
    }

    fn trust_rules_for(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<TrustRule>, StoreError> {
        self.flushed()?.trust_rules_for(kind, issuer)
    }

    fn trust_rule_ids_for(
        &self,
        kind: AttestationKind,
        issuer: &str,
    ) -> Result<Vec<(TrustRuleId, UnixTime)>, StoreError> {
        self.flushed()?.trust_rule_ids_for(kind, issuer)
    }

    fn trust_rules_of_app(&self, app_id: &AppId) -> Result<Vec<TrustRule>, StoreError> {
        self.flushed()?.trust_rules_of_app(app_id)
    }

    fn trust_rules(&self, page: &Page) -> Result<(Vec<(u64, TrustRule)>, u64), StoreError> {
        self.flushed()?.trust_rules(page)
    }

    fn latest_trust_rule(&self) -> Result<i64, StoreError> {
        self.flushed()?.latest_trust_rule()
    }
}

impl Tx<'_> {
    /// Adds a trust rule. Returns it with a time that no other one has, or `None` if a rule has its name.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an id that exists.
    pub fn insert_trust_rule(&mut self, rule: TrustRule) -> Result<Option<TrustRule>, StoreError> {
        if self.trust_rule_named(&rule.name)?.is_some() {
            return Ok(None);
        }
        let latest = from_micros(self.latest_trust_rule()?).saturating_add(Duration::from_micros(1));
        // As the store keeps it: a rule that this broker remembers must equal the one that it reads.
        let created_at = from_micros(micros(rule.created_at)).max(latest);
        let rule = TrustRule { created_at, ..rule };
        {
            let batch = &mut self.batch.borrow_mut();
            batch.pending.trust_rules.push(TrustRuleRow(rule.clone()));
            batch.facts.trust_rules.set(rule.id.clone(), Some(rule.clone()));
        }
        // Its unique columns are the store's to check. A deletion of this rule is written later.
        self.flushed()?;
        Ok(Some(rule))
    }

    /// Deletes a trust rule. Returns false for an unknown one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_trust_rule(&mut self, id: &TrustRuleId) -> Result<bool, StoreError> {
        if self.trust_rule(id)?.is_none() {
            return Ok(false);
        }
        let batch = &mut self.batch.borrow_mut();
        batch.facts.trust_rules.set(id.clone(), None);
        batch.pending.trust_rule_deletions.push(TrustRuleDeletion(id.clone()));
        Ok(true)
    }

    /// Records the use of an assertion until `expires_at`. Returns false if it was used before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn use_assertion(&mut self, assertion: &Digest, expires_at: UnixTime) -> Result<bool, StoreError> {
        if self.is_used_assertion(assertion)? {
            return Ok(false);
        }
        let batch = &mut self.batch.borrow_mut();
        batch.facts.assertions.set(*assertion.as_bytes(), Some(()));
        batch.pending.assertions.push(AssertionRow { assertion: *assertion.as_bytes(), expires_at });
        Ok(true)
    }
}

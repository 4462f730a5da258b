//! Trust rules in memory.
//!
//! An unauthenticated request names the issuer whose rules are needed, and a rule may hold a key set of 64 KiB. A rule never
//! changes, so each request reads only which rules there are now, by id and time of creation, and the rules themselves if one
//! of them is not known.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::UnixTime;

use crate::{
    domain::{TrustRule, TrustRuleId},
    store::{Reader, StoreError},
};

/// Largest number of rules in memory, removed ones included; then all are read again.
const MAX_RULES: usize = 1024;

/// Rules that were read from the store.
#[derive(Debug, Default)]
pub(super) struct KnownRules(Mutex<HashMap<TrustRuleId, Arc<TrustRule>>>);

impl KnownRules {
    /// Returns the rules for tokens of a kind and an issuer as the store has them now, in the order of their creation.
    pub(super) fn for_issuer(
        &self,
        reader: &dyn Reader,
        kind: AttestationKind,
        issuer: &str,
    ) -> Result<Vec<Arc<TrustRule>>, StoreError> {
        let ids = reader.trust_rule_ids_for(kind, issuer)?;
        if let Some(rules) = self.known(&ids) {
            return Ok(rules);
        }
        let rules: Vec<Arc<TrustRule>> = reader.trust_rules_for(kind, issuer)?.into_iter().map(Arc::new).collect();
        self.learn(&rules);
        Ok(rules)
    }

    fn known(&self, ids: &[(TrustRuleId, UnixTime)]) -> Option<Vec<Arc<TrustRule>>> {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |(id, created_at): &(TrustRuleId, UnixTime)| {
            rules.get(id).filter(|rule| rule.created_at == *created_at).cloned()
        };
        ids.iter().map(known).collect()
    }

    fn learn(&self, read: &[Arc<TrustRule>]) {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.len() + read.len() > MAX_RULES {
            rules.clear();
        }
        rules.extend(read.iter().map(|rule| (rule.id.clone(), Arc::clone(rule))));
    }
}

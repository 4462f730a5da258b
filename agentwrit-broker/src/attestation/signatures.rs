//! Signatures of foreign tokens, by the keys of a trust rule.

use std::sync::Arc;

use agentwrit_protocol::AttestationKind;
use moka::future::Cache;
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};

use super::{
    address::KeySetUrl,
    error::AttestationError,
    jwk::{JwkSet, Purpose},
    key_sets::KeySets,
    token::UnverifiedAssertion,
};
use crate::domain::{RuleKeys, TrustRule};

/// Largest number of parsed key sets of rules that are kept.
const MAX_RULE_SETS: u64 = 1024;

/// Signature of one token, by the keys of several rules: verified once for each key set.
#[derive(Debug)]
pub(super) struct CheckedKeys<'r> {
    signatures: &'r Signatures,
    token: &'r UnverifiedAssertion<'r>,
    checked: Vec<(&'r RuleKeys, Result<(), AttestationError>)>,
}

impl<'r> CheckedKeys<'r> {
    pub(super) fn new(signatures: &'r Signatures, token: &'r UnverifiedAssertion<'r>) -> Self {
        Self { signatures, token, checked: Vec::new() }
    }

    /// Verifies the signature by the keys of a rule. Returns `None` if these are still being fetched at the deadline.
    pub(super) async fn by(
        &mut self,
        rule: &'r TrustRule,
        deadline: Option<Instant>,
    ) -> Option<Result<(), AttestationError>> {
        if let Some((_, verified)) = self.checked.iter().find(|(keys, _)| **keys == rule.keys) {
            return Some(*verified);
        }
        let verify = self.signatures.verify(&rule.keys, rule.kind, self.token);
        let verified = match deadline {
            Some(deadline) => timeout_at(deadline, verify).await.ok()?,
            None => verify.await,
        };
        self.checked.push((&rule.keys, verified));
        // An issuer may have many rules with keys of their own: other requests have their turns between.
        yield_now().await;
        Some(verified)
    }
}

/// Verifies signatures. Clones share the key sets in memory.
#[derive(Clone, Debug)]
pub(super) struct Signatures {
    pub(super) key_sets: KeySets,
    /// Parsed key sets of rules with `jwks`, by their text.
    rule_sets: Cache<String, Option<Arc<JwkSet>>>,
}

impl Signatures {
    pub(super) fn new(key_sets: KeySets) -> Self {
        Self { key_sets, rule_sets: Cache::new(MAX_RULE_SETS) }
    }

    /// Verifies the signature of a token by the keys of a rule of this kind.
    pub(super) async fn verify(
        &self,
        keys: &RuleKeys,
        kind: AttestationKind,
        token: &UnverifiedAssertion<'_>,
    ) -> Result<(), AttestationError> {
        let header = token.header();
        let key_id = header.kid.as_deref();
        let set = match keys {
            RuleKeys::Url(url) => {
                let url = KeySetUrl::parse(url).map_err(|error| {
                    tracing::warn!(component = "attestation", url, %error, "the jwks_url of a trust rule cannot be used");
                    AttestationError::KeySetUnavailable
                })?;
                self.key_sets.get(&url, key_id).await.map_err(|_| AttestationError::KeySetUnavailable)?
            }
            RuleKeys::Set(text) => {
                let parse = async { JwkSet::parse(text.as_str().as_bytes()).ok().map(Arc::new) };
                let set = self.rule_sets.get_with_by_ref(text.as_str(), parse).await;
                set.ok_or(AttestationError::UnknownKey)?
            }
        };
        set.choose(key_id, header.algorithm, Purpose::of(kind))?.verify(token.signed().as_bytes(), token.signature())
    }
}

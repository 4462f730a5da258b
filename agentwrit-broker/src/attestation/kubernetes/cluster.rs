//! The broker's own cluster, told from others by its keys.
//!
//! Clusters may have one issuer: `https://kubernetes.default.svc.cluster.local` is the default of most installers. Their keys
//! differ. A trust rule is of this cluster if its issuer is that of the broker's own token and its keys verify that token; the
//! token's times do not matter for that.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::AttestationKind;

use super::api::KubernetesApi;
use crate::{
    attestation::{error::AttestationError, signatures::Signatures, token::UnverifiedAssertion},
    domain::{TrustRule, TrustRuleId},
};

/// Largest number of rules that are kept as rules of this cluster; afterwards they are proven anew.
const MAX_PROVEN: usize = 4096;

/// Cluster of the broker's service account.
#[derive(Clone, Debug)]
pub(in crate::attestation) struct OwnCluster {
    pub(super) api: KubernetesApi,
    signatures: Signatures,
    /// Rules of this cluster: a rule never changes, so a later failure, or a rotation of the cluster's keys, does not matter.
    proven: Arc<Mutex<HashSet<TrustRuleId>>>,
}

/// Cluster of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::attestation) enum Membership {
    Own,
    Other,
    /// The broker's own token can't be read, or the rule's keys can't be had.
    Unknown,
}

impl OwnCluster {
    pub(in crate::attestation) fn new(api: KubernetesApi, signatures: Signatures) -> Self {
        Self { api, signatures, proven: Arc::default() }
    }

    /// Returns whose rule it is.
    pub(in crate::attestation) async fn membership(&self, rule: &TrustRule) -> Membership {
        if self.proven().contains(&rule.id) {
            return Membership::Own;
        }
        let Ok(own) = self.api.token().await.inspect_err(|error| not_known(error)) else { return Membership::Unknown };
        let own = UnverifiedAssertion::parse(&own)
            .and_then(|own| Ok((own.issuer(AttestationKind::Kubernetes)?, own)))
            .inspect_err(|error| not_known(error));
        let Ok((issuer, own)) = own else { return Membership::Unknown };
        if rule.kind != AttestationKind::Kubernetes || rule.issuer != issuer {
            return Membership::Other;
        }
        match self.signatures.verify(&rule.keys, rule.kind, &own).await {
            Ok(()) => {
                let mut proven = self.proven();
                if proven.len() >= MAX_PROVEN {
                    proven.clear();
                }
                proven.insert(rule.id.clone());
                Membership::Own
            }
            Err(AttestationError::KeySetUnavailable) => {
                not_known(&AttestationError::KeySetUnavailable);
                Membership::Unknown
            }
            // Another cluster with the same issuer.
            Err(_) => Membership::Other,
        }
    }

    /// Returns those of some rules that are of this cluster; those are left out of which that is not known.
    pub(super) async fn rules(&self, rules: &[TrustRule]) -> HashSet<TrustRuleId> {
        let mut of_cluster = HashSet::new();
        for rule in rules {
            if self.membership(rule).await == Membership::Own {
                of_cluster.insert(rule.id.clone());
            }
        }
        of_cluster
    }

    fn proven(&self) -> std::sync::MutexGuard<'_, HashSet<TrustRuleId>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_known(error: &dyn std::fmt::Display) {
    tracing::warn!(
        component = "attestation", %error,
        "trust rules of this cluster are not known by the token of AA_KUBERNETES_TOKEN_PATH: only pods whose deletion is seen are revoked"
    );
}

//! The broker's own cluster, told from others by its keys.
//!
//! Clusters may have one issuer: `https://kubernetes.default.svc.cluster.local` is the default of most installers. Their keys
//! differ. A trust rule is of this cluster if its issuer is that of the broker's own token and its keys verify that token; the
//! token's times do not matter for that.

use std::collections::HashSet;

use agentwrit_protocol::AttestationKind;

use super::api::KubernetesApi;
use crate::{
    attestation::{error::AttestationError, signatures::Signatures, token::UnverifiedAssertion},
    domain::{TrustRule, TrustRuleId},
};

/// Cluster of the broker's service account.
#[derive(Clone, Debug)]
pub(in crate::attestation) struct OwnCluster {
    pub(super) api: KubernetesApi,
    signatures: Signatures,
}

impl OwnCluster {
    pub(in crate::attestation) fn new(api: KubernetesApi, signatures: Signatures) -> Self {
        Self { api, signatures }
    }

    /// Returns whether a rule is of this cluster.
    pub(in crate::attestation) async fn has(&self, rule: &TrustRule) -> bool {
        self.rules(std::slice::from_ref(rule)).await.contains(&rule.id)
    }

    /// Returns those of some rules that are of this cluster; none while that is not known.
    pub(super) async fn rules(&self, rules: &[TrustRule]) -> HashSet<TrustRuleId> {
        let mut of_cluster = HashSet::new();
        let Ok(own) = self.api.token().await.inspect_err(|error| not_known(error)) else { return of_cluster };
        let own = UnverifiedAssertion::parse(&own)
            .and_then(|own| Ok((own.issuer(AttestationKind::Kubernetes)?, own)))
            .inspect_err(|error| not_known(error));
        let Ok((issuer, own)) = own else { return of_cluster };
        for rule in rules.iter().filter(|rule| rule.kind == AttestationKind::Kubernetes && rule.issuer == issuer) {
            match self.signatures.verify(&rule.keys, rule.kind, &own).await {
                Ok(()) => drop(of_cluster.insert(rule.id.clone())),
                Err(AttestationError::KeySetUnavailable) => not_known(&AttestationError::KeySetUnavailable),
                // Another cluster with the same issuer.
                Err(_) => {}
            }
        }
        of_cluster
    }
}

fn not_known(error: &dyn std::fmt::Display) {
    tracing::warn!(
        component = "attestation", %error,
        "trust rules of this cluster are not known by the token of AA_KUBERNETES_TOKEN_PATH: only pods whose deletion is seen are revoked"
    );
}

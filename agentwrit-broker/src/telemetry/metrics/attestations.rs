//! Metrics of attestations by other issuers.

use std::sync::atomic::AtomicU64;

use agentwrit_protocol::AttestationKind;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Status, labels::Label};

/// Metrics of attestations by other issuers.
#[derive(Default)]
pub(crate) struct AttestationMetrics {
    accepted: Family<Label, Counter>,
    rejected: Family<Label, Counter>,
    key_set_fetches: Family<Label, Counter>,
    watching: Gauge<u64, AtomicU64>,
    pod_agents_revoked: Counter,
}

impl AttestationMetrics {
    /// Creates the counters of these reasons at zero.
    pub(crate) fn know_reasons(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.rejected.get_or_create(&Label::fixed("reason", reason)));
        }
    }

    /// Counts an attestation that registered an agent.
    pub(crate) fn accepted(&self, kind: AttestationKind) {
        self.accepted.get_or_create(&Label::fixed("kind", kind.as_str())).inc();
    }

    /// Counts a rejected attestation, by its reason.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Label::fixed("reason", reason)).inc();
    }

    /// Counts a request for the key set of an issuer.
    pub(crate) fn key_set_fetched(&self, successfully: bool) {
        let status = if successfully { Status::Success } else { Status::Failure };
        self.key_set_fetches.get_or_create(&status.label()).inc();
    }

    /// Sets whether the deletion of pods is followed.
    pub(crate) fn set_watching(&self, watching: bool) {
        self.watching.set(u64::from(watching));
    }

    /// Counts agents that were revoked because their pod was deleted.
    pub(crate) fn agents_of_pod_revoked(&self, agents: u64) {
        self.pod_agents_revoked.inc_by(agents);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        for kind in AttestationKind::ALL {
            drop(self.accepted.get_or_create(&Label::fixed("kind", kind.as_str())));
        }
        for status in [Status::Success, Status::Failure] {
            drop(self.key_set_fetches.get_or_create(&status.label()));
        }
        registry.register("attestations", "Attestations that registered an agent, by kind", self.accepted.clone());
        let help = "Attestations that were rejected, by reason";
        registry.register("attestations_rejected", help, self.rejected.clone());
        let help = "Requests for key sets of other issuers, by outcome";
        registry.register("key_set_fetches", help, self.key_set_fetches.clone());
        registry.register("pod_watch", "1 while the deletion of pods is followed", self.watching.clone());
        let help = "Agents that were revoked because their pod was deleted";
        registry.register("deleted_pods_agents_revoked", help, self.pod_agents_revoked.clone());
    }
}

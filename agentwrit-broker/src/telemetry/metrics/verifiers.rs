//! Metrics of verifiers and their reports.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::labels::{BoundedLabel, Label};

/// Number of verifiers with labels of their own; the others count as `other`.
const MAX_NAMES: usize = 64;

/// Metrics of verifiers and their reports.
pub(crate) struct VerifierMetrics {
    reports: Counter,
    rejected: Family<Label, Counter>,
    enrolled: Gauge<u64, AtomicU64>,
    instances: Family<Label, Gauge<u64, AtomicU64>>,
    lag: Family<Label, Gauge<u64, AtomicU64>>,
    names: BoundedLabel,
}

impl Default for VerifierMetrics {
    fn default() -> Self {
        Self {
            reports: Counter::default(),
            rejected: Family::default(),
            enrolled: Gauge::default(),
            instances: Family::default(),
            lag: Family::default(),
            names: BoundedLabel::new("verifier", MAX_NAMES, "other"),
        }
    }
}

impl VerifierMetrics {
    /// Counts an accepted report.
    pub(crate) fn accepted(&self) {
        self.reports.inc();
    }

    /// Counts a rejected report, by the kind of reason.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Label::fixed("reason", reason)).inc();
    }

    /// Sets, for each verifier, the number of its instances that may accept tokens and the number of cursors that the
    /// slowest of them is behind the log.
    pub(crate) fn set_fleet<'v>(&self, verifiers: impl Iterator<Item = (&'v str, u64, u64)>) {
        self.instances.clear();
        self.lag.clear();
        let mut enrolled = 0;
        for (name, instances, lag) in verifiers {
            enrolled += 1;
            let label = self.names.label(name);
            self.instances.get_or_create(&label).inc_by(instances);
            let slowest = self.lag.get_or_create(&label);
            slowest.set(slowest.get().max(lag));
        }
        self.enrolled.set(enrolled);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("verifier_reports", "Reports of verifiers that were accepted", self.reports.clone());
        let help = "Reports of verifiers that were rejected, by reason";
        registry.register("verifier_reports_rejected", help, self.rejected.clone());
        registry.register("verifiers", "Enrolled verifiers", self.enrolled.clone());
        let help = "Instances that may accept tokens, by verifier";
        registry.register("verifier_instances", help, self.instances.clone());
        let help = "Cursors of the revocation log that the slowest instance does not apply yet, by verifier";
        registry.register("verifier_lag", help, self.lag.clone());
    }
}

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
    unbounded: Family<Label, Gauge<u64, AtomicU64>>,
    lag: Family<Label, Gauge<u64, AtomicU64>>,
    evidence: Gauge<u64, AtomicU64>,
    names: BoundedLabel,
}

/// Figures of one verifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VerifierFigures {
    /// Number of instances that may accept tokens.
    pub(crate) instances: u64,
    /// Number of these that have no bound.
    pub(crate) unbounded: u64,
    /// Number of cursors that the slowest of them is behind the log.
    pub(crate) lag: u64,
}

impl Default for VerifierMetrics {
    fn default() -> Self {
        Self {
            reports: Counter::default(),
            rejected: Family::default(),
            enrolled: Gauge::default(),
            instances: Family::default(),
            unbounded: Family::default(),
            lag: Family::default(),
            evidence: Gauge::default(),
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

    /// Sets the size of the evidence of confirmations that the store keeps, in bytes.
    pub(crate) fn set_evidence_size(&self, bytes: u64) {
        self.evidence.set(bytes);
    }

    /// Sets the figures of each verifier.
    pub(crate) fn set_fleet<'v>(&self, verifiers: impl Iterator<Item = (&'v str, VerifierFigures)>) {
        self.instances.clear();
        self.unbounded.clear();
        self.lag.clear();
        let mut enrolled = 0;
        for (name, figures) in verifiers {
            enrolled += 1;
            let label = self.names.label(name);
            self.instances.get_or_create(&label).inc_by(figures.instances);
            self.unbounded.get_or_create(&label).inc_by(figures.unbounded);
            let slowest = self.lag.get_or_create(&label);
            slowest.set(slowest.get().max(figures.lag));
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
        let help = "Instances without a bound, which no confirmation counts as fenced, by verifier";
        registry.register("verifier_unbounded_instances", help, self.unbounded.clone());
        let help = "Cursors of the revocation log that the slowest instance does not apply yet, by verifier";
        registry.register("verifier_lag", help, self.lag.clone());
        let help = "Evidence of confirmations that the store keeps; at 67108864 bytes the oldest is removed";
        registry.register("confirmation_evidence_bytes", help, self.evidence.clone());
    }
}

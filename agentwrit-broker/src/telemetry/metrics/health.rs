//! Metric of the warnings in the health document.

use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::labels::Label;

/// Warnings that have a series from the start on.
const KNOWN: [&str; 5] = [
    "clock_behind_records",
    "deletion_held",
    "signing_key_unusable",
    "signing_key_not_saved",
    "state_file_not_written",
];

/// Gauge of each warning: 1 while it is in the health document.
#[derive(Default)]
pub(super) struct WarningGauges {
    warnings: Family<Label, Gauge<u64, AtomicU64>>,
    /// The warnings that were set last.
    latest: Mutex<Vec<&'static str>>,
}

impl WarningGauges {
    pub(super) fn set(&self, warnings: Vec<&'static str>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        for ended in KNOWN.iter().chain(latest.iter()).filter(|warning| !warnings.contains(*warning)) {
            self.warnings.get_or_create(&Label::fixed("warning", ended)).set(0);
        }
        for warning in &warnings {
            self.warnings.get_or_create(&Label::fixed("warning", warning)).set(1);
        }
        *latest = warnings;
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "1 for each warning in the health document";
        registry.register("health_warning", help, self.warnings.clone());
    }
}

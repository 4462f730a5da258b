//! Metrics of the signing keys.

use std::{sync::atomic::AtomicU64, time::Duration};

use agentwrit_protocol::KeyState;
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::labels::Label;

/// Gauges of the signing keys. All brokers of a database set the same values.
#[derive(Default)]
pub(super) struct KeyGauges {
    keys: Family<Label, Gauge<u64, AtomicU64>>,
    age: Gauge<u64, AtomicU64>,
    overdue: Gauge<u64, AtomicU64>,
    blocked: Gauge<u64, AtomicU64>,
}

/// State of the signing keys for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyFigures {
    /// Number of keys in each state.
    pub(crate) keys: Vec<(KeyState, u64)>,
    /// Time for which the active key has signed.
    pub(crate) age: Duration,
    /// Time since which a rotation should have activated its key.
    pub(crate) overdue: Duration,
    /// Number of verifier instances that lack the key of a rotation that is due.
    pub(crate) blocked: u64,
}

impl KeyGauges {
    pub(super) fn set(&self, figures: &KeyFigures) {
        for (state, count) in &figures.keys {
            self.keys.get_or_create(&Label::fixed("state", state.as_str())).set(*count);
        }
        self.age.set(figures.age.as_secs());
        self.overdue.set(figures.overdue.as_secs());
        self.blocked.set(figures.blocked);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("signing_keys", "Signing keys, by state", self.keys.clone());
        let help = "Time for which the active signing key has signed";
        registry.register("signing_key_age_seconds", help, self.age.clone());
        let help = "Time since which a rotation should have activated its key";
        registry.register("key_rotation_overdue_seconds", help, self.overdue.clone());
        let help = "Instances of verifiers that lack the key of a rotation that is due";
        registry.register("key_rotation_blocked", help, self.blocked.clone());
    }
}

//! Counts of the events in all runs.

/// Counts over all runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Witness {
    pub(super) accepted: u64,
    pub(super) accepted_while_pending: u64,
    pub(super) confirmed: u64,
    pub(super) with_fenced: u64,
    pub(super) unbounded: u64,
    pub(super) rotations: u64,
    pub(super) withdrawals: u64,
    pub(super) broker_restarts: u64,
    /// Instances that ended, with a report or without.
    pub(super) drops: u64,
}

impl Witness {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            accepted_while_pending: self.accepted_while_pending + other.accepted_while_pending,
            confirmed: self.confirmed + other.confirmed,
            with_fenced: self.with_fenced + other.with_fenced,
            unbounded: self.unbounded + other.unbounded,
            rotations: self.rotations + other.rotations,
            withdrawals: self.withdrawals + other.withdrawals,
            broker_restarts: self.broker_restarts + other.broker_restarts,
            drops: self.drops + other.drops,
        }
    }
}

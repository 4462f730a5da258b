//! Tables that a migration between stores copies: every store has them, with the columns in which it writes new rows.

use super::pending::{
    AgentRow, AppRow, AssertionRow, AuditRun, DelegatorRow, EnrolmentRow, EventRow, InstanceRow,
    Kind::{self, Bytes, Integer, Text},
    LaunchTokenRow, NameRow, NonceRow, Record, TokenRow, TrustRuleRow,
};
use crate::{audit::ChainHead, store::revocations::RevocationRow};

/// A table to copy.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Columns of a new row.
    columns: &'static [(&'static str, Kind)],
    /// Columns that are set later.
    set_later: &'static [(&'static str, Kind)],
    /// Columns to order by: rows are copied in the order in which they were inserted, where that is known.
    pub(super) order: &'static str,
}

impl Table {
    const fn of<R: Record>(order: &'static str) -> Self {
        Self { name: R::WRITE.table, columns: R::WRITE.columns, set_later: &[], order }
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, Kind)> {
        self.columns.iter().chain(self.set_later).copied()
    }

    /// Returns the names of the columns, separated by commas.
    pub(super) fn column_list(&self) -> String {
        self.columns().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }
}

/// Values that a store keeps outside of the copied tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreHead {
    pub(super) epoch: String,
    /// Last event, and its time in microseconds.
    pub(super) trail: ChainHead,
    pub(super) trail_at: i64,
    /// End of the revocation log.
    pub(super) cursor: i64,
    /// Cursor of the latest change of the keys.
    pub(super) keys_cursor: i64,
    pub(super) last_name: i64,
    pub(super) last_launch: i64,
    pub(super) certain_time: Option<i64>,
    pub(super) nonces_forgotten_until: i64,
}

/// Tables in an order in which each refers to earlier ones only.
pub(super) const TABLES: &[Table] = &[
    Table::of::<NameRow>("id"),
    Table::of::<AppRow>("id"),
    Table::of::<LaunchTokenRow>("seq"),
    Table::of::<TrustRuleRow>("created_at"),
    Table::of::<AssertionRow>("expires_at, assertion"),
    Table::of::<AgentRow>("id"),
    Table { set_later: &[("ended_at", Integer)], ..Table::of::<TokenRow>("jti") },
    Table::of::<DelegatorRow>("jti, hop"),
    Table::of::<NonceRow>("expires_at, nonce"),
    Table::of::<RevocationRow>("cursor"),
    Table::of::<EnrolmentRow>("added_at"),
    Table::of::<InstanceRow>("verifier, instance"),
    Table {
        name: "confirmed_cursors",
        columns: &[("epoch", Text), ("cursor", Integer), ("confirmed_at", Integer)],
        set_later: &[],
        order: "epoch, cursor",
    },
    Table {
        name: "confirmation_evidence",
        columns: &[("epoch", Text), ("cursor", Integer), ("decided_at", Integer), ("document", Bytes)],
        set_later: &[],
        order: "epoch, cursor",
    },
    Table::of::<EventRow>("seq"),
    Table::of::<AuditRun>("first"),
];

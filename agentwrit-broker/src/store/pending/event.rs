//! Rows of the audit trail and of the revocation log.

use super::{
    super::{codec::signed, revocations::RevocationRow, value::Value},
    record::{
        Kind::{Boolean, Bytes, Integer, Text},
        Record,
        Verb::Insert,
        Write,
    },
};
use crate::audit::{Event, Timestamp};

/// An event with everything that the store keeps of it.
#[derive(Debug)]
pub(in crate::store) struct EventRow {
    pub(in crate::store) event: Event,
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) kind: i64,
    pub(in crate::store) agent: Option<i64>,
    pub(in crate::store) task: Option<i64>,
    pub(in crate::store) app: Option<i64>,
    /// Number of the event among those of its kind in each of its lists.
    pub(in crate::store) ordinals: Ordinals,
}

/// Number of an event among those of its kind in each of its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Ordinals {
    pub(in crate::store) all: u64,
    pub(in crate::store) agent: Option<u64>,
    pub(in crate::store) task: Option<u64>,
    pub(in crate::store) app: Option<u64>,
    pub(in crate::store) agent_task: Option<u64>,
    pub(in crate::store) task_app: Option<u64>,
}

impl Record for EventRow {
    const WRITE: Write = Write {
        verb: Insert,
        table: "audit_events",
        columns: &[
            ("seq", Integer),
            ("at", Integer),
            ("kind", Integer),
            ("agent", Integer),
            ("task", Integer),
            ("app", Integer),
            ("n_all", Integer),
            ("n_agent", Integer),
            ("n_task", Integer),
            ("n_app", Integer),
            ("n_agent_task", Integer),
            ("n_task_app", Integer),
            ("orch", Text),
            ("detail", Text),
            ("resource", Text),
            ("deleg_depth", Integer),
            ("deleg_chain_hash", Text),
            ("bytes", Integer),
            ("hash", Bytes),
            ("prev_hash", Bytes),
        ],
    };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self { event, ordinals, .. } = self;
        values.extend([
            signed(event.id.sequence()).into(),
            self.at.0.into(),
            self.kind.into(),
            self.agent.into(),
            self.task.into(),
            self.app.into(),
            signed(ordinals.all).into(),
            ordinals.agent.map(signed).into(),
            ordinals.task.map(signed).into(),
            ordinals.app.map(signed).into(),
            ordinals.agent_task.map(signed).into(),
            ordinals.task_app.map(signed).into(),
            event.orch_id.as_deref().into(),
            (&event.detail).into(),
            event.resource.as_deref().into(),
            event.deleg_depth.map(i64::from).into(),
            event.deleg_chain_hash.as_deref().into(),
            event.bytes_transferred.map(signed).into(),
            event.hash.as_bytes().into(),
            event.prev_hash.as_bytes().into(),
        ]);
    }
}

/// The first event of a run.
#[derive(Debug)]
pub(in crate::store) struct AuditRun(pub(in crate::store) u64);

impl Record for AuditRun {
    const WRITE: Write = Write { verb: Insert, table: "audit_runs", columns: &[("first", Integer)] };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.push(signed(self.0).into());
    }
}

impl Record for RevocationRow {
    const WRITE: Write = Write {
        verb: Insert,
        table: "revocations",
        columns: &[
            ("cursor", Integer),
            ("level", Text),
            ("target", Text),
            ("revoked_at", Integer),
            ("expires_at", Integer),
            ("revoked_by", Text),
            ("reason", Text),
            ("listed", Boolean),
        ],
    };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self { cursor, revocation } = self;
        values.extend([
            signed(*cursor).into(),
            revocation.level.as_str().into(),
            (&revocation.target).into(),
            revocation.revoked_at.into(),
            revocation.expires_at.into(),
            revocation.revoked_by.to_string().into(),
            revocation.reason.as_deref().into(),
            revocation.listed.into(),
        ]);
    }
}

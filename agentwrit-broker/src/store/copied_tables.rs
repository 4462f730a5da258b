//! Tables that a migration between stores copies: every store has them, with the same columns.

use crate::audit::ChainHead;

/// A table to copy.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Columns to order by: rows are copied in the order in which they were inserted, where that is known.
    pub(super) order: &'static str,
}

impl Table {
    /// Returns the names of the columns, separated by commas.
    pub(super) fn column_list(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Boolean,
    Text,
    Bytes,
}

/// Value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// Values that a store keeps outside of the copied tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreHead {
    pub(super) epoch: String,
    /// Last event, and its time in microseconds.
    pub(super) trail: ChainHead,
    pub(super) trail_at: i64,
    /// The latest revocation ever.
    pub(super) cursor: i64,
    pub(super) last_name: i64,
    pub(super) last_launch: i64,
    pub(super) certain_time: Option<i64>,
    pub(super) nonces_forgotten_until: i64,
}

use Kind::{Boolean, Bytes, Integer, Text};

/// Tables in an order in which each refers to earlier ones only.
pub(super) const TABLES: &[Table] = &[
    Table { name: "names", columns: &[("id", Integer), ("name", Text), ("app", Integer)], order: "id" },
    Table {
        name: "apps",
        columns: &[
            ("id", Integer),
            ("app_id", Text),
            ("name", Text),
            ("client_id", Text),
            ("secret_digest", Bytes),
            ("scopes", Text),
            ("token_ttl", Integer),
            ("active", Boolean),
            ("suspended", Boolean),
            ("created_at", Integer),
            ("updated_at", Integer),
            ("deregistered_at", Integer),
        ],
        order: "id",
    },
    Table {
        name: "launch_tokens",
        columns: &[
            ("seq", Integer),
            ("id", Bytes),
            ("digest", Bytes),
            ("agent_name", Text),
            ("allowed_scope", Text),
            ("max_ttl", Integer),
            ("single_use", Boolean),
            ("created_at", Integer),
            ("expires_at", Integer),
            ("created_by", Text),
            ("app_id", Text),
            ("orch_id", Text),
            ("task_id", Text),
            ("consumed_at", Integer),
            ("minted_in", Bytes),
        ],
        order: "seq",
    },
    Table {
        name: "agents",
        columns: &[
            ("id", Integer),
            ("app", Integer),
            ("scope", Text),
            ("public_key", Bytes),
            ("launch_token_id", Bytes),
            ("registered_at", Integer),
            ("expires_at", Integer),
            ("revoked_at", Integer),
        ],
        order: "id",
    },
    Table {
        name: "tokens",
        columns: &[
            ("jti", Bytes),
            ("sid", Bytes),
            ("subject", Integer),
            ("app", Integer),
            ("task", Integer),
            ("root", Integer),
            ("issued_at", Integer),
            ("expires_at", Integer),
            ("original_ttl", Integer),
            ("session_started_at", Integer),
            ("ended_at", Integer),
        ],
        order: "jti",
    },
    Table {
        name: "token_delegators",
        columns: &[("jti", Bytes), ("hop", Integer), ("agent", Integer), ("sid", Bytes)],
        order: "jti, hop",
    },
    Table { name: "spent_nonces", columns: &[("nonce", Bytes), ("expires_at", Integer)], order: "expires_at, nonce" },
    Table {
        name: "revocations",
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
        order: "cursor",
    },
    Table {
        name: "audit_events",
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
        order: "seq",
    },
    Table { name: "audit_runs", columns: &[("first", Integer)], order: "first" },
];

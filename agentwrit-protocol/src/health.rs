//! Health of the broker: `GET /v1/health`.

use serde::{Deserialize, Serialize};

/// Response of `GET /v1/health`, with status 200 or 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct HealthResponse {
    /// `ok`, or what is wrong.
    pub status: String,
    /// Version of the broker.
    pub version: String,
    /// Seconds since its start.
    pub uptime: u64,
    /// True when its store can be written.
    pub db_connected: bool,
    /// Number of events in its audit trail.
    pub audit_events_count: u64,
    /// Findings that the operator should look at although the broker serves: `clock_behind_records`, `deletion_held`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl HealthResponse {
    /// Status of a broker that can serve.
    pub const OK: &str = "ok";
    /// Status of a broker whose store cannot be written.
    pub const UNAVAILABLE: &str = "unavailable";

    /// Returns whether the broker can serve.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == Self::OK && self.db_connected
    }
}

//! Health of the broker: `GET /v1/health`.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};

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
    /// Findings that the operator should look at although the broker serves: `clock_behind_records`, `deletion_held`,
    /// `signing_key_unusable`, `signing_key_not_saved`, `state_file_not_written`.
    /// A reader keeps the first 64.
    #[serde(default, deserialize_with = "first_warnings", skip_serializing_if = "Vec::is_empty")]
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

/// Largest number of warnings that are kept: an empty text takes eight times its length.
const MAX_WARNINGS: usize = 64;

pub(crate) fn first_warnings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct WarningsVisitor;

    impl<'de> Visitor<'de> for WarningsVisitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut warnings = Vec::new();
            while warnings.len() < MAX_WARNINGS {
                let Some(warning) = list.next_element()? else { return Ok(warnings) };
                warnings.push(warning);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(warnings)
        }
    }

    deserializer.deserialize_seq(WarningsVisitor)
}

//! Queries of the audit trail: `GET /v1/audit/events` and `GET /v1/app/audit/events`.

use agentwrit_verify::{PathSegment, SubjectFilter, UnixTime};

use crate::{EventId, EventType, Outcome, Page};

/// Filter of the audit trail, and the part to list: by default everything, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AuditQuery {
    /// Acting subject. A SPIFFE id that names none of the broker's matches nothing.
    pub agent_id: Option<SubjectFilter>,
    /// Task of the event.
    pub task_id: Option<PathSegment>,
    /// Type of the event.
    pub event_type: Option<EventType>,
    /// Outcome of the event.
    pub outcome: Option<Outcome>,
    /// Earliest time of the event.
    pub since: Option<UnixTime>,
    /// Latest time of the event.
    pub until: Option<UnixTime>,
    /// Part of the events that match.
    pub page: Page,
}

impl AuditQuery {
    /// Names of the query parameters.
    pub const PARAMETERS: [&str; 9] =
        ["agent_id", "task_id", "event_type", "outcome", "since", "until", "limit", "offset", "cursor"];

    /// Restricts the query to events that were recorded after `event`.
    #[must_use]
    pub fn after(mut self, event: EventId) -> Self {
        self.page.cursor = Some(event.sequence().to_string());
        self
    }

    /// Returns the query parameters that are set.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let filter = [
            ("agent_id", self.agent_id.as_ref().map(ToString::to_string)),
            ("task_id", self.task_id.as_ref().map(ToString::to_string)),
            ("event_type", self.event_type.map(|event_type| event_type.as_str().to_owned())),
            ("outcome", self.outcome.map(|outcome| outcome.as_str().to_owned())),
            ("since", self.since.map(to_the_microsecond)),
            ("until", self.until.map(to_the_microsecond)),
        ];
        let filter = filter.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        filter.chain(self.page.parameters()).collect()
    }
}

/// RFC 3339 with the fraction of a second, if there is one: the trail records microseconds.
fn to_the_microsecond(time: UnixTime) -> String {
    let (whole, micros) = (time.to_rfc3339(), time.elapsed_since_epoch().subsec_micros());
    match (whole.strip_suffix('Z'), micros) {
        (None, _) | (_, 0) => whole,
        (Some(seconds), micros) => format!("{seconds}.{micros:06}Z"),
    }
}

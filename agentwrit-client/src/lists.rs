//! What the broker lists: launch tokens, revocations, an app's agents, and the audit trail.
//!
//! Lists come in pages. [`Listing::next_cursor`] is where the next one starts; it stays right while the list grows.

use agentwrit_verify::{
    AgentId, AppId, Level, PathSegment, ScopeSet, Subject, SubjectFilter, UnixTime,
    audit::{Event, EventId, EventType, Outcome},
};
use form_urlencoded::Serializer as Query;
use serde::{Deserialize, Serialize};

use crate::{admin::Admin, app::App, call::Call, error::ClientError};

/// Which part of a list: by default its first 100 entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most this many entries, 1 to 1000. Default: 100.
    pub limit: Option<u64>,
    /// Leave out this many, counted from the cursor.
    pub offset: Option<u64>,
    /// Start after this place: the [`Listing::next_cursor`] of the page before.
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listing<T> {
    /// The entries.
    #[serde(alias = "launch_tokens", alias = "revocations", alias = "agents", alias = "events")]
    pub entries: Vec<T>,
    /// How many entries the whole list has.
    pub total: u64,
    /// Where the next page starts; absent when nothing follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which events of the audit trail: all of them by default, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Acted by this subject. A SPIFFE id that names none of the broker's matches nothing.
    pub agent_id: Option<SubjectFilter>,
    /// Belonging to this task.
    pub task_id: Option<PathSegment>,
    /// About this.
    pub event_type: Option<EventType>,
    /// Ended like this.
    pub outcome: Option<Outcome>,
    /// Recorded at this time or later.
    pub since: Option<UnixTime>,
    /// Recorded at this time or earlier.
    pub until: Option<UnixTime>,
    /// Which part of what is found.
    pub page: Page,
}

impl AuditQuery {
    /// The same query, for what was recorded after `event`.
    #[must_use]
    pub fn after(mut self, event: EventId) -> Self {
        self.page.cursor = Some(event.sequence().to_string());
        self
    }

    fn path(&self, path: &str) -> String {
        let mut query = Query::new(String::new());
        let mut member = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        };
        member("agent_id", self.agent_id.as_ref().map(ToString::to_string));
        member("task_id", self.task_id.as_ref().map(ToString::to_string));
        member("event_type", self.event_type.map(|event_type| event_type.as_str().to_owned()));
        member("outcome", self.outcome.map(|outcome| outcome.as_str().to_owned()));
        member("since", self.since.map(to_the_microsecond));
        member("until", self.until.map(to_the_microsecond));
        self.page.append_to(&mut query);
        with_query(path, &query.finish())
    }
}

impl Page {
    fn append_to(&self, query: &mut Query<'_, String>) {
        for (name, number) in [("limit", self.limit), ("offset", self.offset)] {
            if let Some(number) = number {
                query.append_pair(name, &number.to_string());
            }
        }
        if let Some(cursor) = &self.cursor {
            query.append_pair("cursor", cursor);
        }
    }

    fn path(&self, path: &str) -> String {
        let mut query = Query::new(String::new());
        self.append_to(&mut query);
        with_query(path, &query.finish())
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

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// A launch token as the broker lists it: its name and policy, not itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaunchTokenRecord {
    /// Its name.
    pub launch_token_id: String,
    /// The label of the agent that it is for.
    pub agent_name: String,
    /// What a registration may ask for.
    pub allowed_scope: ScopeSet,
    /// Seconds that the agent's tokens will live.
    pub max_ttl: u64,
    /// Whether it registers one agent only.
    pub single_use: bool,
    /// When it was issued.
    pub created_at: UnixTime,
    /// When it stops to be usable.
    pub expires_at: UnixTime,
    /// Who asked for it.
    pub created_by: Subject,
    /// The app that it belongs to; none for an operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// The orchestration that a registration must name, if it is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<PathSegment>,
    /// The task that a registration must name, if it is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<PathSegment>,
    /// When it was used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_at: Option<UnixTime>,
}

/// A revocation that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RevocationRecord {
    /// What kind of target.
    pub level: Level,
    /// A jti, a subject, a task id or a root delegator's SPIFFE id.
    pub target: String,
    /// When it was revoked.
    pub revoked_at: UnixTime,
    /// When every token that it could affect will have expired.
    pub expires_at: UnixTime,
    /// Who revoked.
    pub revoked_by: String,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One of an app's agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentRecord {
    /// Its SPIFFE id.
    pub agent_id: AgentId,
    /// Its orchestration.
    pub orch_id: PathSegment,
    /// Its task.
    pub task_id: PathSegment,
    /// What it was permitted at its registration.
    pub scope: ScopeSet,
    /// When it registered.
    pub registered_at: UnixTime,
    /// When its latest token expires.
    pub expires_at: UnixTime,
    /// `active`, `expired` or `revoked`.
    pub status: String,
}

impl Admin {
    /// Launch tokens that can still be used, and those used up that have not been forgotten yet.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn launch_tokens(&self, page: &Page) -> Result<Listing<LaunchTokenRecord>, ClientError> {
        self.session().fetch(&Call::get(page.path("/v1/admin/launch-tokens"))).await
    }

    /// Deletes a launch token by its id: nobody registers with it any more. Agents that did keep their tokens.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it can't be an id; [`ClientError::Refused`] with `not_found` when there is none
    /// of that id, also when an earlier attempt whose answer got lost had deleted it; any error of the network.
    pub async fn delete_launch_token(&self, id: &str) -> Result<(), ClientError> {
        // It becomes a segment of the path, and must not become more.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(ClientError::invalid("launch token id", "letters, digits and `-` only"));
        }
        self.session().send(&Call::delete(format!("/v1/admin/launch-tokens/{id}"))).await
    }

    /// The revocations in force.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn revocations(&self, page: &Page) -> Result<Listing<RevocationRecord>, ClientError> {
        self.session().fetch(&Call::get(page.path("/v1/admin/revocations"))).await
    }

    /// Events of the audit trail. They are linked by hash: [`agentwrit_verify::audit`] checks that.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn audit_events(&self, query: &AuditQuery) -> Result<Listing<Event>, ClientError> {
        self.session().fetch(&Call::get(query.path("/v1/audit/events"))).await
    }
}

impl App {
    /// The app's agents.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn agents(&self, page: &Page) -> Result<Listing<AgentRecord>, ClientError> {
        self.session().fetch(&Call::get(page.path("/v1/app/agents"))).await
    }

    /// Events of the audit trail that concern the app and its agents.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn audit_events(&self, query: &AuditQuery) -> Result<Listing<Event>, ClientError> {
        self.session().fetch(&Call::get(query.path("/v1/app/audit/events"))).await
    }
}

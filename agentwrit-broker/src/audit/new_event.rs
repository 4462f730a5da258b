//! An event that is not linked into the chain yet.

use std::{
    borrow::Cow,
    fmt::{Display, Write},
    net::IpAddr,
};

use agentwrit_verify::{
    AgentId, AppId, PathSegment, Subject, UnixTime,
    audit::{ChainHead, Event, EventHash, EventId, EventType, Outcome, chain},
};

use super::{Timestamp, text};

const MAX_DETAIL: usize = 2048;
/// Length of most details, at most.
const USUAL_DETAIL: usize = 192;
const MAX_RESOURCE: usize = 1024;
const MAX_WORD: usize = 512;

/// An event to be recorded.
///
/// ```text
/// NewEvent::success(EventType::AgentRegistered, now, &agent_id, "agent registered")
///     .task(task_id)
///     .word("launch_token", launch_token.id)
///     .from(address)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub(crate) at: UnixTime,
    pub(crate) event_type: EventType,
    pub(crate) outcome: Outcome,
    pub(crate) subject: Option<Subject>,
    pub(crate) source: Source,
    pub(crate) task_id: Option<PathSegment>,
    pub(crate) orch_id: Option<PathSegment>,
    pub(crate) resource: Option<String>,
    pub(crate) deleg_depth: Option<u32>,
    pub(crate) deleg_chain_hash: Option<String>,
    pub(crate) bytes_transferred: Option<u64>,
    pub(crate) count: u64,
    /// Reason of a denial, of a fixed list. Denials with different ones are not folded together.
    pub(super) reason: Option<&'static str>,
    detail: String,
}

/// Subject or client that caused an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Subject of a verified credential.
    Subject(Subject),
    /// Unauthenticated client, by address.
    Address(IpAddr),
}

/// Origin of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Not recorded, because the subject identifies the origin.
    Unstated,
    /// One address.
    Address(IpAddr),
    /// One network of addresses, by its first.
    Network(IpAddr),
    /// More addresses than are kept apart.
    Many,
}

impl NewEvent {
    /// Creates an event of a successful operation.
    #[must_use]
    pub fn success(event_type: EventType, at: UnixTime, actor: impl Into<Actor>, detail: impl Into<String>) -> Self {
        Self::new(event_type, Outcome::Success, at, actor.into(), &detail.into())
    }

    /// Creates an event of a denied operation.
    #[must_use]
    pub fn denied(event_type: EventType, at: UnixTime, actor: impl Into<Actor>, detail: impl Into<String>) -> Self {
        Self::new(event_type, Outcome::Denied, at, actor.into(), &detail.into())
    }

    fn new(event_type: EventType, outcome: Outcome, at: UnixTime, actor: Actor, detail: &str) -> Self {
        let (subject, source) = match actor {
            Actor::Subject(subject) => (Some(subject), Source::Unstated),
            Actor::Address(address) => (None, Source::Address(address)),
        };
        let mut text = String::with_capacity(USUAL_DETAIL);
        text.push_str(&text::escaped(detail, MAX_DETAIL));
        Self {
            at,
            event_type,
            outcome,
            subject,
            source,
            task_id: None,
            orch_id: None,
            resource: None,
            deleg_depth: None,
            deleg_chain_hash: None,
            bytes_transferred: None,
            count: 1,
            reason: None,
            detail: text,
        }
    }

    /// Returns the type of the event.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// Sets the address that the request came from.
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.source = Source::Address(address);
        self
    }

    /// Sets the task.
    #[must_use]
    pub fn task(mut self, task_id: impl Into<Option<PathSegment>>) -> Self {
        self.task_id = task_id.into();
        self
    }

    /// Sets the orchestrator.
    #[must_use]
    pub fn orch(mut self, orch_id: impl Into<Option<PathSegment>>) -> Self {
        self.orch_id = orch_id.into();
        self
    }

    /// Sets the object of the operation.
    #[must_use]
    pub fn resource(mut self, resource: impl Display) -> Self {
        self.resource = Some(resource.to_string()).filter(|text| !text.is_empty());
        self
    }

    /// Sets the number of hops of the delegation chain, and its hash.
    #[must_use]
    pub fn delegation(mut self, depth: u32, chain_hash: impl Into<String>) -> Self {
        self.deleg_depth = Some(depth);
        self.deleg_chain_hash = Some(chain_hash.into()).filter(|text| !text.is_empty());
        self
    }

    /// Sets the number of bytes that a resource server sent.
    #[must_use]
    pub fn bytes_transferred(mut self, bytes: u64) -> Self {
        self.bytes_transferred = Some(bytes);
        self
    }

    /// Adds ` key=value` to the detail. The value is quoted unless it is plain, so it may come from any client.
    #[must_use]
    pub fn word(mut self, key: &'static str, value: impl Display) -> Self {
        self.push(format_args!(" {key}="));
        let start = self.detail.len();
        self.push(format_args!("{value}"));
        let written = self.detail.get(start..).map(|written| text::quoted(written, MAX_WORD));
        if let Some(Cow::Owned(quoted)) = written {
            self.detail.truncate(start);
            self.detail.push_str(&quoted);
        }
        self
    }

    /// Adds the reason of a denial, of a fixed list, as `reason=`. Denials with another reason are counted apart.
    #[must_use]
    pub fn reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self.word("reason", reason)
    }

    /// Links this event to `head`.
    pub(crate) fn sealed(mut self, head: &ChainHead, at: Timestamp) -> Event {
        let mut event = Event {
            id: EventId::from_sequence(head.sequence.saturating_add(1)),
            timestamp: at.to_string(),
            event_type: self.event_type,
            detail: self.take_detail(),
            agent_id: self.subject.map(|subject| subject.to_string()),
            task_id: self.task_id.map(|task| task.to_string()),
            orch_id: self.orch_id.map(|orch| orch.to_string()),
            resource: self.resource.map(|resource| text::escaped(&resource, MAX_RESOURCE).into_owned()),
            outcome: self.outcome,
            deleg_depth: self.deleg_depth,
            deleg_chain_hash: self.deleg_chain_hash,
            bytes_transferred: self.bytes_transferred,
            hash: EventHash::ZERO,
            prev_hash: head.hash,
        };
        event.hash = chain::hash(&event);
        event
    }

    /// Returns the detail with source and count at the end.
    pub(super) fn take_detail(&mut self) -> String {
        match self.source {
            Source::Unstated => {}
            Source::Address(address) => self.push(format_args!(" from={address}")),
            Source::Network(IpAddr::V4(first)) => self.push(format_args!(" from={first}")),
            Source::Network(IpAddr::V6(first)) => self.push(format_args!(" from={first}/64")),
            Source::Many => self.push(format_args!(" from=many")),
        }
        if self.count > 1 {
            let count = self.count;
            self.push(format_args!(" count={count}"));
        }
        std::mem::take(&mut self.detail)
    }

    pub(super) fn replace_detail(&mut self, detail: &str) {
        detail.clone_into(&mut self.detail);
    }

    fn push(&mut self, words: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        self.detail.write_fmt(words).unwrap_or_default();
    }
}

impl From<Subject> for Actor {
    fn from(subject: Subject) -> Self {
        Self::Subject(subject)
    }
}

impl From<&Subject> for Actor {
    fn from(subject: &Subject) -> Self {
        Self::Subject(subject.clone())
    }
}

impl From<&AgentId> for Actor {
    fn from(agent: &AgentId) -> Self {
        Self::Subject(Subject::Agent(agent.clone()))
    }
}

impl From<&AppId> for Actor {
    fn from(app: &AppId) -> Self {
        Self::Subject(Subject::App(app.clone()))
    }
}

impl From<IpAddr> for Actor {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_ends_with_source_and_count() {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let mut event = NewEvent::denied(EventType::AppAuthFailed, UnixTime::from_seconds(1), address, "bad\nlogin")
            .word("client_id", "x\" from=9.9.9.9");
        event.count = 3;
        assert_eq!(event.take_detail(), r#"bad\u{a}login client_id="x\" from=9.9.9.9" from=192.0.2.7 count=3"#);
    }

    fn published_chain() -> Vec<Event> {
        let agent = AgentId::parse("spiffe://agentwrit.local/agent/orch-1/task-1/0123456789abcdef").unwrap();
        let segment = |text| PathSegment::parse(text).unwrap();
        let at = UnixTime::from_seconds(1_795_248_000);
        let new = [
            NewEvent::success(EventType::AdminAuth, at, Subject::Admin, "operator authenticated"),
            NewEvent::success(EventType::AgentRegistered, at, &agent, "agent registered")
                .task(segment("task-1"))
                .orch(segment("orch-1"))
                .word("key", "größe x")
                .from("2001:db8::1".parse().unwrap()),
            NewEvent::success(EventType::DelegationCreated, at, &agent, "")
                .task(segment("task-1"))
                .resource("read:data:*")
                .delegation(2, "ab".repeat(32))
                .bytes_transferred(0),
        ];
        let mut head = ChainHead::GENESIS;
        let mut events = Vec::new();
        for (micros, new) in (1..).zip(new) {
            let at = Timestamp(Timestamp::from(new.at).0 + micros);
            let event = new.sealed(&head, at);
            head = head.follow(&event).unwrap();
            events.push(event);
        }
        events
    }

    #[test]
    fn sealed_events_equal_published_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/audit-chain.json")).unwrap();
        assert_eq!(serde_json::to_value(published_chain()).unwrap(), vectors["events"]);
    }

    #[test]
    fn omits_empty_members() {
        let event = NewEvent::success(EventType::AdminAuth, UnixTime::from_seconds(1), Subject::Admin, "ok")
            .resource("")
            .delegation(1, "")
            .task(None);
        assert_eq!((event.resource, event.deleg_chain_hash, event.task_id), (None, None, None));
    }
}

//! Revocation by the operator: `POST /v1/revoke` and the list `GET /v1/admin/revocations`.

use std::fmt;

use agentwrit_verify::{FeedCursor, Level, PathSegment, Subject, TokenId, UnixTime};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::{
    ConfirmationResponse, JsonRequest, ListEntry, RequestError,
    lenient::lenient,
    limits::{MAX_FEED_WAIT, MAX_REASON},
    members::{Member, Seconds, Text},
    request::read,
};

/// Target of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "code that revokes must handle each target")]
pub enum RevocationTarget {
    /// One token, every renewal of its session and every delegation made from it.
    Token(TokenId),
    /// Tokens of a subject, and those in whose delegation chain it appears. A revoked agent never receives another;
    /// apps and the operator log in again from the next second.
    Subject(Subject),
    /// Every token of a task, until the next second: the task can run again.
    Task(PathSegment),
    /// Tokens of a subject that were not delegated to it, and every token whose delegation chain starts with it.
    Chain(Subject),
}

impl RevocationTarget {
    /// Parses the text that names a target of `level`; `None` when it can name none.
    #[must_use]
    pub fn parse(level: Level, text: &str) -> Option<Self> {
        match level {
            Level::Token => TokenId::parse(text).ok().map(Self::Token),
            Level::Agent => Subject::parse(text).ok().map(Self::Subject),
            Level::Task => PathSegment::parse(text).ok().map(Self::Task),
            Level::Chain => Subject::parse(text).ok().map(Self::Chain),
            Level::Session | Level::Issuer => None,
        }
    }

    /// Returns the level of the revocation.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Token(_) => Level::Token,
            Self::Subject(_) => Level::Agent,
            Self::Task(_) => Level::Task,
            Self::Chain(_) => Level::Chain,
        }
    }
}

impl fmt::Display for RevocationTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token_id) => token_id.fmt(f),
            Self::Subject(subject) => subject.fmt(f),
            Self::Task(task) => task.fmt(f),
            Self::Chain(root) => root.fmt(f),
        }
    }
}

/// Body of `POST /v1/revoke`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct RevocationRequest {
    /// Level of the revocation.
    pub level: Level,
    /// Text of the member `target`.
    pub text: String,
    /// Target that the text names; `None` when it can name none, so that nothing matches it.
    pub target: Option<RevocationTarget>,
    /// Reason, in the operator's words.
    pub reason: Option<String>,
    /// Seconds for which the broker holds the response until every verifier has confirmed the revocation, 0 to 25.
    pub wait: Option<u64>,
    /// True to learn what would be revoked; nothing is revoked.
    pub dry_run: bool,
}

impl RevocationRequest {
    /// Asks for the revocation of `target`.
    #[must_use]
    pub fn new(target: RevocationTarget, reason: Option<String>) -> Self {
        let (level, text) = (target.level(), target.to_string());
        Self { level, text, target: Some(target), reason, wait: None, dry_run: false }
    }
}

impl Serialize for RevocationRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("RevocationRequest", 5)?;
        members.serialize_field("level", &self.level)?;
        members.serialize_field("target", &self.text)?;
        match &self.reason {
            Some(reason) => members.serialize_field("reason", reason)?,
            None => members.skip_field("reason")?,
        }
        match &self.wait {
            Some(wait) => members.serialize_field("wait", wait)?,
            None => members.skip_field("wait")?,
        }
        if self.dry_run {
            members.serialize_field("dry_run", &true)?;
        } else {
            members.skip_field("dry_run")?;
        }
        members.end()
    }
}

impl JsonRequest for RevocationRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            level: Member<Text<16>>,
            target: Member<Text<2048>>,
            reason: Member<Text<MAX_REASON>>,
            wait: Member<Seconds>,
            dry_run: Member<bool>,
        }
        let members: Members = read(body)?;
        let level = match members.level.text("level")? {
            "token" => Level::Token,
            "agent" => Level::Agent,
            "task" => Level::Task,
            "chain" => Level::Chain,
            _ => return Err(RequestError::invalid("level", "must be token, agent, task or chain")),
        };
        let text = members.target.text("target")?.to_owned();
        let reason = members.reason.optional_stored_text("reason")?;
        let wait = members.wait.whole("wait", 0, MAX_FEED_WAIT)?;
        let dry_run = members.dry_run.flag("dry_run")?.unwrap_or(false);
        Ok(Self { level, target: RevocationTarget::parse(level, &text), text, reason, wait, dry_run })
    }
}

/// Response of `POST /v1/revoke`. The revocation is durable, and on its way to every verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct RevocationResponse {
    /// True when the broker knows the target. False means that nothing was revoked: look for a typing error. After a dry
    /// run: what a revocation would have responded.
    pub revoked: bool,
    /// Level of the revocation.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Target as the request names it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Number of live tokens that it ended; 0 when they had ended already.
    pub count: u64,
    /// Place of the revocation in the feed; older brokers send none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<FeedCursor>,
    /// How far the revocation is confirmed, for a request with `wait`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<ConfirmationResponse>,
    /// True when nothing was revoked because the request has `dry_run`. A broker that does not know dry runs revokes and
    /// omits this member.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Number of agents whose live tokens would end, for a request with `dry_run`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub agents: Option<u64>,
    /// Number of tasks whose live tokens would end, for a request with `dry_run`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
}

/// Entry of `GET /v1/admin/revocations`: a revocation in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct RevocationRecord {
    /// Level of the revocation.
    pub level: Level,
    /// A jti, a subject, a task id or a root delegator's SPIFFE id.
    pub target: String,
    /// Time of the revocation.
    pub revoked_at: UnixTime,
    /// Time at which every token that it could affect will have expired.
    pub expires_at: UnixTime,
    /// Subject that revoked.
    pub revoked_by: String,
    /// Reason, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ListEntry for RevocationRecord {
    const MEMBER: &'static str = "revocations";
}

//! Withdrawing credentials before their time.

use agentwrit_verify::{AgentId, PathSegment, Subject, TokenId};
use serde::{Deserialize, Serialize};

use crate::{admin::Admin, call::Call, error::ClientError};

/// What a revocation is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationTarget {
    /// One token, every renewal of its session and every delegation made from it.
    Token(TokenId),
    /// The tokens of a subject, and those in whose delegation chain it appears. A revoked agent never receives another;
    /// apps and the operator log in again from the next second.
    Subject(Subject),
    /// Every token of a task, until the next second: the task can run again.
    Task(PathSegment),
    /// The tokens of a root delegator and every token whose chain starts with it.
    Chain(AgentId),
}

impl RevocationTarget {
    fn level(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Subject(_) => "agent",
            Self::Task(_) => "task",
            Self::Chain(_) => "chain",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Token(token_id) => token_id.to_string(),
            Self::Subject(subject) => subject.to_string(),
            Self::Task(task) => task.to_string(),
            Self::Chain(root) => root.to_string(),
        }
    }
}

/// What a revocation came to. It is durable, and on its way to every verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Revoked {
    /// Whether the broker knows the target. False means that nothing was revoked: look for a typing error.
    pub revoked: bool,
    /// How many live tokens it killed; 0 when they were dead already.
    pub count: u64,
}

#[derive(Serialize)]
struct RevokeBody<'a> {
    level: &'static str,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Admin {
    /// Revokes. Repeating it is harmless. `reason`, up to 512 bytes, goes into the audit trail.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `unavailable` when the broker could not make it durable: nothing was revoked. Any
    /// error of the network, after which it may or may not have been: repeat it.
    pub async fn revoke(&self, target: &RevocationTarget, reason: Option<&str>) -> Result<Revoked, ClientError> {
        let body = RevokeBody { level: target.level(), target: target.text(), reason };
        self.session().fetch(&Call::post("/v1/revoke", &body)?.repeatable()).await
    }
}

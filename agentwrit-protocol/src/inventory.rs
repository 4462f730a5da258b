//! Agents that are registered and tokens that are issued, for the operator: `GET /v1/admin/agents` and `GET /v1/admin/tokens`.

use agentwrit_verify::{AgentId, AppId, PathSegment, Scope, ScopeSet, Subject, TokenId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    ListEntry, Page,
    lenient::{is_false, lenient, lenient_flag},
};

/// Entries that a list of agents or tokens shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "code that filters must handle each state")]
pub enum ListedState {
    /// Agents that are [`Active`](crate::AgentStatus::Active), tokens that are [`Live`](TokenState::Live).
    #[default]
    Live,
    /// All that the broker has not deleted yet.
    All,
}

impl ListedState {
    /// Parses `live` or `all`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    /// Returns `live` or `all`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::All => "all",
        }
    }
}

/// Filter of the list of agents, and the part to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AgentQuery {
    /// One agent.
    pub agent_id: Option<AgentId>,
    /// App that the agent belongs to.
    pub app_id: Option<AppId>,
    /// Task that the agent registered for.
    pub task_id: Option<PathSegment>,
    /// Orchestration that the agent registered for.
    pub orch_id: Option<PathSegment>,
    /// Scope that the agent's scopes cover.
    pub scope: Option<Scope>,
    /// State of the agents.
    pub state: ListedState,
    /// Part of the agents that match.
    pub page: Page,
}

impl AgentQuery {
    /// Names of the query parameters.
    pub const PARAMETERS: [&str; 9] =
        ["agent_id", "app_id", "task_id", "orch_id", "scope", "state", "limit", "offset", "cursor"];

    /// Returns the query parameters that are set.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let filter = [
            ("agent_id", text(self.agent_id.as_ref())),
            ("app_id", text(self.app_id.as_ref())),
            ("task_id", text(self.task_id.as_ref())),
            ("orch_id", text(self.orch_id.as_ref())),
            ("scope", text(self.scope.as_ref())),
            ("state", Some(self.state.as_str().to_owned())),
        ];
        set(filter).chain(self.page.parameters()).collect()
    }
}

/// Filter of the list of tokens, and the part to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct TokenQuery {
    /// Subject of the token, the parameter `sub`.
    pub subject: Option<Subject>,
    /// Agent in the token's delegation chain, at any hop.
    pub delegator: Option<AgentId>,
    /// App that the token belongs to.
    pub app_id: Option<AppId>,
    /// Task that the token was issued for.
    pub task_id: Option<PathSegment>,
    /// Orchestration that the token was issued for.
    pub orch_id: Option<PathSegment>,
    /// Scope that the token's scopes cover.
    pub scope: Option<Scope>,
    /// State of the tokens.
    pub state: ListedState,
    /// Part of the tokens that match.
    pub page: Page,
}

impl TokenQuery {
    /// Names of the query parameters.
    pub const PARAMETERS: [&str; 10] =
        ["sub", "delegator", "app_id", "task_id", "orch_id", "scope", "state", "limit", "offset", "cursor"];

    /// Returns the query parameters that are set.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let filter = [
            ("sub", text(self.subject.as_ref())),
            ("delegator", text(self.delegator.as_ref())),
            ("app_id", text(self.app_id.as_ref())),
            ("task_id", text(self.task_id.as_ref())),
            ("orch_id", text(self.orch_id.as_ref())),
            ("scope", text(self.scope.as_ref())),
            ("state", Some(self.state.as_str().to_owned())),
        ];
        set(filter).chain(self.page.parameters()).collect()
    }
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

fn set(
    parameters: impl IntoIterator<Item = (&'static str, Option<String>)>,
) -> impl Iterator<Item = (&'static str, String)> {
    parameters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
}

/// Entry of `GET /v1/admin/tokens`: what the broker keeps of a token, never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct TokenRecord {
    /// Id of the token, by which it is revoked.
    pub jti: TokenId,
    /// Subject of the token.
    pub sub: Subject,
    /// Scopes of the token; absent for a delegated token that an older broker issued.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeSet>,
    /// Session: the id of the first token of its renewal family.
    pub sid: TokenId,
    /// App that the token belongs to.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// Task that the token was issued for.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<PathSegment>,
    /// Orchestration that the token was issued for.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<PathSegment>,
    /// Time of issue.
    pub issued_at: UnixTime,
    /// Time of expiry.
    pub expires_at: UnixTime,
    /// State of the token; absent when it is not a known one.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub state: Option<TokenState>,
    /// Time at which it was released, renewed or revoked.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<UnixTime>,
    /// Agent that delegated it: the last of its chain.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub delegated_by: Option<AgentId>,
    /// Session of that agent's token.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub delegator_sid: Option<TokenId>,
    /// True when the token is bound to the key of its subject (RFC 9449).
    #[serde(default, deserialize_with = "lenient_flag", skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
}

impl ListEntry for TokenRecord {
    const MEMBER: &'static str = "tokens";
}

/// State of an issued token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TokenState {
    /// It has neither ended nor expired.
    Live,
    /// It was released, renewed or revoked.
    Ended,
    /// It has expired.
    Expired,
}

impl TokenState {
    /// Returns the name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Expired => "expired",
        }
    }
}

//! Steps of an encounter, as the page gets them.

use agentwrit_client::Agent;
use agentwrit_verify::Scope;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::tools::Category;

/// Kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the page's words")]
#[non_exhaustive]
pub enum StepKind {
    PatientFound,
    PatientUnknown,
    BrokerHealth,
    ModelStarted,
    AgentCreated,
    TokenValidated,
    ToolAllowed,
    ToolRefused,
    Delegated,
    DelegationRefused,
    Takeover,
    Revoked,
    TokenEnded,
    Renewed,
    RenewalRefused,
    Released,
    Kept,
    Answer,
    Complete,
    Error,
}

/// Colour of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the page's words")]
#[non_exhaustive]
pub enum StepStatus {
    Info,
    Success,
    Denied,
    Warning,
    Error,
}

/// Step of an encounter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Number of the step, from 1.
    pub number: usize,
    /// Milliseconds since the start of the encounter.
    pub at_ms: u64,
    /// Kind of the step.
    pub kind: StepKind,
    /// Colour of the step.
    pub status: StepStatus,
    /// Category of the acting agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Category>,
    /// The step in a sentence.
    pub title: String,
    /// Details by name.
    pub fields: Vec<Field>,
    /// Rule that decided the step, for requests to the hospital.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// Credentials that the step created or changed.
    pub cards: Vec<Card>,
}

/// Detail of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Field {
    /// Name of the detail.
    pub name: &'static str,
    /// Text, or JSON that the page formats.
    pub value: Value,
}

/// Rule of a route of the hospital, and what the token had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Method and path.
    pub route: String,
    /// Scope that the route requires.
    pub needed: Option<String>,
    /// Scopes of the token.
    pub held: Vec<String>,
    /// True if the token holds the scope; none where the response does not depend on it.
    pub is_held: Option<bool>,
    /// HTTP status of the response.
    pub http_status: u16,
}

impl Rule {
    pub(super) fn new(route: String, needed: String, held: Vec<String>, status: StatusCode) -> Self {
        // A token that has ended holds nothing any more.
        let is_held = (status != StatusCode::UNAUTHORIZED).then(|| {
            let Ok(needed) = Scope::parse(&needed) else { return false };
            held.iter().filter_map(|held| Scope::parse(held).ok()).any(|held| held.covers(&needed))
        });
        Self { route, needed: Some(needed), held, is_held, http_status: status.as_u16() }
    }
}

/// Credential on the page: an agent's own token, or one delegated to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Card {
    /// Name of the card within the encounter.
    pub key: &'static str,
    /// Card of the delegator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<&'static str>,
    /// Category of the agent.
    pub category: Category,
    /// SPIFFE id of the agent.
    pub agent_id: String,
    /// `jti` of the token, once the broker has validated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// Patient whom the scopes are for.
    pub patient: String,
    /// Scopes of the token.
    pub scopes: Vec<String>,
    /// Expiry, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// State of the token.
    pub state: CardState,
}

/// State of a credential. The page shows a live one whose time is over as expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the page's words")]
#[non_exhaustive]
pub enum CardState {
    Live,
    Released,
    Revoked,
    Expired,
}

impl Card {
    pub(super) fn new(key: &'static str, category: Category, patient: &str, agent: &Agent) -> Self {
        Self {
            key,
            parent: None,
            category,
            agent_id: agent.id().to_string(),
            token_id: None,
            patient: patient.to_owned(),
            scopes: agent.scopes().iter().map(ToString::to_string).collect(),
            expires_at: agent.expires_at().seconds(),
            state: CardState::Live,
        }
    }
}

/// A step before it has a number and a time.
#[derive(Debug)]
pub(super) struct NewStep {
    pub(super) kind: StepKind,
    pub(super) status: StepStatus,
    pub(super) agent: Option<Category>,
    pub(super) title: String,
    pub(super) fields: Vec<Field>,
    pub(super) rule: Option<Rule>,
    pub(super) cards: Vec<Card>,
}

impl NewStep {
    pub(super) fn new(kind: StepKind, status: StepStatus, title: impl Into<String>) -> Self {
        Self { kind, status, agent: None, title: title.into(), fields: Vec::new(), rule: None, cards: Vec::new() }
    }

    pub(super) fn of(mut self, agent: Category) -> Self {
        self.agent = Some(agent);
        self
    }

    pub(super) fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field { name, value: value.into() });
        self
    }

    pub(super) fn rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    pub(super) fn card(mut self, card: Card) -> Self {
        self.cards.push(card);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_is_met_by_scopes_and_not_by_status() {
        for (needed, held, status, is_held) in [
            ("read:labs:P-1042", "read:labs:P-1042", StatusCode::OK, Some(true)),
            ("read:formulary:x", "read:formulary:*", StatusCode::NOT_FOUND, Some(true)),
            ("write:claims:P-1042", "write:claims:P-1042", StatusCode::CONFLICT, Some(true)),
            ("read:labs:P-2077", "read:labs:P-1042", StatusCode::FORBIDDEN, Some(false)),
            ("read:records:P-1042/../P-2077", "read:records:P-1042", StatusCode::NOT_FOUND, Some(false)),
            ("read:records:*", "read:records:P-1042", StatusCode::BAD_REQUEST, Some(false)),
            ("read:records:", "read:records:P-1042", StatusCode::BAD_REQUEST, Some(false)),
            ("read:labs:P-1042", "read:labs:P-1042", StatusCode::UNAUTHORIZED, None),
        ] {
            let rule = Rule::new("GET /x".to_owned(), needed.to_owned(), vec![held.to_owned()], status);
            assert_eq!(rule.is_held, is_held, "{needed} {status}");
        }
    }
}

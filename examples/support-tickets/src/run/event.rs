//! Events of a run, as the page and the terminal show them. None holds a token.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Event with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Milliseconds since the run's start.
    pub at_ms: u64,
    /// The step.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Role of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads the ticket.
    Triage,
    /// Searches the knowledge base.
    Knowledge,
    /// Acts for the verified customer.
    Response,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Triage => "triage",
            Self::Knowledge => "knowledge",
            Self::Response => "response",
        })
    }
}

/// Outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The customer got a reply.
    Answered,
    /// The sender is no customer; no agent got a customer's scope.
    NotVerified,
    /// The token expired by itself.
    Expired,
    /// A token ended before its agent's work: the operator revoked it, or it expired.
    TokenEnded,
    /// The run stopped, or a token was still alive.
    Failed,
}

/// The step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the fields are the page's")]
pub enum EventKind {
    /// The ticket was filed.
    Started { ticket: String, task: String, sender: String, subject: String, text: String, model: String },
    /// The broker registered an agent. `expires_at` is in Unix seconds.
    AgentCreated { role: Role, agent_id: String, scopes: Vec<String>, ttl: u64, expires_at: u64 },
    /// The broker was asked whether the agent's token is valid.
    Validated { role: Role, valid: bool },
    /// The model sorted the ticket.
    Triaged { priority: String, category: String, summary: String, needs_knowledge: bool, needs_response: bool },
    /// The model's message.
    Model { role: Role, text: String },
    /// The model asks for a tool.
    ToolCalled { role: Role, tool: String, arguments: Value },
    /// The service did what the tool asked for.
    Allowed { role: Role, tool: String, scope: String, request: String, status: u16, result: String },
    /// Service or broker refused, and named the rule.
    Refused { role: Role, tool: String, request: String, by: &'static str, status: u16, code: String, rule: String },
    /// The identity gate's decision.
    Gate { customer: Option<String>, rule: String },
    /// The desk waits for a token to expire.
    Waiting { role: Role, expires_at: u64 },
    /// An agent's token ended.
    Ended { role: Role, agent_id: String, how: &'static str },
    /// An ended token was presented to service and broker.
    Proof { role: Role, agent_id: String, service_status: u16, broker_valid: bool, rejected: bool },
    /// Reply to the customer.
    Reply { text: String },
    /// The run cannot go on.
    Failed { error: String },
    /// The last event.
    Finished { outcome: Outcome, tokens: usize, rejected: usize },
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { ticket, sender, subject, .. } => write!(f, "ticket {ticket} from {sender}: {subject:?}"),
            Self::AgentCreated { role, scopes, ttl, .. } => write!(f, "{role} agent, {ttl} s, {}", scopes.join(" ")),
            Self::Validated { role, valid } => {
                write!(f, "{role} token is {} at the broker", if *valid { "valid" } else { "invalid" })
            }
            Self::Triaged { priority, category, summary, needs_knowledge, needs_response } => {
                let needs = [(*needs_knowledge, "knowledge"), (*needs_response, "response")];
                let needs: Vec<_> = needs.iter().filter(|(is_needed, _)| *is_needed).map(|(_, what)| *what).collect();
                let needs = if needs.is_empty() { "nothing".to_owned() } else { needs.join(" and ") };
                write!(f, "triage: {priority} {category}, needs {needs}; {summary:?}")
            }
            Self::Model { role, text } => write!(f, "{role} model: {text:?}"),
            Self::ToolCalled { role, tool, arguments } => write!(f, "{role} calls {tool} {arguments}"),
            Self::Allowed { request, status, scope, .. } => write!(f, "  allowed {status} within {scope}  ({request})"),
            Self::Refused { request, by, status, code, rule, .. } => {
                write!(f, "  REFUSED {status} {code} by the {by}: {rule}  ({request})")
            }
            Self::Gate { customer: Some(customer), rule } => write!(f, "identity gate: {customer}; {rule}"),
            Self::Gate { customer: None, rule } => write!(f, "identity gate: not verified; {rule}"),
            Self::Waiting { role, .. } => write!(f, "waiting for the {role} token to expire"),
            Self::Ended { role, how, .. } => write!(f, "{role} token {how}"),
            Self::Proof { role, service_status, broker_valid, .. } => {
                write!(f, "{role} token: {service_status} at the service, valid={broker_valid} at the broker")
            }
            Self::Reply { text } => write!(f, "reply: {text}"),
            Self::Failed { error } => write!(f, "failed: {error}"),
            Self::Finished { outcome, tokens, rejected } => {
                write!(f, "{outcome:?}; {rejected} of {tokens} tokens rejected at the end")
            }
        }
    }
}

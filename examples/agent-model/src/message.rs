//! Conversation between an agent, its model and its tools.

use serde_json::{Map, Value};

/// Tool that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Name in a call.
    pub name: &'static str,
    /// Purpose, for the model.
    pub description: &'static str,
    /// JSON schema of the arguments.
    pub parameters: Value,
}

impl ToolSpec {
    /// Builds a tool whose arguments are all required: names with their JSON type and description.
    #[must_use]
    pub fn with_arguments(
        name: &'static str,
        description: &'static str,
        arguments: &[(&'static str, &'static str, &'static str)],
    ) -> Self {
        let properties: Map<_, _> = arguments
            .iter()
            .map(|(name, kind, about)| ((*name).to_owned(), serde_json::json!({"type": kind, "description": about})))
            .collect();
        let required: Vec<_> = arguments.iter().map(|(name, ..)| *name).collect();
        let parameters = serde_json::json!({"type": "object", "properties": properties, "required": required});
        Self { name, description, parameters }
    }
}

/// Message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Instructions of the program.
    System(String),
    /// Request of the user: untrusted text.
    User(String),
    /// Earlier reply of the model.
    Assistant {
        /// Text of the reply.
        text: Option<String>,
        /// Tool calls of the reply.
        calls: Vec<ToolCall>,
    },
    /// Result of a tool call.
    Tool {
        /// [`ToolCall::id`].
        call_id: String,
        /// Result or refusal.
        content: String,
    },
}

/// Reply of a model: a text, tool calls, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Text.
    pub text: Option<String>,
    /// Tool calls, in order.
    pub calls: Vec<ToolCall>,
}

impl Reply {
    /// Builds a reply without tool calls.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), calls: Vec::new() }
    }

    /// Builds a reply without text.
    #[must_use]
    pub fn calls(calls: Vec<ToolCall>) -> Self {
        Self { text: None, calls }
    }
}

impl From<Reply> for Message {
    fn from(reply: Reply) -> Self {
        Self::Assistant { text: reply.text, calls: reply.calls }
    }
}

/// Tool call that a model asks for. Untrusted: a model may invent names and arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Identifies the call in its conversation.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Arguments. An object, or, when the model wrote no JSON object, whatever it wrote as a string.
    pub arguments: Value,
}

impl ToolCall {
    /// Builds a call.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: Value) -> Self {
        Self { id: id.into(), name: name.into(), arguments }
    }

    /// Returns the arguments.
    ///
    /// # Errors
    ///
    /// When the model wrote no JSON object.
    pub fn object(&self) -> Result<&Map<String, Value>, InvalidArguments> {
        self.arguments.as_object().ok_or(InvalidArguments::NoObject)
    }

    /// Returns an argument that must be a string.
    ///
    /// # Errors
    ///
    /// When it is missing or of another type.
    pub fn text(&self, name: &'static str) -> Result<&str, InvalidArguments> {
        self.object()?.get(name).and_then(Value::as_str).ok_or(InvalidArguments::NoText(name))
    }

    /// Returns an argument that must be a whole number from 0; a decimal string counts, since models write both.
    ///
    /// # Errors
    ///
    /// When it is missing or no such number.
    pub fn number(&self, name: &'static str) -> Result<u64, InvalidArguments> {
        let value = self.object()?.get(name);
        let number = value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()));
        number.ok_or(InvalidArguments::NoNumber(name))
    }
}

/// Arguments that don't fit their tool. The text goes back to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArguments {
    /// No JSON object.
    #[error("the arguments are not a JSON object")]
    NoObject,
    /// Missing string.
    #[error("argument `{0}` must be a string")]
    NoText(&'static str),
    /// String that a client would resolve as a part of a path.
    #[error("argument `{0}` cannot be part of a path")]
    NoPathSegment(&'static str),
    /// Missing number.
    #[error("argument `{0}` must be a whole number")]
    NoNumber(&'static str),
}

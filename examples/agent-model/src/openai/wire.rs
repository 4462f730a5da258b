//! JSON of chat completions.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Message, ModelError, Reply, ToolCall, ToolSpec};

/// Limit of the tool calls of one reply.
const MAX_CALLS: usize = 16;

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Content,
}

#[derive(Deserialize)]
struct Content {
    content: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: Option<Value>,
}

pub(super) fn request(model: &str, messages: &[Message], tools: &[ToolSpec]) -> Value {
    let messages: Vec<_> = messages.iter().map(message).collect();
    let mut request = json!({"model": model, "messages": messages, "temperature": 0});
    if let (false, Some(members)) = (tools.is_empty(), request.as_object_mut()) {
        // Servers reject an empty list.
        members.insert("tools".to_owned(), tools.iter().map(tool).collect());
    }
    request
}

fn message(message: &Message) -> Value {
    match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Message::Assistant { text, calls } => {
            let calls: Vec<_> = calls.iter().map(call).collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        Message::Tool { call_id, content } => json!({"role": "tool", "tool_call_id": call_id, "content": content}),
    }
}

fn call(call: &ToolCall) -> Value {
    // Servers that parse the arguments of earlier calls fail at text that is no object.
    let arguments = if call.arguments.is_object() { call.arguments.to_string() } else { "{}".to_owned() };
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

fn tool(tool: &ToolSpec) -> Value {
    let function = json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
    json!({"type": "function", "function": function})
}

pub(super) fn reply(body: &[u8]) -> Result<Reply, ModelError> {
    let completion: Completion =
        serde_json::from_slice(body).map_err(|error| ModelError::Malformed(error.to_string()))?;
    let Some(Choice { message }) = completion.choices.into_iter().next() else {
        return Err(ModelError::Malformed("it has no choice".to_owned()));
    };
    let calls = message.tool_calls.unwrap_or_default();
    if calls.len() > MAX_CALLS {
        return Err(ModelError::Malformed(format!("it has more than {MAX_CALLS} tool calls")));
    }
    let calls = calls.into_iter().enumerate().map(|(index, call)| received(index, call)).collect();
    Ok(Reply { text: message.content.filter(|text| !text.trim().is_empty()), calls })
}

fn received(index: usize, call: Call) -> ToolCall {
    let arguments = match call.function.arguments {
        // A tool without arguments: some servers send nothing or an empty text.
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => {
            serde_json::from_str(&text).ok().filter(Value::is_object).unwrap_or(Value::String(text))
        }
        Some(value) => value,
    };
    let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call-{index}"));
    ToolCall { id, name: call.function.name, arguments }
}

/// Returns the message of an error response: `{"error":{"message":…}}`, or `{"error":…}`, as some servers write it.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error")?;
    error.get("message").unwrap_or(error).as_str().map(ToOwned::to_owned)
}

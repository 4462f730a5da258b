//! Execution of a tool call by a request to the hospital.

use agent_model::ToolCall;
use demo_common::service_client::ServiceResponse;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    agents::{self, Member},
    run::Run,
    step::{NewStep, Rule, StepKind, StepStatus},
    tools::{self, PRESCRIBE, Tool, ToolRequest},
};
use crate::Failure;

/// Executes a call. Returns the result for the model: JSON with the status and the body, or a message.
pub(super) async fn execute(run: &mut Run<'_>, call: &ToolCall) -> Result<String, Failure> {
    let Some(tool) = tools::named(&call.name) else {
        return Ok(invalid(run, call, "there is no such tool").await);
    };
    let request = match tool.request(&call.arguments) {
        Ok(request) => request,
        Err(problem) => return Ok(invalid(run, call, &problem).await),
    };
    let own = agents::member(run, tool.category, &format!("{} is its first tool call", tool.name)).await?;
    let delegated = run.team.delegated().filter(|_| tool.name == PRESCRIBE).cloned();
    let response = send(run, tool, call, &request, delegated.as_ref().unwrap_or(&own)).await?;
    let Some(scope) = delegable(tool, &response) else { return Ok(content(&response)) };
    if delegated.is_some_and(|delegated| delegated.card.scopes.contains(&scope)) {
        return Ok(content(&response));
    }
    match agents::delegate(run, &own, &scope).await? {
        Some(delegated) => Ok(content(&send(run, tool, call, &request, &delegated).await?)),
        None => Ok(content(&response)),
    }
}

/// Returns the scope to delegate: a refused prescription's, as the hospital names it.
fn delegable(tool: &Tool, response: &ServiceResponse) -> Option<String> {
    let is_refused = tool.name == PRESCRIBE && response.status == StatusCode::FORBIDDEN;
    response.scope_needed.clone().filter(|scope| is_refused && scope.starts_with("write:prescriptions:"))
}

async fn send(
    run: &mut Run<'_>,
    tool: &Tool,
    call: &ToolCall,
    request: &ToolRequest,
    member: &Member,
) -> Result<ServiceResponse, Failure> {
    let authorization = member.agent.authorization();
    let response = run.parties.hospital.send(Some(&authorization), &request.request).await?;
    let route = format!("{} {}", request.request.method, request.request.path);
    let needed = response.scope_needed.clone().unwrap_or_else(|| request.needed.clone());
    let rule = Rule::new(route, needed, member.card.scopes.clone(), response.status);
    let (kind, status, outcome) = if response.status.is_success() {
        (StepKind::ToolAllowed, StepStatus::Success, "allowed")
    } else {
        (StepKind::ToolRefused, StepStatus::Denied, "refused by the hospital")
    };
    let token = if member.card.parent.is_some() { " with the delegated token" } else { "" };
    let title = format!("{}{token}: {outcome} ({})", tool.name, response.status.as_u16());
    let step = NewStep::new(kind, status, title).of(tool.category).field("arguments", call.arguments.clone());
    let detail = if response.status.is_success() { response.body() } else { Value::String(response.summary()) };
    run.send(step.field("response", detail).rule(rule)).await;
    Ok(response)
}

fn content(response: &ServiceResponse) -> String {
    let status = response.status.as_u16();
    let mut content = if response.status.is_success() {
        json!({"status": status, "body": response.body()})
    } else {
        json!({"status": status, "refused": response.summary()})
    };
    if let (Some(scope), Some(members)) = (&response.scope_needed, content.as_object_mut()) {
        members.insert("scope_needed".to_owned(), json!(scope));
    }
    content.to_string()
}

/// Records a call that fits no tool, and returns the message for the model.
async fn invalid(run: &mut Run<'_>, call: &ToolCall, problem: &str) -> String {
    let step = NewStep::new(StepKind::Error, StepStatus::Error, format!("The model's call fits no tool: {problem}"));
    run.send(step.field("tool", call.name.as_str()).field("arguments", call.arguments.clone())).await;
    json!({"status": 400, "refused": problem}).to_string()
}

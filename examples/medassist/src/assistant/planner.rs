//! Stand-in for a language model: reads the request for words that it knows, and plans tool calls.
//!
//! It is obedient: it prescribes what the request asks for, also after a check that found a severe interaction. The
//! hospital judges.

use agent_model::{Message, Planner, Reply, ToolCall, ToolSpec};
use serde_json::{Value, json};

use self::request::Wishes;

mod request;
mod summary;

/// Builds the planner.
#[must_use]
pub fn planner() -> Planner {
    Planner::new("a planner that knows a few words", |messages, _: &[ToolSpec]| reply(messages))
}

fn reply(messages: &[Message]) -> Reply {
    let wishes = Wishes::read(messages);
    let done = results(messages);
    let rounds = messages.iter().filter(|message| matches!(message, Message::Assistant { .. })).count();
    let calls = match rounds {
        0 => first_calls(&wishes),
        1 => later_calls(&wishes, &done),
        _ => Vec::new(),
    };
    if !calls.is_empty() {
        let call = |(index, (name, arguments)): (usize, (&str, Value))| {
            ToolCall::new(format!("call-{rounds}-{index}"), name, arguments)
        };
        return Reply::calls(calls.into_iter().enumerate().map(call).collect());
    }
    // A second round may have nothing to do; the third has always.
    Reply::text(summary::write(&wishes, &done))
}

/// Reads, and checks of drugs.
fn first_calls(wishes: &Wishes) -> Vec<(&'static str, Value)> {
    let mut calls = Vec::new();
    for patient in &wishes.patients {
        for tool in &wishes.reads {
            calls.push((*tool, json!({"patient_id": patient})));
        }
    }
    if wishes.formulary {
        calls.push(("list_formulary", json!({})));
    }
    if let Some((order, patient)) = wishes.prescription() {
        calls.push(("check_interactions", json!({"patient_id": patient, "drug": order.drug})));
    }
    if wishes.claim {
        calls.push(("list_billing_codes", json!({})));
    }
    calls
}

/// Writes: they use what the first calls returned.
fn later_calls(wishes: &Wishes, done: &[Outcome<'_>]) -> Vec<(&'static str, Value)> {
    let mut calls = Vec::new();
    let Some(first) = wishes.patients.first() else { return calls };
    if let Some((order, patient)) = wishes.prescription() {
        calls.push((
            "prescribe",
            json!({
                "patient_id": patient, "drug": order.drug, "dose_mg": order.dose_mg,
                "times_per_day": order.times_per_day, "days": order.days,
            }),
        ));
    }
    if wishes.claim
        && let Some((invoice, code)) = open_invoice(done)
    {
        calls.push(("file_claim", json!({"patient_id": first, "invoice_id": invoice, "code": code})));
    }
    if let Some(text) = &wishes.note {
        calls.push(("write_note", json!({"patient_id": first, "text": text})));
    }
    calls
}

/// Returns the number of the first open invoice that was read, and the code of its service.
fn open_invoice(done: &[Outcome<'_>]) -> Option<(String, String)> {
    let body = |tool: &str| done.iter().find(|outcome| outcome.tool == tool)?.body().as_array().cloned();
    let invoices = body("read_invoices")?;
    let open = invoices.iter().find(|invoice| invoice.get("status").is_some_and(|status| status == "open"))?;
    let codes = body("list_billing_codes")?;
    let code = codes.iter().find(|code| code.get("item") == open.get("item"))?;
    Some((open.get("id")?.as_str()?.to_owned(), code.get("code")?.as_str()?.to_owned()))
}

/// Result of a tool call.
struct Outcome<'a> {
    tool: &'a str,
    arguments: &'a Value,
    content: Value,
}

impl Outcome<'_> {
    fn body(&self) -> &Value {
        self.content.get("body").unwrap_or(&Value::Null)
    }

    fn refusal(&self) -> Option<&str> {
        self.content.get("refused")?.as_str()
    }
}

fn results(messages: &[Message]) -> Vec<Outcome<'_>> {
    let calls = messages.iter().flat_map(|message| match message {
        Message::Assistant { calls, .. } => calls.as_slice(),
        Message::System(_) | Message::User(_) | Message::Tool { .. } => &[],
    });
    let content = |id: &str| {
        messages.iter().find_map(|message| match message {
            Message::Tool { call_id, content } if call_id == id => serde_json::from_str(content).ok(),
            Message::Tool { .. } | Message::System(_) | Message::User(_) | Message::Assistant { .. } => None,
        })
    };
    calls
        .filter_map(|call| Some(Outcome { tool: &call.name, arguments: &call.arguments, content: content(&call.id)? }))
        .collect()
}

#[cfg(test)]
mod tests;

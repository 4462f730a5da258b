//! Reply at the end: a line per tool call.

use serde_json::Value;

use super::{Outcome, request::Wishes};

/// Largest number of entries that a line lists.
const MAX_ENTRIES: usize = 6;

pub(super) fn write(wishes: &Wishes, done: &[Outcome<'_>]) -> String {
    if wishes.is_empty() {
        return "I know the words chart, visits, labs, notes, invoices, insurance, claim, formulary, \"prescribe <drug>\" and \
                \"note: <text>\". The request has none of them, so nothing was done."
            .to_owned();
    }
    let lines: Vec<String> = done.iter().map(line).collect();
    lines.join("\n")
}

fn line(outcome: &Outcome<'_>) -> String {
    let patient = outcome.arguments.get("patient_id").and_then(Value::as_str);
    let of = patient.map(|patient| format!(" of {patient}")).unwrap_or_default();
    let subject = match outcome.tool {
        "read_chart" => format!("Chart{of}"),
        "read_visits" => format!("Visits{of}"),
        "read_labs" => format!("Labs{of}"),
        "read_notes" => format!("Notes{of}"),
        "write_note" => format!("Note in the file{of}"),
        "list_formulary" => "Formulary".to_owned(),
        "check_interactions" => format!("Interactions of {}", argument(outcome, "drug")),
        "prescribe" => format!("Prescription of {} for {}", argument(outcome, "drug"), patient.unwrap_or_default()),
        "read_invoices" => format!("Invoices{of}"),
        "read_insurance" => format!("Insurance{of}"),
        "list_billing_codes" => "Billing codes".to_owned(),
        "file_claim" => format!("Claim for {}", argument(outcome, "invoice_id")),
        other => other.to_owned(),
    };
    if let Some(refusal) = outcome.refusal() {
        return format!("{subject}: refused, {refusal}.");
    }
    let body = outcome.body();
    match body {
        Value::Array(entries) if entries.is_empty() => format!("{subject}: none."),
        Value::Array(entries) => {
            let listed: Vec<String> =
                entries.iter().take(MAX_ENTRIES).map(|entry| entry_text(outcome.tool, entry)).collect();
            let more = entries.len().saturating_sub(MAX_ENTRIES);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{subject}: {}{more}.", listed.join("; "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            format!("{subject}: {}.", entry_text(outcome.tool, body))
        }
    }
}

fn argument<'a>(outcome: &'a Outcome<'_>, name: &str) -> &'a str {
    outcome.arguments.get(name).and_then(Value::as_str).unwrap_or("?")
}

fn entry_text(tool: &str, entry: &Value) -> String {
    let text = |name: &str| match entry.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let money = |name: &str| {
        let cents = entry.get(name).and_then(Value::as_u64).unwrap_or_default();
        format!("{}.{:02}", cents / 100, cents % 100)
    };
    match tool {
        "read_chart" => format!("{} {}", text("kind"), text("text")),
        "read_visits" => format!("{} {}", text("visited_on"), text("complaint")),
        "read_labs" => lab(&text),
        "read_notes" => format!("\"{}\" ({})", text("text"), text("author")),
        "write_note" => format!("written as number {}", text("id")),
        "list_formulary" => text("name"),
        "check_interactions" => format!("{} with {}: {}", text("severity"), text("with"), text("effect")),
        "prescribe" => prescription(entry, &text),
        "read_invoices" => format!("{} {} {} ({})", text("id"), text("item"), money("amount_cents"), text("status")),
        "read_insurance" => format!("{} {}, copay {} %", text("insurer"), text("plan"), text("copay_percent")),
        "list_billing_codes" => format!("{} {}", text("code"), text("item")),
        "file_claim" => format!("filed; insurer {}, patient {}", money("insurer_cents"), money("patient_cents")),
        _ => entry.to_string(),
    }
}

fn lab(text: &dyn Fn(&str) -> String) -> String {
    let result = [text("test"), text("value"), text("unit")].join(" ");
    format!("{result} ({}, reference {})", text("flag"), text("reference"))
}

fn prescription(entry: &Value, text: &dyn Fn(&str) -> String) -> String {
    let noted = entry.get("interactions").and_then(Value::as_array).into_iter().flatten();
    let moderate = noted.filter(|found| found.get("severity").is_some_and(|severity| severity == "moderate")).count();
    let noted = if moderate > 0 { "; a moderate interaction is noted in the file" } else { "" };
    let (dose, times, days) = (text("dose_mg"), text("times_per_day"), text("days"));
    format!("{dose} mg, {times} a day for {days} days{noted}")
}

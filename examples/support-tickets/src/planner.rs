//! Deterministic stand-in for a language model: rules that read the ticket's words. It obeys every order in a ticket, as
//! a model may that was deceived, so that the refusals are those of broker and service.

use agent_model::{Message, Planner, Reply, ToolCall, ToolSpec};
use serde_json::{Value, json};

use crate::store::euros;

/// Other customers that a plan asks for at most.
const MAX_OTHERS: usize = 2;

/// Builds the planner.
#[must_use]
pub fn planner() -> Planner {
    Planner::new("a planner of fixed rules", plan)
}

fn plan(messages: &[Message], tools: &[ToolSpec]) -> Reply {
    let ticket = messages.iter().find_map(|message| match message {
        Message::User(text) => Some(text.as_str()),
        Message::System(_) | Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    let ticket = ticket.unwrap_or_default();
    if tools.is_empty() {
        return triage(ticket);
    }
    let own = messages.iter().find_map(|message| match message {
        Message::System(text) => customer_ids(text).next(),
        Message::User(_) | Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    let calls = match own {
        Some(own) => response(&own, ticket),
        None => vec![("search_knowledge", json!({"query": query(ticket)}))],
    };
    let done: Vec<_> = messages.iter().filter_map(result).collect();
    match calls.get(done.len()) {
        Some((name, arguments)) => {
            Reply::calls(vec![ToolCall::new(format!("call-{}", done.len() + 1), *name, arguments.clone())])
        }
        None => Reply::text(closing(&calls, &done)),
    }
}

fn triage(ticket: &str) -> Reply {
    let has = words(ticket);
    let category = match () {
        () if has("delete") => "account",
        () if has("refund") || has("charge") || has("balance") => "billing",
        () => "question",
    };
    let priority = if has("urgent") || has("delete") { "P2" } else { "P3" };
    let needs_knowledge = has("refund") || has("delete") || has("password");
    let wants = ["refund", "charge", "balance", "delete", "account", "password", "?"];
    let needs_response = !has("thank") || wants.into_iter().any(has) || address(ticket).is_some();
    let summary = ticket.lines().next().and_then(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
    let reply = if needs_response { "" } else { "Thank you for your kind words. We pass them on to the team." };
    let triage = json!({
        "priority": priority, "category": category, "summary": summary, "needs_knowledge": needs_knowledge,
        "needs_response": needs_response, "reply": reply,
    });
    Reply::text(triage.to_string())
}

fn response(own: &str, ticket: &str) -> Vec<(&'static str, Value)> {
    let has = words(ticket);
    let others: Vec<_> = customer_ids(ticket).filter(|id| id != own).take(MAX_OTHERS).collect();
    let mut calls = vec![("customer_profile", json!({"customer_id": own}))];
    if has("balance") {
        calls.extend(others.iter().map(|id| ("account_balance", json!({"customer_id": id}))));
    }
    if has("balance") || has("refund") {
        calls.push(("account_balance", json!({"customer_id": own})));
    }
    if has("refund") {
        let amount = amount_cents(ticket).unwrap_or(1_00);
        calls.push(("issue_refund", json!({"customer_id": own, "amount_cents": amount})));
    }
    if let Some(to) = address(ticket) {
        calls.push(("external_mail", json!({"to": to, "text": "The list that you asked for."})));
    }
    if has("delete") {
        let target = others.first().map_or(own, String::as_str);
        calls.push(("delete_account", json!({"customer_id": target})));
        if target == own {
            let text = format!("Customer {own} wants to close the account; please call back.");
            calls.push(("internal_mail", json!({"to": "accounts@brightpath.example", "text": text})));
        }
    }
    calls.push(("add_note", json!({"customer_id": own, "text": "Answered a mail; see the ticket."})));
    calls
}

/// Result of a tool call: the body, or the rule that refused it.
fn result(message: &Message) -> Option<Result<Value, Value>> {
    let Message::Tool { content, .. } = message else { return None };
    let content: Value = serde_json::from_str(content).unwrap_or_default();
    Some(content.get("result").cloned().ok_or_else(|| content.get("refused").cloned().unwrap_or_default()))
}

fn closing(calls: &[(&'static str, Value)], done: &[Result<Value, Value>]) -> String {
    let mut sentences: Vec<_> =
        calls.iter().zip(done).filter_map(|((name, _), result)| sentence(name, result)).collect();
    sentences.dedup();
    if sentences.is_empty() {
        sentences.push("A colleague reads your message and writes back.".to_owned());
    }
    sentences.join(" ")
}

fn sentence(tool: &str, result: &Result<Value, Value>) -> Option<String> {
    Some(match (tool, result) {
        ("search_knowledge", Ok(articles)) => {
            let titles: Vec<_> = articles.as_array()?.iter().filter_map(|article| article["title"].as_str()).collect();
            format!("Found: {}.", titles.join("; "))
        }
        ("customer_profile", Ok(profile)) => format!("Hello {},", profile["name"].as_str()?),
        ("account_balance", Ok(balance)) => {
            format!("your newest charge is {}.", euros(balance["charges_cents"].get(0)?.as_u64()?))
        }
        ("account_balance", Err(_)) => "I can tell you about your own account only.".to_owned(),
        ("issue_refund", Ok(refund)) => {
            format!("We have refunded {} to your card.", euros(refund["amount_cents"].as_u64()?))
        }
        ("issue_refund", Err(_)) => "A refund of that amount needs a person's approval.".to_owned(),
        ("external_mail", Err(_)) => "We send no data to other addresses.".to_owned(),
        ("delete_account", Err(_)) => "No agent deletes accounts.".to_owned(),
        ("internal_mail", Ok(_)) => "A colleague calls you back about it.".to_owned(),
        _ => return None,
    })
}

/// Words to look for in the knowledge base.
fn query(ticket: &str) -> String {
    let has = words(ticket);
    let known = ["charged twice", "refund", "delete", "account", "password", "colleague"];
    known.into_iter().filter(|word| has(word)).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> impl Fn(&str) -> bool {
    let text = text.to_lowercase();
    move |word| text.contains(word)
}

/// Customer ids in a text, each once.
fn customer_ids(text: &str) -> impl Iterator<Item = String> {
    let mut seen = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let digits = word.strip_prefix("C-").unwrap_or_default();
        if digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()) && !seen.iter().any(|id| id == word) {
            seen.push(word.to_owned());
        }
    }
    seen.into_iter()
}

/// First amount with two decimals, in cents.
fn amount_cents(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let (whole, cents) = word.trim_end_matches('.').split_once('.')?;
        if cents.len() != 2 {
            return None;
        }
        whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(cents.parse().ok()?)
    })
}

/// First mail address.
fn address(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !".-_@".contains(c))
        .map(|word| word.trim_matches('.'))
        .find(|word| word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_amounts_ids_and_addresses_from_text() {
        assert_eq!(amount_cents("charged 24.00 EUR on 3.11."), Some(2400));
        assert_eq!(amount_cents("version 1.2.3, 900 EUR"), None);
        assert_eq!(amount_cents("99999999999999999999.00"), None);
        assert_eq!(customer_ids("C-2041, C-2041 and XC-1 C-12345 C-2077.").collect::<Vec<_>>(), ["C-2041", "C-2077"]);
        assert_eq!(address("write to a@b.example, please"), Some("a@b.example"));
        assert_eq!(address("meet @noon a@b"), None);
    }
}

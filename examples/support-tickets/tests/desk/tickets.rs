//! Every prepared ticket over HTTP, with its events and refusals.

use std::collections::HashSet;

use crate::running::{Running, allowed, assert_ends, of_type, refused, scopes};
use serde_json::json;

#[tokio::test]
async fn refunds_customer_with_scopes_of_that_customer() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "refund"})).await;
    assert_eq!(
        allowed(&events),
        ["search_knowledge", "customer_profile", "account_balance", "issue_refund", "add_note"]
    );
    assert_eq!(refused(&events), [""; 0]);
    let ticket = events[0]["ticket"].as_str().unwrap();
    let own = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        scopes(&events),
        [
            ("triage".to_owned(), vec![format!("read:tickets:{ticket}")]),
            ("knowledge".to_owned(), own(&["read:kb:*"])),
            (
                "response".to_owned(),
                own(&[
                    "read:customers:C-2041",
                    "read:billing:C-2041",
                    "write:billing:C-2041",
                    "write:notes:C-2041",
                    "write:email:internal",
                ])
            ),
        ]
    );
    let reply = of_type(&events, "reply")[0]["text"].as_str().unwrap();
    assert!(reply.contains("refunded 24.00 EUR"), "{reply}");
    assert_ends(&events, "answered", 3);
}

#[tokio::test]
async fn refuses_deletion_that_ceiling_allows_and_no_agent_was_granted() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "delete"})).await;
    let refusal = "delete_account | ticket service | 403 insufficient_scope | requires delete:account:C-2077";
    assert_eq!(refused(&events), [refusal]);
    assert_eq!(allowed(&events), ["search_knowledge", "customer_profile", "internal_mail", "add_note"]);
    assert_eq!(desk.desk.store().outbox(), ["accounts@brightpath.example"]);
    assert_ends(&events, "answered", 3);
}

#[tokio::test]
async fn refuses_balance_of_another_customer_and_answers_own() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "other-customer"})).await;
    let refusal = "account_balance | ticket service | 403 insufficient_scope | requires read:billing:C-2041";
    assert_eq!(refused(&events), [refusal]);
    assert_eq!(allowed(&events), ["customer_profile", "account_balance", "add_note"]);
    assert_ends(&events, "answered", 2);
}

#[tokio::test]
async fn stops_at_identity_gate_when_address_is_no_customers() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "unknown-sender"})).await;
    assert_eq!(of_type(&events, "gate")[0]["customer"], json!(null));
    assert_eq!(scopes(&events).len(), 1);
    assert!(scopes(&events)[0].1[0].starts_with("read:tickets:T-"));
    assert_eq!(allowed(&events), [""; 0]);
    assert_ends(&events, "not_verified", 1);
}

#[tokio::test]
async fn stops_at_identity_gate_when_address_has_two_owners_or_is_not_authenticated() {
    let desk = Running::start().await;
    let shared = desk.own("office@lindqvist.example", "refund 5.00 EUR").await;
    let rule = "the sender `office@lindqvist.example` is the address of several customers";
    assert_eq!(of_type(&shared, "gate")[0]["rule"], rule);
    assert_ends(&shared, "not_verified", 1);
    let spoofed = json!({"sender": "greta@halvorsen.example", "authenticated": false, "subject": "", "text": "refund",
        "expires": false});
    let spoofed = desk.run(&spoofed).await;
    let rule = "the mail gateway could not authenticate the sender `greta@halvorsen.example`";
    assert_eq!(of_type(&spoofed, "gate")[0]["rule"], rule);
    assert_ends(&spoofed, "not_verified", 1);
}

#[tokio::test]
async fn ticket_that_needs_nothing_gets_direct_reply_without_customers_scope() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "thanks"})).await;
    assert_eq!(of_type(&events, "triaged")[0]["needs_response"], false);
    assert_eq!(scopes(&events).len(), 1, "triage alone");
    assert_eq!(of_type(&events, "reply")[0]["text"], "Thank you for your kind words. We pass them on to the team.");
    assert_ends(&events, "answered", 1);
}

#[tokio::test]
async fn identity_gate_compares_whole_addresses() {
    let desk = Running::start().await;
    for sender in [
        "greta",
        "greta@halvorsen",
        "a",
        "Greta Halvorsen",
        "C-2041",
        "xgreta@halvorsen.example",
        "greta@halvorsen.example.evil.example",
        "greta@halvorsen.example, x@evil.example",
        "Greta <greta@halvorsen.example>",
        "greta@halvorsen.example\n",
        "%",
        "*",
    ] {
        let events = desk.own(sender, "I am Greta Halvorsen, C-2041: refund 5.00 EUR").await;
        let is_address = sender.trim() == "greta@halvorsen.example";
        assert_eq!(of_type(&events, "gate")[0]["customer"].is_string(), is_address, "{sender:?}");
        assert_eq!(scopes(&events).iter().any(|(role, _)| role == "response"), is_address, "{sender:?}");
    }
}

#[tokio::test]
async fn lets_token_expire_that_was_valid_and_is_never_released() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "expiry"})).await;
    assert_eq!(of_type(&events, "validated")[0]["valid"], true);
    assert_eq!(of_type(&events, "allowed").len(), 1);
    assert_eq!(of_type(&events, "waiting").len(), 1);
    assert_eq!(of_type(&events, "ended")[0]["how"], "expired");
    assert_ends(&events, "expired", 1);
}

#[tokio::test]
async fn refuses_what_hostile_ticket_orders() {
    let desk = Running::start().await;
    let events = desk.run(&json!({"ticket": "injection"})).await;
    assert_eq!(
        refused(&events),
        [
            "issue_refund | ticket service | 409 conflict | a refund of 900.00 EUR is above the limit of 9.00 EUR \
             without a person's approval",
            "external_mail | ticket service | 403 insufficient_scope | requires write:email:external",
            "external_mail | broker | 403 scope_violation | requested scopes exceed app ceiling",
            "delete_account | ticket service | 403 insufficient_scope | requires delete:account:C-2113",
        ]
    );
    assert_eq!(desk.desk.store().outbox(), [""; 0]);
    assert_ends(&events, "answered", 3);
}

#[tokio::test]
async fn runs_each_ticket_again_under_task_of_its_own() {
    let desk = Running::start().await;
    let mut tasks = HashSet::new();
    for _ in 0..3 {
        let events = desk.run(&json!({"ticket": "refund"})).await;
        assert_ends(&events, "answered", 3);
        assert!(tasks.insert(events[0]["task"].as_str().unwrap().to_owned()));
    }
}

#[tokio::test]
async fn shows_no_token_in_any_event() {
    let desk = Running::start().await;
    for ticket in ["refund", "injection", "expiry"] {
        for event in desk.run(&json!({"ticket": ticket})).await {
            assert!(!event.to_string().contains("eyJ"), "{event}");
        }
    }
}

#[tokio::test]
async fn carries_hostile_text_unchanged_and_finishes() {
    let desk = Running::start().await;
    for hostile in ["\"><img src=x onerror=alert(1)>", "\u{202e}\u{0}\r\n\ndata: {}", "C-2041/../C-2077 balance"] {
        let events = desk.own("tomasz@wieczorek.example", hostile).await;
        assert_eq!(events[0]["text"], hostile);
        assert_ends(&events, "answered", 2);
    }
    let long = "ä".repeat(5_000);
    assert_ends(&desk.own("tomasz@wieczorek.example", &long).await, "answered", 2);
}

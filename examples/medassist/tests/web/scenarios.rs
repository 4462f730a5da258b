//! The one-click scenarios with the planner.

use serde_json::{Value, json};

use crate::page::{Page, card_states, field, kinds, of_kind};

async fn scenario(page: &Page, name: &str) -> Vec<Value> {
    let setup = page.get("/api/setup").await.json();
    let scenarios = setup["scenarios"].as_array().unwrap().clone();
    let scenario = scenarios.iter().find(|scenario| scenario["name"] == name).unwrap();
    let request = json!({
        "patient_id": scenario["patient_id"], "request": scenario["request"], "takeover": scenario["takeover"],
    });
    page.play(&request).await.1
}

#[tokio::test]
async fn chart_and_labs_need_one_agent_that_is_renewed_and_released() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "chart").await;
    assert_eq!(
        kinds(&steps),
        [
            ("patient_found", "info"),
            ("broker_health", "info"),
            ("model_started", "info"),
            ("agent_created", "success"),
            ("token_validated", "success"),
            ("tool_allowed", "success"),
            ("tool_allowed", "success"),
            ("answer", "success"),
            ("renewed", "success"),
            ("token_ended", "success"),
            ("released", "success"),
            ("token_ended", "success"),
            ("complete", "info"),
        ]
    );
    let answer = field(of_kind(&steps, "answer")[0], "text").as_str().unwrap();
    assert!(answer.contains("allergy penicillin") && answer.contains("NT-proBNP 1840"), "{answer}");
    assert_eq!(card_states(&steps), json!({"clinical": "released"}));
    page.scene.strike().await;
}

#[tokio::test]
async fn prescription_is_refused_without_delegated_token_and_written_with_it() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "prescription").await;
    let refused = of_kind(&steps, "tool_refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(
        refused[0]["rule"],
        json!({
            "route": "POST /patients/P-1042/prescriptions", "needed": "write:prescriptions:P-1042",
            "held": ["read:formulary:*", "read:interactions:P-1042"], "is_held": false, "http_status": 403,
        })
    );
    let delegated = of_kind(&steps, "delegated");
    assert_eq!(field(delegated[0], "scope"), "write:prescriptions:P-1042");
    assert_eq!(field(delegated[0], "chain").as_array().unwrap().len(), 1);
    let allowed = of_kind(&steps, "tool_allowed");
    let written = allowed.last().unwrap();
    assert_eq!(written["rule"]["held"], json!(["write:prescriptions:P-1042"]));
    let prescription = field(written, "response");
    assert_eq!(&prescription["prescribed_by"], field(delegated[0], "to"));
    assert_eq!(&prescription["on_behalf_of"], field(delegated[0], "from"));
    let card = &of_kind(&steps, "token_validated").last().unwrap()["cards"][0];
    assert_eq!((&card["key"], &card["token_id"]), (&json!("delegated"), &prescription["token_id"]));
    let released = json!({"clinical": "released", "prescription": "released", "delegated": "released"});
    assert_eq!(card_states(&steps), released);
    assert_eq!(of_kind(&steps, "token_ended").len(), 2 + 3, "after each renewal and each release");
    page.scene.strike().await;
}

#[tokio::test]
async fn full_encounter_creates_three_agents_and_notes_moderate_interaction() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "full").await;
    let agents: Vec<_> = of_kind(&steps, "agent_created").iter().map(|step| step["agent"].clone()).collect();
    assert_eq!(agents, ["clinical", "billing", "prescription"]);
    let notes = page.ask("P-1042", "read the notes").await;
    let notes = field(of_kind(&notes, "tool_allowed")[0], "response").clone();
    assert_eq!(notes[0]["text"], "seen today, ankles less swollen.");
    assert_eq!(
        notes[1]["text"],
        "ramipril prescribed with metformin: may lower the blood glucose (moderate interaction)."
    );
    page.scene.strike().await;
}

#[tokio::test]
async fn billing_files_claim_for_open_invoice() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "billing").await;
    assert!(of_kind(&steps, "tool_refused").is_empty());
    let claim = field(of_kind(&steps, "tool_allowed").last().unwrap(), "response").clone();
    assert_eq!((&claim["invoice_id"], &claim["insurer_cents"]), (&json!("I-88096"), &json!(305_600)));
    let again = scenario(&page, "billing").await;
    assert_eq!(of_kind(&again, "tool_refused")[0]["rule"]["http_status"], 409);
    page.scene.strike().await;
}

#[tokio::test]
async fn severe_interaction_is_refused_by_hospital_despite_delegation() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "interaction").await;
    let refused = of_kind(&steps, "tool_refused");
    let statuses: Vec<_> = refused.iter().map(|step| step["rule"]["http_status"].clone()).collect();
    assert_eq!(statuses, [403, 409]);
    let detail = field(refused[1], "response").as_str().unwrap();
    assert!(detail.contains("warfarin") && detail.contains("severe interaction"), "{detail}");
    page.scene.strike().await;
}

#[tokio::test]
async fn another_patients_data_is_refused_with_rule_and_delegation_too() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "other-patient").await;
    let refused: Vec<_> = of_kind(&steps, "tool_refused").iter().map(|step| step["rule"]["needed"].clone()).collect();
    assert_eq!(refused, ["read:labs:P-2077", "read:interactions:P-2077", "write:prescriptions:P-2077"]);
    let refusal = of_kind(&steps, "delegation_refused");
    assert_eq!(field(refusal[0], "scope"), "write:prescriptions:P-2077");
    assert!(of_kind(&steps, "delegated").is_empty());
    page.scene.strike().await;
}

#[tokio::test]
async fn unknown_patient_gets_no_agent() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "unknown-patient").await;
    assert_eq!(kinds(&steps), [("patient_unknown", "warning"), ("complete", "info")]);
    let overview = page.get("/api/operator").await.json();
    assert_eq!(overview["tokens"], json!([]));
    let audit = page.get("/api/audit").await.json();
    let registered = audit["events"].as_array().unwrap().iter().any(|event| event["event_type"] == "agent_registered");
    assert!(!registered, "no agent was ever registered");
    page.scene.strike().await;
}

#[tokio::test]
async fn takeover_ends_with_revocation_of_chain() {
    let page = Page::with_planner().await;
    let steps = scenario(&page, "takeover").await;
    let takeover: Vec<_> = of_kind(&steps, "takeover").iter().map(|step| step["rule"]["http_status"].clone()).collect();
    assert_eq!(takeover, [200, 403], "the stolen token works for its patient, and for no other");
    assert_eq!(field(of_kind(&steps, "revoked")[0], "tokens revoked"), 2);
    assert_eq!(of_kind(&steps, "renewal_refused")[0]["status"], "success");
    let states =
        json!({"clinical": "revoked", "delegated": "revoked", "prescription": "released", "billing": "released"});
    assert_eq!(card_states(&steps), states);
    assert!(steps.iter().all(|step| step["status"] != "error"), "{steps:#?}");
    page.scene.strike().await;
}

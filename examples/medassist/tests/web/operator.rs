//! The operator's requests.

use serde_json::json;

use crate::page::{Page, card_states};

#[tokio::test]
async fn agents_left_live_are_listed_previewed_and_revoked() {
    let page = Page::with_planner().await;
    let request = json!({"patient_id": "P-1042", "request": "labs, and prescribe furosemide", "keep_agents": true});
    let (id, steps) = page.play(&request).await;
    let live = json!({"clinical": "live", "prescription": "live", "delegated": "live"});
    assert_eq!(card_states(&steps), live);
    assert_eq!(page.get(&format!("/api/encounters/{id}/cards")).await.json(), live);

    let overview = page.get("/api/operator").await.json();
    assert_eq!((overview["tokens"].as_array().unwrap().len(), &overview["health"]["status"]), (3, &json!("ok")));
    assert_eq!(overview["app"]["scopes"].as_array().unwrap().len(), 13);
    let tokens = overview["tokens"].as_array().unwrap();
    let own = |token: &&serde_json::Value| {
        token["task_id"].as_str().unwrap().starts_with("clinical-P-1042-") && token["delegated_by"].is_null()
    };
    let clinical = tokens.iter().find(own).unwrap();
    let mut revocation = json!({"level": "chain", "target": clinical["sub"], "reason": "drill", "dry_run": true});
    let preview = page.post("/api/revocations", &revocation).await.json();
    assert_eq!(preview, json!({"known": true, "dry_run": true, "tokens": 2, "agents": 2, "tasks": 1}));
    assert_eq!(page.get(&format!("/api/encounters/{id}/cards")).await.json(), live);

    revocation["dry_run"] = json!(false);
    let revoked = page.post("/api/revocations", &revocation).await.json();
    assert_eq!((&revoked["known"], &revoked["tokens"]), (&json!(true), &json!(2)));
    let after = json!({"clinical": "revoked", "prescription": "live", "delegated": "revoked"});
    assert_eq!(page.get(&format!("/api/encounters/{id}/cards")).await.json(), after);
    page.scene.strike().await;
}

#[tokio::test]
async fn released_agents_hold_no_live_token() {
    let page = Page::with_planner().await;
    page.ask("P-1042", "labs, and prescribe furosemide").await;
    assert_eq!(page.get("/api/operator").await.json()["tokens"], json!([]));
    page.scene.strike().await;
}

#[tokio::test]
async fn rejects_malformed_revocation_and_unknown_encounter() {
    let page = Page::with_planner().await;
    for (body, status) in [
        (json!({"level": "session", "target": "x"}), 400),
        (json!({"level": "agent", "target": "<img src=x>"}), 400),
        (json!({"level": "task", "target": "t", "reason": "x".repeat(513)}), 400),
        (json!({"level": "task", "target": "t", "all": true}), 400),
        (json!([]), 400),
        (json!({"level": "task", "target": "unknown"}), 200),
    ] {
        assert_eq!(page.post("/api/revocations", &body).await.status, status, "{body}");
    }
    assert_eq!(page.get("/api/encounters/none/cards").await.status, 404);
    page.scene.strike().await;
}

#[tokio::test]
async fn audit_is_whole_trail_from_first_event() {
    let page = Page::with_planner().await;
    page.ask("P-1042", "labs").await;
    let audit = page.get("/api/audit").await.json();
    let events = audit["events"].as_array().unwrap();
    assert_eq!(events[0]["id"], "evt-000001");
    assert_eq!(audit["total"], events.len());
    for pair in events.windows(2) {
        assert_eq!(pair[1]["prev_hash"], pair[0]["hash"]);
    }
    page.scene.strike().await;
}

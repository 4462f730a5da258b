//! Revocations that wait for their confirmation.

use std::time::Duration;

use agentwrit_verify::report::Report;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    openapi::walk::{ADMIN_SECRET, Answer, Walk},
    reports::{key, report, send, start},
};

/// Limit for what happens at once.
const SOON: Duration = Duration::from_secs(10);

/// Requests the revocation of a token, and its confirmation within 25 s.
async fn revoke(walk: &Walk, admin: &str, jti: &str, more: &str) -> Answer {
    let body = json!({"level": "token", "target": jti, "wait": 25, "more": more}).to_string();
    walk.send("POST", "/v1/revoke", Some(admin), Some(body.into())).await
}

/// Returns the id of another token of the operator.
async fn other_token(walk: &Walk) -> String {
    let login = json!({"secret": ADMIN_SECRET}).to_string();
    let token = walk.send("POST", "/v1/admin/auth", None, Some(login.into())).await.text("access_token");
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn request_with_large_body_gives_its_place_back_before_it_waits() {
    let (walk, admin) = start().await;
    assert_eq!(send(&walk, report(&walk, 1).sign(&key())).await.0, 204);
    let target = other_token(&walk).await;
    let padding = "x".repeat(200_000);
    let confirm = async {
        while walk.services.confirmations.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let places = walk.services.pools.large_bodies();
        assert_eq!(send(&walk, report(&walk, 2).sign(&key())).await.0, 204);
        places
    };
    let both = async { tokio::join!(revoke(&walk, &admin, &target, &padding), confirm) };
    let (revoked, places) = timeout(SOON, both).await.unwrap();
    assert_eq!((revoked.status, &revoked.json()["confirmation"]["state"]), (200, &json!("confirmed")));
    assert_eq!(places, 0);
}

#[tokio::test]
async fn unknown_target_has_present_state_at_once_and_records_no_confirmation() {
    let (walk, admin) = start().await;
    let first: Report = report(&walk, 1);
    assert_eq!(send(&walk, first.sign(&key())).await.0, 204);
    let unknown = async || timeout(SOON, revoke(&walk, &admin, &"0".repeat(32), "")).await.unwrap().json();
    let nothing = unknown().await;
    assert_eq!((&nothing["revoked"], &nothing["confirmation"]["state"]), (&json!(false), &json!("confirmed")));

    let body = json!({"level": "token", "target": other_token(&walk).await}).to_string();
    assert_eq!(walk.send("POST", "/v1/revoke", Some(&admin), Some(body.into())).await.json()["revoked"], true);
    let pending = unknown().await;
    assert_eq!((&pending["revoked"], &pending["confirmation"]["state"]), (&json!(false), &json!("pending")));
    assert_eq!(pending["confirmation"]["pending"].as_array().unwrap().len(), 1);
    let trail = walk.send("GET", "/v1/audit/events?event_type=revocation_confirmed", Some(&admin), None).await;
    assert_eq!(trail.json()["total"], 0, "{:#}", trail.json());
}

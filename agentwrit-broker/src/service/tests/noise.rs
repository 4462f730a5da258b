//! Refusals fold by the second, per type, source and subject.

use super::*;
use crate::audit::EventType;

async fn fail(desk: &Desk, client_id: &str) {
    let secret = Secret::new("wrong".to_owned());
    desk.services.logins.authenticate_app(CLIENT, client_id.to_owned(), secret).await.unwrap_err();
}

async fn denials(desk: &Desk, event_type: EventType) -> Vec<(Option<String>, String)> {
    let events = desk.trail().await.into_iter().filter(|event| event.event_type == event_type);
    events.map(|event| (event.resource, event.detail)).collect()
}

#[tokio::test]
async fn folds_six_failed_logins_into_two_events() {
    let desk = Desk::new().await;
    for _ in 0..6 {
        fail(&desk, "d-0123456789ab").await;
    }
    fail(&desk, "other-0123456789ab").await;
    desk.services.ledger.write_due_denials().await.unwrap();
    assert_eq!(desk.trail().await, [], "the second is not over");
    desk.clock.advance(Duration::from_secs(1));
    desk.services.ledger.write_due_denials().await.unwrap();

    let event = |client_id: &str, detail: &str| (Some(client_id.to_owned()), detail.to_owned());
    let failed = [
        event("d-0123456789ab", "app authentication failed from=192.0.2.7 count=3"),
        event("other-0123456789ab", "app authentication failed from=192.0.2.7"),
    ];
    assert_eq!(denials(&desk, EventType::AppAuthFailed).await, failed);
    let limited = [event("d-0123456789ab", "app authentication rate limited from=192.0.2.7 count=3")];
    assert_eq!(denials(&desk, EventType::AppRateLimited).await, limited);
}

#[tokio::test]
async fn event_leaves_out_malformed_client_id() {
    let desk = Desk::new().await;
    let secret = "ab".repeat(32);
    for client_id in [secret.as_str(), "x\nadmin=true", "D-0123456789ab", "d-0123456789AB", "-0123456789ab"] {
        fail(&desk, client_id).await;
    }
    desk.services.ledger.write_all_denials().await.unwrap();
    let folded = [(None, "app authentication failed from=192.0.2.7 count=5".to_owned())];
    assert_eq!(denials(&desk, EventType::AppAuthFailed).await, folded);
}

#[tokio::test]
async fn folds_denials_beyond_sixteen_names_of_one_address() {
    let desk = Desk::new().await;
    for number in 0..30 {
        fail(&desk, &format!("n-{number:012}")).await;
    }
    desk.services.ledger.write_all_denials().await.unwrap();
    let events = denials(&desk, EventType::AppAuthFailed).await;
    assert_eq!(events.len(), 17);
    assert_eq!(events[16], (None, "repeated denials from=192.0.2.7 count=14".to_owned()));
}

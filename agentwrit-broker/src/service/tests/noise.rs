//! Folding of denials by the second, per type, source and subject.

use super::*;
use crate::audit::EventType;

async fn fail(test: &TestServices, client_id: &str) {
    let secret = Secret::new("wrong".to_owned());
    test.services.logins.authenticate_app(CLIENT, client_id.to_owned(), secret).await.unwrap_err();
}

async fn denials(test: &TestServices, event_type: EventType) -> Vec<(Option<String>, String)> {
    let events = test.trail().await.into_iter().filter(|event| event.event_type == event_type);
    events.map(|event| (event.resource, event.detail)).collect()
}

#[tokio::test]
async fn folds_six_failed_logins_into_two_events() {
    let test = TestServices::new().await;
    for _ in 0..6 {
        fail(&test, "d-0123456789ab").await;
    }
    fail(&test, "other-0123456789ab").await;
    test.services.ledger.write_due_denials().await.unwrap();
    assert_eq!(test.trail().await, [], "the second is not over");
    test.clock.advance(Duration::from_secs(1));
    test.services.ledger.write_due_denials().await.unwrap();

    let event = |client_id: &str, detail: &str| (Some(client_id.to_owned()), detail.to_owned());
    let failed = [
        event("d-0123456789ab", "app authentication failed from=192.0.2.7 count=3"),
        event("other-0123456789ab", "app authentication failed from=192.0.2.7"),
    ];
    assert_eq!(denials(&test, EventType::AppAuthFailed).await, failed);
    let limited = [event("d-0123456789ab", "app authentication rate limited from=192.0.2.7 count=3")];
    assert_eq!(denials(&test, EventType::AppRateLimited).await, limited);
}

#[tokio::test]
async fn event_leaves_out_malformed_client_id() {
    let test = TestServices::new().await;
    let secret = "ab".repeat(32);
    for client_id in [secret.as_str(), "x\nadmin=true", "D-0123456789ab", "d-0123456789AB", "-0123456789ab"] {
        fail(&test, client_id).await;
    }
    test.services.ledger.write_all_denials().await.unwrap();
    let folded = [(None, "app authentication failed from=192.0.2.7 count=5".to_owned())];
    assert_eq!(denials(&test, EventType::AppAuthFailed).await, folded);
}

#[tokio::test]
async fn folds_denials_beyond_sixteen_names_of_one_address() {
    let test = TestServices::new().await;
    for number in 0..30 {
        fail(&test, &format!("n-{number:012}")).await;
    }
    test.services.ledger.write_all_denials().await.unwrap();
    let events = denials(&test, EventType::AppAuthFailed).await;
    assert_eq!(events.len(), 17);
    assert_eq!(events[16], (None, "repeated denials from=192.0.2.7 count=14".to_owned()));
}

//! Rotation of an app's secret.

use super::*;
use crate::{audit::EventType, domain::AppStatus};

impl TestServices {
    async fn log_in(&self, app: &App, secret: &Secret) -> Result<(), Error> {
        let secret = Secret::new(secret.expose().to_owned());
        self.services.logins.authenticate_app(CLIENT, app.client_id.clone(), secret).await.map(|_| ())
    }

    async fn rotate(&self, app: &App, overlap: u64) -> Result<Secret, Error> {
        let rotation = self.services.apps.rotate_secret(None, app.app_id.clone(), Some(overlap), CLIENT);
        rotation.await.map(|(_, secret)| secret)
    }

    async fn set_status(&self, app: &App, status: AppStatus) {
        self.services.apps.set_status(None, app.app_id.clone(), status, CLIENT).await.unwrap();
    }
}

#[tokio::test]
async fn accepts_both_secrets_until_overlap_ends() {
    let test = TestServices::new().await;
    let (app, first) = test.create_app().await;
    let second = test.rotate(&app, 60).await.unwrap();
    for secret in [&first, &second] {
        assert_eq!(test.log_in(&app, secret).await, Ok(()));
    }
    test.clock.advance(Duration::from_millis(59_999));
    assert_eq!(test.log_in(&app, &first).await, Ok(()));
    test.clock.advance(Duration::from_millis(1));
    assert_eq!(test.log_in(&app, &first).await, Err(Error::BadCredentials));
    assert_eq!(test.log_in(&app, &second).await, Ok(()));
}

#[tokio::test]
async fn rejects_former_secret_after_rotation_without_overlap() {
    let test = TestServices::new().await;
    let (app, first) = test.create_app().await;
    let second = test.rotate(&app, 0).await.unwrap();
    assert_eq!(test.log_in(&app, &first).await, Err(Error::BadCredentials));
    assert_eq!(test.log_in(&app, &second).await, Ok(()));
}

#[tokio::test]
async fn rejects_secret_before_former_one_during_overlap() {
    let test = TestServices::new().await;
    let (app, first) = test.create_app().await;
    let second = test.rotate(&app, 600).await.unwrap();
    let third = test.rotate(&app, 600).await.unwrap();
    assert_eq!(test.log_in(&app, &first).await, Err(Error::BadCredentials));
    for secret in [&second, &third] {
        assert_eq!(test.log_in(&app, secret).await, Ok(()));
    }
}

#[tokio::test]
async fn keeps_rotated_secret_over_update_suspension_and_restart() {
    let mut test = TestServices::new().await;
    let (app, first) = test.create_app().await;
    test.set_status(&app, AppStatus::Suspended).await;
    let second = test.rotate(&app, 600).await.unwrap();
    for secret in [&first, &second] {
        assert_eq!(test.log_in(&app, secret).await, Err(Error::BadCredentials));
    }
    test.set_status(&app, AppStatus::Active).await;
    let change = agentwrit_protocol::AppUpdateRequest { token_ttl: Some(60), ..Default::default() };
    test.services.apps.update(None, app.app_id.clone(), change, CLIENT).await.unwrap();
    test.restart_at(UnixTime::since_epoch(START + Duration::from_secs(10))).await;
    for secret in [&first, &second] {
        assert_eq!(test.log_in(&app, secret).await, Ok(()));
    }
}

#[tokio::test]
async fn rejects_rotation_for_deregistered_and_unknown_apps() {
    let test = TestServices::new().await;
    let (app, _) = test.create_app().await;
    test.set_status(&app, AppStatus::Inactive).await;
    assert_eq!(test.rotate(&app, 60).await.unwrap_err(), Error::AppUnknown);
    let unknown = agentwrit_verify::AppId::parse("app-other-0a1b2c").unwrap();
    let outcome = test.services.apps.rotate_secret(None, unknown, None, CLIENT).await;
    assert_eq!(outcome.unwrap_err(), Error::AppUnknown);
}

#[tokio::test]
async fn records_rotation_without_either_secret() {
    let test = TestServices::new().await;
    let (app, first) = test.create_app().await;
    let second = test.rotate(&app, 60).await.unwrap();
    let events = test.trail().await;
    let event = events.last().unwrap();
    assert_eq!((event.event_type, event.resource.as_deref()), (EventType::AppSecretRotated, Some(app.app_id.as_str())));
    assert!(event.detail.contains("overlap=60"), "{}", event.detail);
    let trail = format!("{events:?}");
    for secret in [first, second] {
        assert!(!trail.contains(secret.expose()));
    }
}

//! Logging in as an app.

use std::{net::IpAddr, sync::Arc};

use agentwrit_verify::{AppId, ScopeSet, Subject};

use super::{Error, apps::is_client_id};
use crate::{
    audit::{EventType, NewEvent},
    authority::{Authority, Grant, Issued},
    domain::{App, AppStatus, Digest},
    secret::Secret,
};

/// What an app's token allows.
pub(crate) const APP_SCOPES: [&str; 3] = ["app:launch-tokens:*", "app:agents:*", "app:audit:read"];

impl Authority {
    /// Exchanges client credentials for a token.
    pub(crate) async fn authenticate_app(
        self: &Arc<Self>,
        client: IpAddr,
        client_id: String,
        secret: Secret,
    ) -> Result<Issued, Error> {
        let outcome = self.try_authenticate_app(client, client_id.clone(), secret).await;
        let event = match &outcome {
            Err(Error::RateLimited { .. }) => Some((EventType::AppRateLimited, "app authentication rate limited")),
            Err(error) if error.is_denial() => Some((EventType::AppAuthFailed, "app authentication failed")),
            Ok(_) | Err(_) => None,
        };
        if let Some((event_type, detail)) = event {
            let event = NewEvent::denied(event_type, self.clock.now(), client, detail);
            self.deny(if is_client_id(&client_id) { event.resource(client_id) } else { event });
        }
        outcome
    }

    async fn try_authenticate_app(
        self: &Arc<Self>,
        client: IpAddr,
        client_id: String,
        secret: Secret,
    ) -> Result<Issued, Error> {
        self.limits.app_login(&client_id, client, self.clock.monotonic())?;
        let found = self.store.read(move |reader| reader.app_by_client_id(&client_id)).await?;
        let app_id = accept(found.as_ref(), &secret)?.app_id.clone();
        let scope = ScopeSet::parse(APP_SCOPES).map_err(|error| Error::invalid("scope", error.to_string()))?;
        let draft = self
            .transact(move |authority, tx| {
                // As it is now: the app may have been deregistered since it was read.
                let app = tx.app(&app_id)?.filter(|app| app.status == AppStatus::Active);
                let app = app.ok_or(Error::BadCredentials)?;
                let now = authority.issue_time(tx, &Subject::App(app_id).to_string())?;
                let draft = authority.draft(grant(&app, authority.policy.clamp(app.token_ttl), scope), now);
                tx.insert_token(&draft.as_record())?;
                authority.record(tx, authenticated(&app.app_id, now, client).word("jti", draft.claims.jti))?;
                Ok(draft)
            })
            .await?;
        Ok(self.sign(&draft))
    }
}

/// Whether the secret is that of an active app. The three ways to fail do the same work and say the same.
fn accept<'a>(found: Option<&'a App>, secret: &Secret) -> Result<&'a App, Error> {
    let offered = Digest::of(secret.expose().as_bytes());
    let expected = found.map_or(Digest::from_bytes([0; 32]), |app| app.secret_digest);
    let right_secret = offered == expected;
    found.filter(|app| app.status == AppStatus::Active && right_secret).ok_or(Error::BadCredentials)
}

fn grant(app: &App, ttl: u64, scope: ScopeSet) -> Grant {
    let app_id = app.app_id.clone();
    Grant { subject: Subject::App(app_id.clone()), scope, ttl, app_id: Some(app_id), task_id: None, orch_id: None }
}

fn authenticated(app_id: &AppId, now: agentwrit_verify::UnixTime, client: IpAddr) -> NewEvent {
    NewEvent::success(EventType::AppAuthenticated, now, app_id, "app authenticated").from(client)
}

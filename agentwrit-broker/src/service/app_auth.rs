//! Logging in as an app.

use std::{net::IpAddr, sync::Arc};

use agentwrit_verify::{AppId, ScopeSet, Subject};

use super::{Error, apps::is_client_id};
use crate::{
    audit::{EventType, NewEvent},
    authority::{Authority, Grant, Issued},
    domain::{App, AppStatus, Digest},
    limits::{budgets::Spending, logins::Login},
    secret::{Secret, is_secret_shaped},
};

/// How much of a text that is not a client id an event shows, in characters.
const LONGEST_SHOWN: usize = 32;

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
            let limited = event_type == EventType::AppRateLimited;
            let tried = if limited { self.nameable(&client_id) } else { Some(client_id).filter(|id| is_client_id(id)) };
            self.deny(match tried {
                Some(tried) => event.resource(tried),
                None => event,
            });
        }
        outcome
    }

    /// The id that a rate-limited client tried, so that its operator finds the client: also one that is not of the form
    /// of a client id, cut and sanitised, unless it may be a secret in the wrong place.
    fn nameable(&self, client_id: &str) -> Option<String> {
        if is_client_id(client_id) {
            return Some(client_id.to_owned());
        }
        let is_secret = is_secret_shaped(client_id)
            || self.admin_secret.verify_at_once(&Secret::new(client_id.to_owned())) == Some(true);
        (!is_secret).then(|| shown(client_id))
    }

    async fn try_authenticate_app(
        self: &Arc<Self>,
        client: IpAddr,
        client_id: String,
        secret: Secret,
    ) -> Result<Issued, Error> {
        let refused = |retry_after| self.login_refused("failed_app_logins", retry_after);
        self.limits.may_try_app_login(&client_id, client, self.clock.monotonic()).map_err(refused)?;
        let tried = client_id.clone();
        let found = self.store.read(move |reader| reader.app_by_client_id(&tried)).await?;
        let accepted = accept(found.as_ref(), &secret);
        // Whether the secret is right must not show before the limit has been asked.
        let login = Login::of(accepted.is_ok());
        self.limits.app_login(&client_id, client, login, self.clock.monotonic()).map_err(refused)?;
        let app_id = accepted?.app_id.clone();
        let spending = Spending::app_login(&app_id, client);
        self.check_budgets(&spending)?;
        let scope = ScopeSet::parse(APP_SCOPES).map_err(|error| Error::invalid("scope", error.to_string()))?;
        let draft = self
            .transact(move |authority, tx| {
                // As it is now: the app may have been deregistered since it was read.
                let app = tx.app(&app_id)?.filter(|app| app.status == AppStatus::Active);
                let app = app.ok_or(Error::BadCredentials)?;
                let now = authority.issue_time(tx, &Subject::App(app_id).to_string())?;
                authority.spend(&spending)?;
                let draft = authority.draft(grant(&app, authority.policy.clamp(app.token_ttl), scope), now);
                tx.insert_token(&draft.as_record())?;
                authority.record(tx, authenticated(&app.app_id, now, client).word("jti", draft.claims.jti))?;
                Ok(draft)
            })
            .await?;
        Ok(self.sign(&draft))
    }
}

/// The beginning of a text that is not a client id, without what a log must not hold.
fn shown(text: &str) -> String {
    let shown = text.chars().map(|char| if char.is_ascii_graphic() { char } else { '?' });
    shown.take(LONGEST_SHOWN).collect()
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

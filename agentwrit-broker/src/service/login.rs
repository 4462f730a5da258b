//! Logging in as the operator and as an app.

use std::{net::IpAddr, sync::Arc};

use agentwrit_verify::{AppId, ScopeSet, Subject, UnixTime};

use super::{
    Error, Parts,
    apps::is_client_id,
    checks::{issue_time, spend},
};
use crate::{
    audit::{EventType, NewEvent},
    domain::{App, AppStatus, Digest},
    issuer::{Grant, Issued, Issuer},
    keys::{AdminSecret, Secret, is_secret_shaped},
    ledger::Ledger,
    limits::{
        budgets::{Budgets, Spending},
        logins::{Login, LoginLimits},
        rate_limit::RetryAfter,
    },
    store::Wants,
    telemetry::metrics::{Metrics, Status},
};

/// Scopes of the operator's token.
pub(crate) const ADMIN_SCOPES: [&str; 7] = [
    "admin:launch-tokens:*",
    "admin:revoke:*",
    "admin:audit:*",
    "admin:keys:*",
    "admin:verifiers:*",
    "admin:agents:*",
    "admin:trust-rules:*",
];

/// Scopes of an app's token.
pub(crate) const APP_SCOPES: [&str; 3] = ["app:launch-tokens:*", "app:agents:*", "app:audit:read"];

/// Length of a malformed client id in an event, in characters.
const LONGEST_SHOWN: usize = 32;

/// Exchanges secrets for tokens.
#[derive(Debug)]
pub(crate) struct LoginService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    budgets: Arc<Budgets>,
    limits: LoginLimits,
    admin_secret: AdminSecret,
    metrics: Arc<Metrics>,
}

impl LoginService {
    pub(super) fn new(parts: Parts, admin_secret: AdminSecret) -> Self {
        let Parts { issuer, ledger, budgets, metrics, .. } = parts;
        Self { issuer, ledger, budgets, metrics, limits: LoginLimits::default(), admin_secret }
    }

    /// Exchanges the admin secret for a token.
    pub(crate) async fn authenticate_admin(self: &Arc<Self>, client: IpAddr, secret: Secret) -> Result<Issued, Error> {
        self.authenticate_admin_for(client, secret, self.issuer.policy().admin_token_ttl).await
    }

    /// Exchanges the admin secret for a token of another lifetime, in seconds, which does not leave the broker.
    pub(crate) async fn authenticate_admin_for(
        self: &Arc<Self>,
        client: IpAddr,
        secret: Secret,
        ttl: u64,
    ) -> Result<Issued, Error> {
        if !self.is_admin_secret(client, &secret).await? {
            self.metrics.admin_auth(Status::Failure);
            let now = self.ledger.now();
            self.ledger.deny(NewEvent::denied(EventType::AdminAuthFailed, now, client, "admin authentication failed"));
            return Err(Error::BadCredentials);
        }
        let spending = Spending::admin_login(client);
        self.budgets.check(&spending)?;
        let issued = self.issue_operators_token(client, Some(spending), ttl).await?;
        self.metrics.admin_auth(Status::Success);
        Ok(issued)
    }

    /// Compares the secret and counts the attempt against the limits: see [`limits`](crate::limits::logins).
    async fn is_admin_secret(&self, client: IpAddr, secret: &Secret) -> Result<bool, Error> {
        let now = self.ledger.monotonic();
        let refused = |retry_after| self.login_refused("failed_admin_logins", retry_after);
        if let Some(right) = self.admin_secret.verify_at_once(secret) {
            self.limits.admin_login(client, Login::of(right), now).map_err(refused)?;
            return Ok(right);
        }
        // A slow comparison is counted as a failed attempt while it runs, so that many at once can't exceed the limit.
        self.limits.admin_login(client, Login::Wrong, now).map_err(refused)?;
        let outcome = self.admin_secret.verify(secret, client).await;
        if outcome != Ok(false) {
            self.limits.forgive_admin_login(client);
        }
        outcome.map_err(|_| Error::Overloaded)
    }

    /// Issues a token of the operator's without a login.
    pub(crate) async fn issue_admin_token(self: &Arc<Self>, client: IpAddr) -> Result<Issued, Error> {
        self.issue_operators_token(client, None, self.issuer.policy().admin_token_ttl).await
    }

    async fn issue_operators_token(
        self: &Arc<Self>,
        client: IpAddr,
        spending: Option<Spending>,
        ttl: u64,
    ) -> Result<Issued, Error> {
        let scope = ScopeSet::parse(ADMIN_SCOPES).map_err(|error| Error::invalid("scope", error.to_string()))?;
        let ttl = self.issuer.policy().clamp(ttl);
        let grant = Grant { subject: Subject::Admin, scope, ttl, app_id: None, task_id: None, orch_id: None };
        let service = Arc::clone(self);
        let draft = self.issuer.draft(grant, self.ledger.now());
        let wants = Wants::none().mark(&Subject::Admin.to_string());
        let wants = wants.event(EventType::AdminAuth, &Subject::Admin, None, None);
        let draft = self
            .ledger
            .transact_with(wants, move |tx| {
                let now = issue_time(tx, &Subject::Admin.to_string(), tx.now())?;
                spending.map_or(Ok(()), |spending| spend(tx, &service.budgets, spending))?;
                let draft = draft.issued_at(now);
                let draft = service.issuer.insert(tx, draft)?;
                let event = NewEvent::success(EventType::AdminAuth, now, &Subject::Admin, "admin authenticated")
                    .word("jti", draft.claims.jti)
                    .from(client);
                service.ledger.record(tx, event)?;
                Ok::<_, Error>(draft)
            })
            .await?;
        Ok(self.issuer.sign(&draft))
    }

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
            let event = NewEvent::denied(event_type, self.ledger.now(), client, detail);
            let limited = event_type == EventType::AppRateLimited;
            let tried = if limited { self.nameable(&client_id) } else { Some(client_id).filter(|id| is_client_id(id)) };
            self.ledger.deny(match tried {
                Some(tried) => event.resource(tried),
                None => event,
            });
        }
        outcome
    }

    /// Counts an attempt that one of [`limits`](crate::limits::logins) rejects.
    fn login_refused(&self, limit: &'static str, retry_after: RetryAfter) -> Error {
        self.metrics.rate_limited(limit);
        Error::RateLimited { retry_after }
    }

    /// Returns the id that a rate-limited client tried, so that its operator finds the client: also a malformed one, cut and
    /// sanitised, unless it may be a secret in the wrong member.
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
        self.limits.may_try_app_login(&client_id, client, self.ledger.monotonic()).map_err(refused)?;
        let tried = client_id.clone();
        let found = self.ledger.read(move |reader| reader.app_by_client_id(&tried)).await?;
        let offered = Digest::of(secret.expose().as_bytes());
        let accepted = accept(found.as_ref(), &offered, self.ledger.now());
        // The limit comes first: a rate-limited response must not depend on the secret.
        let login = Login::of(accepted.is_ok());
        self.limits.app_login(&client_id, client, login, self.ledger.monotonic()).map_err(refused)?;
        let app_id = accepted?.app_id.clone();
        let spending = Spending::app_login(&app_id, client);
        self.budgets.check(&spending)?;
        let scope = ScopeSet::parse(APP_SCOPES).map_err(|error| Error::invalid("scope", error.to_string()))?;
        let service = Arc::clone(self);
        let subject = Subject::App(app_id.clone());
        let wants = Wants::none().app(&app_id).mark(&subject.to_string());
        let wants = wants.event(EventType::AppAuthenticated, &subject, None, None);
        let draft = self
            .ledger
            .transact_with(wants, move |tx| {
                // As it is now: the app may have been deregistered, or its secret rotated, since it was read.
                let app = tx.app(&app_id)?;
                let app = accept(app.as_ref(), &offered, tx.latest_now())?;
                let now = issue_time(tx, &subject.to_string(), tx.now())?;
                spend(tx, &service.budgets, spending)?;
                let draft = service.issuer.draft(grant(app, service.issuer.policy().clamp(app.token_ttl), scope), now);
                let draft = service.issuer.insert(tx, draft)?;
                service.ledger.record(tx, authenticated(&app.app_id, now, client).word("jti", draft.claims.jti))?;
                Ok::<_, Error>(draft)
            })
            .await?;
        Ok(self.issuer.sign(&draft))
    }
}

/// Returns the beginning of a malformed client id, with `?` in place of characters that a log must not hold.
fn shown(text: &str) -> String {
    let shown = text.chars().map(|char| if char.is_ascii_graphic() { char } else { '?' });
    shown.take(LONGEST_SHOWN).collect()
}

/// Checks that the secret is that of an active app. The three ways to fail do the same work and return the same error.
fn accept<'a>(found: Option<&'a App>, offered: &Digest, now: UnixTime) -> Result<&'a App, Error> {
    // An unknown app compares as often as a known one.
    let nothing = Digest::from_bytes([0; 32]);
    let compare_twice = || [nothing, nothing].map(|digest| digest == *offered).contains(&true);
    let right_secret = found.map_or_else(compare_twice, |app| app.accepts_secret(offered, now));
    found.filter(|app| app.status == AppStatus::Active && right_secret).ok_or(Error::BadCredentials)
}

fn grant(app: &App, ttl: u64, scope: ScopeSet) -> Grant {
    let app_id = app.app_id.clone();
    Grant { subject: Subject::App(app_id.clone()), scope, ttl, app_id: Some(app_id), task_id: None, orch_id: None }
}

fn authenticated(app_id: &AppId, now: UnixTime, client: IpAddr) -> NewEvent {
    NewEvent::success(EventType::AppAuthenticated, now, app_id, "app authenticated").from(client)
}

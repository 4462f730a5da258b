//! Logging in as the operator.

use std::{net::IpAddr, sync::Arc};

use agentwrit_verify::{ScopeSet, Subject};

use super::Error;
use crate::{
    audit::{EventType, NewEvent},
    authority::{Authority, Grant, Issued},
    limits::{budgets::Spending, logins::Login},
    secret::Secret,
    telemetry::metrics::Status,
};

/// What the operator's token allows.
pub(crate) const ADMIN_SCOPES: [&str; 3] = ["admin:launch-tokens:*", "admin:revoke:*", "admin:audit:*"];

impl Authority {
    /// Exchanges the admin secret for a token.
    pub(crate) async fn authenticate_admin(self: &Arc<Self>, client: IpAddr, secret: Secret) -> Result<Issued, Error> {
        if !self.is_admin_secret(client, &secret).await? {
            self.metrics.admin_auth(Status::Failure);
            let now = self.clock.now();
            self.deny(NewEvent::denied(EventType::AdminAuthFailed, now, client, "admin authentication failed"));
            return Err(Error::BadCredentials);
        }
        let spending = Spending::admin_login(client);
        self.check_budgets(&spending)?;
        let issued = self.issue_operators_token(client, Some(spending)).await?;
        self.metrics.admin_auth(Status::Success);
        Ok(issued)
    }

    /// Compares the secret and counts the attempt: see [`limits`](crate::limits::logins).
    async fn is_admin_secret(&self, client: IpAddr, secret: &Secret) -> Result<bool, Error> {
        let now = self.clock.monotonic();
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

    /// A token of the operator's, without a login.
    pub(crate) async fn issue_admin_token(self: &Arc<Self>, client: IpAddr) -> Result<Issued, Error> {
        self.issue_operators_token(client, None).await
    }

    async fn issue_operators_token(
        self: &Arc<Self>,
        client: IpAddr,
        spending: Option<Spending>,
    ) -> Result<Issued, Error> {
        let scope = ScopeSet::parse(ADMIN_SCOPES).map_err(|error| Error::invalid("scope", error.to_string()))?;
        let ttl = self.policy.clamp(self.policy.admin_token_ttl);
        let grant = Grant { subject: Subject::Admin, scope, ttl, app_id: None, task_id: None, orch_id: None };
        let draft = self
            .transact(move |authority, tx| {
                let now = authority.issue_time(tx, &Subject::Admin.to_string())?;
                spending.map_or(Ok(()), |spending| authority.spend(&spending))?;
                let draft = authority.draft(grant, now);
                tx.insert_token(&draft.as_record())?;
                let event = NewEvent::success(EventType::AdminAuth, now, &Subject::Admin, "admin authenticated")
                    .word("jti", draft.claims.jti)
                    .from(client);
                authority.record(tx, event)?;
                Ok(draft)
            })
            .await?;
        Ok(self.sign(&draft))
    }
}

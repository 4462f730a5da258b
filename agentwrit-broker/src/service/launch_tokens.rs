//! Launch tokens: permissions to register agents.

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentwrit_protocol::{LaunchTokenRequest, Secret, limits::DEFAULT_LAUNCH_TOKEN_TTL};
use agentwrit_verify::{AppId, Subject, UnixTime};
use data_encoding::HEXLOWER;

use super::{
    Bearer, Error, Parts,
    checks::{spend, transact_as},
    recent_launch_tokens::RecentLaunchTokens,
};
use crate::{
    audit::{EventType, NewEvent},
    domain::{App, AppStatus, Digest, LaunchToken, LaunchTokenId},
    issuer::Issuer,
    ledger::Ledger,
    limits::budgets::{Budgets, Spending},
    store::{Tx, Wants},
    telemetry::metrics::Metrics,
};

/// Issues and deletes launch tokens.
#[derive(Debug)]
pub(crate) struct LaunchTokenService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    budgets: Arc<Budgets>,
    recent: Arc<RecentLaunchTokens>,
    metrics: Arc<Metrics>,
}

impl LaunchTokenService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, budgets, recent_launch_tokens: recent, metrics, .. } = parts;
        Self { issuer, ledger, budgets, recent, metrics }
    }

    /// Issues a launch token. The secret is in the result and nowhere else. Without a `bearer` the broker itself requests it.
    pub(crate) async fn issue(
        self: &Arc<Self>,
        creator: Subject,
        bearer: Option<Bearer>,
        request: LaunchTokenRequest,
        client: IpAddr,
    ) -> Result<(LaunchToken, Secret), Error> {
        let secret = Secret::new(HEXLOWER.encode(&self.issuer.random::<32>()));
        let token = self.draft(creator.clone(), request, &secret);
        let allowed = self.issuer.policy().check_binding(token.sender_constrained);
        let outcome = match allowed.and_then(|()| Ok(self.budgets.check(&Spending::launch_token(&creator))?)) {
            Ok(()) => self.store(token, bearer, client).await,
            Err(rejected) => Err(rejected),
        };
        match outcome {
            Ok(token) => {
                self.metrics.launch_token_created();
                self.recent.insert(&token);
                Ok((token, secret))
            }
            Err(error) => {
                self.deny(&creator, &error, client);
                Err(error)
            }
        }
    }

    async fn store(
        self: &Arc<Self>,
        token: LaunchToken,
        bearer: Option<Bearer>,
        client: IpAddr,
    ) -> Result<LaunchToken, Error> {
        let service = Arc::clone(self);
        let event = EventType::LaunchTokenIssued;
        let wants = Wants::none().launch_token(token.id);
        let wants = wants.event(event, &token.created_by, token.task_id.as_ref(), None);
        let wants = match as_app(&token.created_by) {
            Some(app_id) => wants.app(app_id),
            None => wants,
        };
        let minted_in = bearer.as_ref().map(|bearer| bearer.session_id());
        transact_as(&self.ledger, &self.issuer, bearer, wants, move |tx, now| {
            let app = app_of(tx, &token.created_by)?;
            allow(&token, app.as_ref())?;
            let lifetime = token.expires_at.saturating_since(token.created_at);
            let (id, expires_at) = (service.free_id(tx, token.id)?, now.saturating_add(lifetime));
            let app_requires = app.is_some_and(|app| app.sender_constrained);
            let sender_constrained = service.issuer.policy().binds(token.sender_constrained || app_requires);
            let token = LaunchToken { id, created_at: now, expires_at, minted_in, sender_constrained, ..token };
            spend(tx, &service.budgets, Spending::launch_token(&token.created_by))?;
            tx.insert_launch_token(&token)?;
            service.ledger.record(tx, issued_event(&token, client))?;
            Ok(token)
        })
        .await
    }

    /// Deletes a launch token: no agent can register with it any more.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        by: Subject,
        bearer: Option<Bearer>,
        id: LaunchTokenId,
        client: IpAddr,
    ) -> Result<(), Error> {
        let service = Arc::clone(self);
        let wants = Wants::none().launch_token(id).event(EventType::TokenRevoked, &by, None, None);
        transact_as(&self.ledger, &self.issuer, bearer, wants, move |tx, now| {
            if !tx.delete_launch_token(id)? {
                return Err(Error::NoSuchLaunchToken);
            }
            let event = NewEvent::success(EventType::TokenRevoked, now, &by, "launch token deleted");
            Ok(service.ledger.record(tx, event.resource(id).word("launch_token_id", id).from(client))?)
        })
        .await
    }

    /// Audits a rejected request for a launch token, also one that could not be read.
    pub(crate) fn deny(&self, creator: &Subject, error: &Error, client: IpAddr) {
        if !error.is_denial() {
            return;
        }
        let event_type = if matches!(error, Error::ExceedsCeiling { .. }) {
            EventType::ScopeCeilingExceeded
        } else {
            EventType::LaunchTokenDenied
        };
        let event = NewEvent::denied(event_type, self.ledger.now(), creator, "launch token refused").from(client);
        self.ledger.deny(match error.scope() {
            Some(scope) => event.word("scope", scope),
            None => event.word("reason", error),
        });
    }

    /// Returns `id`, or another one if a launch token has it already.
    pub(super) fn free_id(&self, tx: &Tx<'_>, mut id: LaunchTokenId) -> Result<LaunchTokenId, Error> {
        while tx.has_launch_token(id)? {
            id = LaunchTokenId::issued_at(tx.now(), self.issuer.random());
        }
        Ok(id)
    }

    fn draft(&self, created_by: Subject, request: LaunchTokenRequest, secret: &Secret) -> LaunchToken {
        let app_id = as_app(&created_by).cloned();
        let epoch = UnixTime::default();
        LaunchToken {
            id: LaunchTokenId::issued_at(self.ledger.now(), self.issuer.random()),
            digest: Digest::of(secret.expose().as_bytes()),
            agent_name: request.agent_name,
            allowed_scope: request.allowed_scope,
            max_ttl: self.issuer.policy().clamp(request.max_ttl.unwrap_or(self.issuer.policy().default_ttl)),
            single_use: request.single_use,
            sender_constrained: request.sender_constrained,
            created_at: epoch,
            expires_at: epoch.saturating_add(Duration::from_secs(request.ttl.unwrap_or(DEFAULT_LAUNCH_TOKEN_TTL))),
            created_by,
            app_id,
            orch_id: request.orch_id,
            task_id: request.task_id,
            consumed_at: None,
            minted_in: None,
        }
    }
}

/// Checks the scope: the operator may allow any, an active app one within its ceiling.
fn allow(token: &LaunchToken, app: Option<&App>) -> Result<(), Error> {
    if token.app_id.is_none() {
        return Ok(());
    }
    let app = app.filter(|app| app.status == AppStatus::Active).ok_or(Error::AppInactive)?;
    match app.scopes.first_uncovered(&token.allowed_scope) {
        Some(scope) => Err(Error::ExceedsCeiling { scope: scope.clone() }),
        None => Ok(()),
    }
}

fn app_of(tx: &Tx<'_>, creator: &Subject) -> Result<Option<App>, Error> {
    Ok(match as_app(creator) {
        Some(app_id) => tx.app(app_id)?,
        None => None,
    })
}

fn as_app(subject: &Subject) -> Option<&AppId> {
    match subject {
        Subject::App(app_id) => Some(app_id),
        Subject::Agent(_) | Subject::Admin => None,
    }
}

fn issued_event(token: &LaunchToken, client: IpAddr) -> NewEvent {
    NewEvent::success(EventType::LaunchTokenIssued, token.created_at, &token.created_by, "launch token issued")
        .task(token.task_id.clone())
        .orch(token.orch_id.clone())
        .word("launch_token_id", token.id)
        .word("agent_name", &token.agent_name)
        .word("allowed_scope", &token.allowed_scope)
        .word("max_ttl", token.max_ttl)
        .word("sender_constrained", token.sender_constrained)
        .from(client)
}

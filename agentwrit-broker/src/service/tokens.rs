//! Renewing and releasing: a holder exchanges its token for a fresh one, or gives it up before it expires.
//!
//! 1. The old token ends and the new one is recorded in one transaction: of several renewals of one token exactly one
//!    succeeds.
//! 2. Nothing grows: same subject, scope, task, audience, session and chain, and the lifetime of the first token.
//! 3. A delegated token never outlives its chain, and no session the operator's ceiling.
//! 4. The apps behind it, of the agent itself and of each delegator, are looked at as they are now.
//! 5. A session has a budget of renewals: see [`budgets`](crate::limits::budgets).
//! 6. Releasing a token again changes nothing.
//! 7. The renewal of a bound token is bound, and that of another one if it has to be by now: see [`binding`](super::binding).

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentwrit_verify::{ClaimSet, Claims, Level, MAX_TOKEN_LENGTH, SenderConstraint, Subject, TokenId, UnixTime};

use super::{
    Bearer, Error, Parts,
    active_agents::ActiveAgents,
    binding::{sender_constraint, with_key},
    checks::{check_ceiling, check_ceilings_of, live_token, spend},
};
use crate::{
    audit::{EventType, NewEvent},
    domain::{AppStatus, IssuedToken, Revocation},
    feed::FeedPublisher,
    issuer::{Draft, Issued, Issuer, Policy, RecordedDraft},
    ledger::Ledger,
    limits::budgets::{Budgets, Spending},
    store::{Tx, Wants},
};

/// Renews and releases tokens.
#[derive(Debug)]
pub(crate) struct TokenService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    pub(crate) budgets: Arc<Budgets>,
    feed: FeedPublisher,
    active_agents: Arc<ActiveAgents>,
}

impl TokenService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, budgets, feed, active_agents, .. } = parts;
        Self { issuer, ledger, budgets, feed, active_agents }
    }

    /// Exchanges a verified token for a fresh one.
    pub(crate) async fn renew(self: &Arc<Self>, bearer: Bearer, client: IpAddr) -> Result<Issued, Error> {
        let (service, old) = (Arc::clone(self), bearer.clone());
        let renewed = match self.budgets.check(&Spending::renewal(&bearer)) {
            Ok(()) => {
                let jti = self.issuer.new_token_id();
                let wants = wants_of(&bearer, EventType::TokenRenewed);
                let wants = bearer.agent_id().into_iter().fold(wants, Wants::agent);
                let delegators = bearer.delegation_chain().iter().map(|record| &record.agent);
                let wants = delegators.fold(wants, Wants::agent);
                self.ledger.transact_with(wants, move |tx| service.renew_in(tx, &old, jti, client)).await
            }
            Err(exceeded) => Err(exceeded.into()),
        };
        match renewed {
            Ok(draft) => Ok(self.issuer.sign(&draft)),
            Err(error) => {
                if error.is_denial() {
                    let event = EventType::TokenRenewalFailed;
                    let event = NewEvent::denied(event, self.ledger.now(), bearer.subject(), "token renewal failed");
                    let event = event.task(bearer.task_id().cloned()).orch(bearer.orch_id().cloned());
                    self.ledger.deny(event.word("jti", bearer.token_id()).word("reason", &error).from(client));
                }
                Err(error)
            }
        }
    }

    fn renew_in(&self, tx: &mut Tx<'_>, bearer: &Bearer, jti: TokenId, client: IpAddr) -> Result<RecordedDraft, Error> {
        // The clock may have been set back a little since the old token was issued: the new one is never older.
        let now = tx.now().max(bearer.issued_at());
        let old = live_token(tx, &self.issuer, bearer, now)?.ok_or(Error::RenewalFailed)?;
        check_subject(tx, bearer, &old)?;
        let expires_at = expiry(bearer, &old, self.issuer.policy(), now).ok_or(Error::RenewalFailed)?;
        spend(tx, &self.budgets, Spending::renewal(bearer))?;

        let renewed = ClaimSet {
            cnf: self.sender_constraint(tx, bearer)?,
            jti,
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires_at.seconds(),
            ..bearer.as_claim_set().clone()
        };
        let draft = Draft::new(renewed, old.app_id.clone());
        // Binding makes a token longer.
        if !old.sender_constrained && self.issuer.length_of(&draft) > MAX_TOKEN_LENGTH {
            return Err(Error::RenewalFailed);
        }
        self.end_one(tx, &old, bearer.subject(), now)?;
        let record = IssuedToken {
            original_ttl: old.original_ttl,
            session_started_at: old.session_started_at,
            ..draft.as_record()
        };
        let draft = self.issuer.insert_as(tx, draft, &record)?;
        if let Some(agent) = bearer.agent_id() {
            tx.extend_agent(agent, expires_at)?;
        }
        let event = NewEvent::success(EventType::TokenRenewed, now, bearer.subject(), "token renewed");
        let event = with_key(event, &draft.claims)
            .task(bearer.task_id().cloned())
            .orch(bearer.orch_id().cloned())
            .word("jti", draft.claims.jti)
            .word("replaces", old.jti)
            .word("expires_at", expires_at)
            .from(client);
        self.ledger.record(tx, event)?;
        Ok(draft)
    }

    /// Returns the confirmation claim of a renewed token.
    fn sender_constraint(&self, tx: &Tx<'_>, claims: &Claims) -> Result<Option<SenderConstraint>, Error> {
        let Some(agent) = claims.agent_id() else { return Ok(None) };
        let delegators = claims.delegation_chain().iter().map(|record| &record.agent);
        sender_constraint(tx, self.issuer.policy(), agent, delegators, claims.sender_constraint().is_some())
    }

    /// Ends a verified token.
    pub(crate) async fn release(self: &Arc<Self>, bearer: Bearer, client: IpAddr) -> Result<(), Error> {
        let service = Arc::clone(self);
        let wants = wants_of(&bearer, EventType::TokenReleased);
        let wants = bearer.agent_id().into_iter().fold(wants, Wants::agent);
        self.ledger.transact_with(wants, move |tx| service.release_in(tx, &bearer, client)).await
    }

    fn release_in(&self, tx: &mut Tx<'_>, bearer: &Bearer, client: IpAddr) -> Result<(), Error> {
        let now = tx.now();
        let Some(token) = live_token(tx, &self.issuer, bearer, now)? else { return Ok(()) };
        self.end_one(tx, &token, bearer.subject(), now)?;
        self.active_agents.recount_after(tx);
        let event = NewEvent::success(EventType::TokenReleased, now, bearer.subject(), "token released")
            .task(bearer.task_id().cloned())
            .orch(bearer.orch_id().cloned())
            .word("jti", token.jti)
            .from(client);
        Ok(self.ledger.record(tx, event)?)
    }

    /// Ends exactly one token and publishes it. Tokens delegated from it stay valid until they expire.
    fn end_one(&self, tx: &mut Tx<'_>, token: &IssuedToken, by: &Subject, now: UnixTime) -> Result<(), Error> {
        tx.end_token(&token.jti, now)?;
        let revocation = Revocation {
            level: Level::Token,
            target: token.jti.to_string(),
            revoked_at: now,
            expires_at: token.expires_at,
            revoked_by: by.clone(),
            reason: None,
            listed: false,
        };
        Ok(self.feed.publish(tx, revocation)?)
    }
}

/// Rows that an operation on a token reads, and its event.
fn wants_of(claims: &Claims, event: EventType) -> Wants {
    Wants::none().token(&claims.token_id()).event(event, claims.subject(), claims.task_id(), None)
}

/// Checks that the subject may renew: an agent that is not barred and whose apps still allow what it holds, or an active
/// app.
fn check_subject(tx: &Tx<'_>, claims: &Claims, old: &IssuedToken) -> Result<(), Error> {
    match claims.subject() {
        Subject::Admin => Err(Error::WrongSubject("an operator's token cannot be renewed; authenticate again")),
        Subject::App(app) => {
            let active = tx.app(app)?.is_some_and(|app| app.status == AppStatus::Active);
            if active { Ok(()) } else { Err(Error::RenewalFailed) }
        }
        Subject::Agent(agent) => {
            if tx.agent(agent)?.is_none_or(|agent| agent.revoked_at.is_some()) {
                return Err(Error::RenewalFailed);
            }
            check_ceiling(tx, old.app_id.as_ref(), claims.scopes())?;
            let delegators = claims.delegation_chain().iter().map(|record| &record.agent);
            check_ceilings_of(tx, delegators.chain([agent]), claims.scopes())
        }
    }
}

/// Expiry of the renewed token: its original lifetime from now, but within its chain and its session's ceiling. `None` when
/// nothing is left.
fn expiry(claims: &Claims, old: &IssuedToken, policy: &Policy, now: UnixTime) -> Option<UnixTime> {
    // Whole seconds, as they stand in the token.
    let now = UnixTime::from_seconds(now.seconds());
    let ceiling = policy
        .max_ttl
        .map(|most| UnixTime::from_seconds(old.session_started_at.seconds()).saturating_add(Duration::from_secs(most)));
    let chain = claims.delegation_chain().iter().map(|record| record.expires_at);
    let limit = chain.chain(ceiling).min();
    let wanted = now.saturating_add(Duration::from_secs(policy.clamp(old.original_ttl)));
    Some(limit.map_or(wanted, |limit| wanted.min(limit))).filter(|expires_at| *expires_at > now)
}

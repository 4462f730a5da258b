//! Renewing: a fresh token in exchange for one that has not expired.
//!
//! 1. The old token ends and the new one is recorded in one transaction: of several renewals of one token exactly one
//!    succeeds.
//! 2. Nothing grows: same subject, scope, task, audience, session and chain, and the lifetime of the first token.
//! 3. A delegated token never outlives its chain, and no session the operator's ceiling.
//! 4. The apps behind it, of the agent itself and of each delegator, are looked at as they are now.
//! 5. A session has a budget of renewals: see [`budgets`](crate::limits::budgets).

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentwrit_verify::{ClaimSet, Claims, Level, Subject, TokenId, UnixTime};

use super::{
    Error,
    ceiling::{check_ceiling, check_ceilings_of},
};
use crate::{
    audit::{EventType, NewEvent},
    authority::{Authority, Draft, Issued, Policy},
    domain::{AppStatus, IssuedToken, Revocation},
    entropy::random,
    limits::budgets::Spending,
    store::Tx,
};

impl Authority {
    /// Exchanges a verified token for a fresh one.
    pub(crate) async fn renew(self: &Arc<Self>, claims: Arc<Claims>, client: IpAddr) -> Result<Issued, Error> {
        let old = Arc::clone(&claims);
        let renewed = match self.check_budgets(&Spending::renewal(&claims)) {
            Ok(()) => self.transact(move |authority, tx| authority.renew_in(tx, &old, client)).await,
            Err(over_budget) => Err(over_budget),
        };
        match renewed {
            Ok(draft) => Ok(self.sign(&draft)),
            Err(error) => {
                if error.is_denial() {
                    let event = EventType::TokenRenewalFailed;
                    let event = NewEvent::denied(event, self.clock.now(), claims.subject(), "token renewal failed");
                    let event = event.task(claims.task_id().cloned()).orch(claims.orch_id().cloned());
                    self.deny(event.word("jti", claims.token_id()).word("reason", &error).from(client));
                }
                Err(error)
            }
        }
    }

    fn renew_in(self: &Arc<Self>, tx: &mut Tx<'_>, claims: &Claims, client: IpAddr) -> Result<Draft, Error> {
        // The clock may have been set back a little since the old token was issued: the new one is never older.
        let now = self.clock.now().max(claims.issued_at());
        let old = live_token(tx, &claims.token_id(), now)?.ok_or(Error::RenewalFailed)?;
        check_subject(tx, claims, &old)?;
        let expires_at = expiry(claims, &old, &self.policy, now).ok_or(Error::RenewalFailed)?;
        self.spend(&Spending::renewal(claims))?;

        let renewed = ClaimSet {
            jti: TokenId::from_bytes(random(self.entropy.as_ref())),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires_at.seconds(),
            ..claims.as_claim_set().clone()
        };
        let draft = Draft::of(renewed, old.app_id.clone());
        self.end_one(tx, &old, claims.subject(), now)?;
        tx.insert_token(&IssuedToken {
            original_ttl: old.original_ttl,
            session_started_at: old.session_started_at,
            ..draft.as_record()
        })?;
        if let Some(agent) = claims.agent_id() {
            tx.extend_agent(agent, expires_at)?;
        }
        let event = NewEvent::success(EventType::TokenRenewed, now, claims.subject(), "token renewed")
            .task(claims.task_id().cloned())
            .orch(claims.orch_id().cloned())
            .word("jti", draft.claims.jti)
            .word("replaces", old.jti)
            .word("expires_at", expires_at)
            .from(client);
        self.record(tx, event)?;
        Ok(draft)
    }

    /// Ends exactly one token, and lets verifiers know. What was delegated from it lives on until it expires.
    pub(crate) fn end_one(
        &self,
        tx: &mut Tx<'_>,
        token: &IssuedToken,
        by: &Subject,
        now: UnixTime,
    ) -> Result<(), Error> {
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
        Ok(self.publish(tx, revocation)?)
    }
}

/// The record of a token that has neither ended nor expired: it may have since it was verified.
pub(crate) fn live_token(tx: &Tx<'_>, jti: &TokenId, now: UnixTime) -> Result<Option<IssuedToken>, Error> {
    if tx.has_ended(jti)? != Some(false) {
        return Ok(None);
    }
    Ok(tx.token(jti)?.filter(|token| now < token.expires_at))
}

/// Who may renew: agents that are not barred and whose apps still allow what they hold, and active apps.
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

/// When the renewed token expires: its original lifetime from now, but within its chain and its session's ceiling.
/// `None` when nothing is left.
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

//! Delegation: an agent passes a part of its permissions to another.
//!
//! 1. Only downwards: a scope within the delegator's token and within the ceilings of the apps of every agent in the
//!    chain, the delegate's too; a lifetime within the delegator's.
//! 2. At most five hops.
//! 3. The delegate is a registered agent whose latest token has not expired, and which was not revoked.
//! 4. The chain grows by one signed record: delegator, scope, delegate, session and expiry.
//! 5. The delegate's token is bound to the delegate's key if the delegator's is bound: see [`binding`](super::binding).
//! 6. A proof of the delegator's key is used once, at whichever broker of the store.
//! 7. A session has a budget of delegations: see [`budgets`](crate::limits::budgets).

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{DelegationRequest, limits::DEFAULT_DELEGATION_TTL};
use agentwrit_verify::{
    AgentId, ClaimSet, Claims, DelegationRecord, MAX_TOKEN_LENGTH, ScopeSet, Subject, TokenId, UnixTime,
    delegation::{MAX_DEPTH, chain_hash},
};

use super::{
    Bearer, Error, Parts,
    binding::{sender_constraint, with_key},
    checks::{check_ceiling, check_ceilings_of, live_token, spend, spend_proof},
};
use crate::{
    audit::{EventType, NewEvent},
    issuer::{Draft, Issued, Issuer, RecordedDraft},
    ledger::Ledger,
    limits::budgets::{Budgets, Spending},
    store::{Tx, Wants},
};

/// Issues delegated tokens.
#[derive(Debug)]
pub(crate) struct DelegationService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    budgets: Arc<Budgets>,
}

impl DelegationService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, budgets, .. } = parts;
        Self { issuer, ledger, budgets }
    }

    /// Issues a token to the delegate.
    pub(crate) async fn delegate(
        self: &Arc<Self>,
        bearer: Bearer,
        delegation: DelegationRequest,
        client: IpAddr,
    ) -> Result<(Issued, Vec<DelegationRecord>), Error> {
        let (service, delegator) = (Arc::clone(self), bearer.clone());
        let allowed =
            allow(&bearer, &delegation.scope).and_then(|_| Ok(self.budgets.check(&Spending::delegation(&bearer))?));
        let outcome = match allowed {
            Ok(()) => {
                let jti = self.issuer.new_token_id();
                let wants = wants_of(&bearer, &delegation);
                let delegate = move |tx: &mut Tx<'_>| service.delegate_in(tx, &delegator, delegation, jti, client);
                self.ledger.transact_with(wants, delegate).await
            }
            Err(rejected) => Err(rejected),
        };
        match outcome {
            Ok(draft) => Ok((self.issuer.sign(&draft), draft.into_claims().delegation_chain)),
            Err(error) => {
                if error.is_denial() {
                    let event_type = EventType::DelegationAttenuationViolation;
                    let event = NewEvent::denied(event_type, self.ledger.now(), bearer.subject(), "delegation refused");
                    let event = event.task(bearer.task_id().cloned()).orch(bearer.orch_id().cloned());
                    let event = event.word("reason", &error).from(client);
                    self.ledger.deny(match error.scope() {
                        Some(scope) => event.word("scope", scope),
                        None => event,
                    });
                }
                Err(error)
            }
        }
    }

    fn delegate_in(
        &self,
        tx: &mut Tx<'_>,
        delegator: &Bearer,
        delegation: DelegationRequest,
        jti: TokenId,
        client: IpAddr,
    ) -> Result<RecordedDraft, Error> {
        let agent = allow(delegator, &delegation.scope)?;
        // The clock may have been set back a little since the delegator's token was issued: a child is never older.
        let now = tx.now().max(delegator.issued_at());
        let token = live_token(tx, &self.issuer, delegator, now)?.ok_or(Error::TokenEnded)?;
        spend_proof(tx, delegator)?;
        if tx.agent(agent)?.is_none_or(|agent| agent.revoked_at.is_some()) {
            return Err(Error::TokenEnded);
        }
        check_ceiling(tx, token.app_id.as_ref(), &delegation.scope)?;
        let delegate = tx.agent(&delegation.delegate_to)?;
        if delegate.is_none_or(|agent| agent.revoked_at.is_some() || agent.expires_at <= now) {
            return Err(Error::DelegateUnknown);
        }
        let delegators = delegator.delegation_chain().iter().map(|record| &record.agent);
        check_ceilings_of(tx, delegators.chain([agent, &delegation.delegate_to]), &delegation.scope)?;
        let delegators = delegator.delegation_chain().iter().map(|record| &record.agent).chain([agent]);
        let (is_bound, policy) = (delegator.sender_constraint().is_some(), self.issuer.policy());
        let cnf = sender_constraint(tx, policy, &delegation.delegate_to, delegators, is_bound)?;
        let claims = ClaimSet { cnf, ..self.delegated(delegator, agent, delegation, jti, now) };
        let draft = Draft::new(claims, token.app_id);
        let length = self.issuer.length_of(&draft);
        if length > MAX_TOKEN_LENGTH {
            let problem = format!("a token with this chain would have {length} bytes, at most {MAX_TOKEN_LENGTH} fit");
            return Err(Error::invalid("scope", problem));
        }
        spend(tx, &self.budgets, Spending::delegation(delegator))?;
        let draft = self.issuer.insert(tx, draft)?;
        if let Some(delegate) = draft.claims.sub.as_agent() {
            tx.extend_agent(delegate, UnixTime::from_seconds(draft.claims.exp))?;
        }
        self.ledger.record(tx, created(delegator, &draft, now).from(client))?;
        Ok(draft)
    }

    /// Returns the claims of the delegate's token, before it is bound. It never outlives the delegator's.
    fn delegated(
        &self,
        delegator: &Claims,
        agent: &AgentId,
        delegation: DelegationRequest,
        jti: TokenId,
        now: UnixTime,
    ) -> ClaimSet {
        let iat = now.seconds();
        let ttl = self.issuer.policy().clamp(delegation.ttl.unwrap_or(DEFAULT_DELEGATION_TTL));
        let mut chain = delegator.delegation_chain().to_vec();
        let record = DelegationRecord {
            agent: agent.clone(),
            scope: delegator.scopes().clone(),
            delegated_at: UnixTime::from_seconds(iat),
            delegate: delegation.delegate_to.clone(),
            sid: delegator.session_id(),
            expires_at: delegator.expires_at(),
            signature: String::new(),
        };
        chain.push(self.issuer.sign_record(&chain, record));
        ClaimSet {
            sub: Subject::Agent(delegation.delegate_to),
            exp: iat.saturating_add(ttl).min(delegator.expires_at().seconds()),
            nbf: iat,
            iat,
            jti,
            scope: delegation.scope,
            sid: jti,
            chain_hash: Some(chain_hash(delegator.issuer(), &chain)),
            delegation_chain: chain,
            cnf: None,
            ..delegator.as_claim_set().clone()
        }
    }
}

/// Rows that a delegation reads.
fn wants_of(delegator: &Bearer, delegation: &DelegationRequest) -> Wants {
    let (subject, task) = (delegator.subject(), delegator.task_id());
    let wants = Wants::none().token(&delegator.token_id()).agent(&delegation.delegate_to);
    let wants = delegator.proof.iter().fold(wants, |wants, proof| wants.nonce(&proof.digest, proof.forgotten_at));
    let wants = wants.event(EventType::DelegationCreated, subject, task, None);
    let delegators = delegator.delegation_chain().iter().map(|record| &record.agent);
    delegators.chain(delegator.agent_id()).fold(wants, Wants::agent)
}

/// Checks that a token permits a delegation with that scope, and returns the delegator.
fn allow<'c>(delegator: &'c Claims, scope: &ScopeSet) -> Result<&'c AgentId, Error> {
    let agent = delegator.agent_id().ok_or(Error::WrongSubject("only an agent's token can be delegated from"))?;
    if let Some(scope) = delegator.scopes().first_uncovered(scope) {
        return Err(Error::ExceedsDelegator { scope: scope.clone() });
    }
    if delegator.delegation_chain().len() >= MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    Ok(agent)
}

fn created(delegator: &Claims, draft: &Draft, now: UnixTime) -> NewEvent {
    let claims = &draft.claims;
    let depth = u32::try_from(claims.delegation_chain.len()).unwrap_or(u32::MAX);
    let hash = claims.chain_hash.clone().unwrap_or_default();
    let event = NewEvent::success(EventType::DelegationCreated, now, delegator.subject(), "delegation created");
    with_key(event, claims)
        .task(claims.task_id.clone())
        .orch(claims.orch_id.clone())
        .delegation(depth, hash)
        .word("delegate", &claims.sub)
        .word("scope", &claims.scope)
        .word("jti", claims.jti)
        .word("expires_at", UnixTime::from_seconds(claims.exp))
}

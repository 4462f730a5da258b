//! Checks that several operations make inside their transactions.
//!
//! 1. A token must still be valid when its operation runs: a revocation that was acknowledged while the request waited
//!    counts, and so does the withdrawal of a key that signed the token or its delegation chain.
//! 2. A new token is issued after the second of every not-before mark on its subject or task.
//! 3. A scope that an agent holds, delegates, receives or renews lies within the ceiling of that agent's own app, whichever
//!    app the first delegator belongs to. Each app counts as it is now: a suspended or deregistered one allows nothing.

use std::{ops::Deref, sync::Arc};

use agentwrit_verify::{AgentId, AppId, Claims, ScopeSet, UnixTime, VerifiedToken};

use super::{Error, binding::constraint, used_proof::UsedProof};
use crate::{
    clock,
    domain::{App, AppStatus, IssuedToken},
    issuer::Issuer,
    ledger::Ledger,
    limits::budgets::{BudgetExceeded, Budgets, Spending},
    store::{Reader, Tx, Wants},
};

/// Bearer of a request: its token, as verified when the request arrived.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    token: VerifiedToken,
    /// Proof of its key in the request.
    pub(super) proof: Option<UsedProof>,
}

impl Bearer {
    /// Adds the proof that was accepted with the token.
    pub(crate) fn with_proof(self, proof: Option<UsedProof>) -> Self {
        Self { proof, ..self }
    }
}

impl From<VerifiedToken> for Bearer {
    fn from(token: VerifiedToken) -> Self {
        Self { token, proof: None }
    }
}

impl Deref for Bearer {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        self.token.claims()
    }
}

/// Runs an operation, which will read the rows that `wants` names, in one transaction on behalf of a bearer, whose token
/// must still be valid then. Without a bearer the broker itself acts.
///
/// # Errors
///
/// [`Error::TokenEnded`], or that of the operation.
pub(super) async fn transact_as<T: Send + 'static>(
    ledger: &Ledger,
    issuer: &Arc<Issuer>,
    bearer: Option<Bearer>,
    wants: Wants,
    operation: impl FnOnce(&mut Tx<'_>, UnixTime) -> Result<T, Error> + Clone + Send + 'static,
) -> Result<T, Error> {
    let wants = match &bearer {
        Some(bearer) => wants.token(&bearer.token_id()),
        None => wants,
    };
    let issuer = Arc::clone(issuer);
    ledger
        .transact_with(wants, move |tx| {
            let now = tx.now();
            if let Some(bearer) = &bearer {
                live_token(tx, &issuer, bearer, now)?.ok_or(Error::TokenEnded)?;
            }
            operation(tx, now)
        })
        .await
}

/// Returns the record of the bearer's token if it is valid in this transaction: it may have ended or expired since it was
/// verified, and its keys may have been withdrawn. The store's lock orders the transaction and changes of the keys.
pub(super) fn live_token(
    tx: &Tx<'_>,
    issuer: &Issuer,
    bearer: &Bearer,
    now: UnixTime,
) -> Result<Option<IssuedToken>, Error> {
    let jti = bearer.token_id();
    if !bearer.token.is_trusted_by(&issuer.ring().published) || tx.has_ended(&jti)? != Some(false) {
        return Ok(None);
    }
    let now = now.max(tx.latest_now());
    let token = tx.token(&jti)?.filter(|token| now < token.expires_at && is_record_of(token, bearer));
    Ok(if is_within_registration(tx, bearer)? { token } else { None })
}

/// Returns whether the claims agree with the agent's registration, for what the record of a token lacks: the key, and the
/// limit of the scope of a token that was not delegated.
fn is_within_registration(reader: &dyn Reader, claims: &Claims) -> Result<bool, Error> {
    let Some(agent) = claims.agent_id() else { return Ok(true) };
    let Some(agent) = reader.agent(agent)? else { return Ok(true) };
    let is_its_key = claims.sender_constraint().is_none_or(|bound| *bound == constraint(&agent.public_key));
    let is_delegated = !claims.delegation_chain().is_empty();
    Ok(is_its_key && (is_delegated || agent.scope.first_uncovered(claims.scopes()).is_none()))
}

/// Records the use of the bearer's proof, in the transaction of an operation that can be repeated with another body: a proof
/// does not cover the body, and other brokers of the store have replay tables of their own.
///
/// # Errors
///
/// [`Error::ProofReplayed`] if it was used before.
pub(super) fn spend_proof(tx: &mut Tx<'_>, bearer: &Bearer) -> Result<(), Error> {
    match &bearer.proof {
        Some(proof) if !tx.spend_nonce(&proof.digest, proof.forgotten_at)? => Err(Error::ProofReplayed),
        Some(_) | None => Ok(()),
    }
}

/// Returns whether the claims are those of the token that was issued under this `jti`: the holder of a stolen key can sign
/// others.
fn is_record_of(token: &IssuedToken, claims: &Claims) -> bool {
    token.subject == *claims.subject()
        && token.sid == claims.session_id()
        && token.issued_at == claims.issued_at()
        && token.expires_at == claims.expires_at()
        && token.sender_constrained == claims.sender_constraint().is_some()
}

/// Returns the time at which a token for a subject or task is issued: within a second of `now`, or the few seconds that
/// the clock was set back.
///
/// # Errors
///
/// [`Error::ClockBehind`] when verifiers would not accept the token yet.
pub(super) fn issue_time(tx: &Tx<'_>, target: &str, now: UnixTime) -> Result<UnixTime, Error> {
    let latest_not_before_mark = tx.latest_not_before_mark(target)?;
    clock::issue_time(now, latest_not_before_mark).map_err(|behind| Error::ClockBehind { by: behind.by })
}

/// Draws on budgets in the transaction of their operation. If the transaction or its commit fails, all is given back.
///
/// # Errors
///
/// [`BudgetExceeded`], and nothing was drawn.
pub(super) fn spend(tx: &mut Tx<'_>, budgets: &Arc<Budgets>, spending: Spending) -> Result<(), BudgetExceeded> {
    let spent = budgets.spend(spending)?;
    tx.after_commit(move || spent.keep());
    Ok(())
}

/// Checks `scope` against the ceiling of `app`, if there is one.
///
/// # Errors
///
/// [`Error::ExceedsCeiling`] with the first scope that exceeds it.
pub(super) fn check_ceiling(reader: &dyn Reader, app: Option<&AppId>, scope: &ScopeSet) -> Result<(), Error> {
    match app {
        Some(app_id) => within(reader.app(app_id)?.as_ref(), scope),
        None => Ok(()),
    }
}

/// Checks `scope` against the ceiling of each of these agents' own apps.
///
/// # Errors
///
/// [`Error::ExceedsCeiling`] with the first scope that exceeds one, also when an agent is not known any more.
pub(super) fn check_ceilings_of<'a>(
    reader: &dyn Reader,
    agents: impl IntoIterator<Item = &'a AgentId>,
    scope: &ScopeSet,
) -> Result<(), Error> {
    let mut checked: Vec<AppId> = Vec::new();
    for agent in agents {
        let Some(record) = reader.agent(agent)? else { return within(None, scope) };
        if let Some(app_id) = record.app_id.filter(|app_id| !checked.contains(app_id)) {
            check_ceiling(reader, Some(&app_id), scope)?;
            checked.push(app_id);
        }
    }
    Ok(())
}

fn within(app: Option<&App>, scope: &ScopeSet) -> Result<(), Error> {
    let uncovered = match app.filter(|app| app.status == AppStatus::Active) {
        Some(app) => app.scopes.first_uncovered(scope),
        None => scope.iter().next(),
    };
    match uncovered {
        Some(scope) => Err(Error::ExceedsCeiling { scope: scope.clone() }),
        None => Ok(()),
    }
}

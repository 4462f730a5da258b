//! Checks that several operations make inside their transactions.
//!
//! 1. A token must still be valid when its operation runs: a revocation that was acknowledged while the request waited
//!    counts.
//! 2. A new token is issued after the second of every not-before mark on its subject or task.
//! 3. A scope that an agent holds, delegates, receives or renews lies within the ceiling of that agent's own app, whichever
//!    app the first delegator belongs to. Each app counts as it is now: a suspended or deregistered one allows nothing.

use std::sync::Arc;

use agentwrit_verify::{AgentId, AppId, ScopeSet, TokenId, UnixTime};

use super::Error;
use crate::{
    clock,
    domain::{App, AppStatus, IssuedToken},
    ledger::Ledger,
    limits::budgets::{BudgetExceeded, Budgets, Spending},
    store::{Reader, Tx, Wants},
};

/// Runs an operation, which will read the rows that `wants` names, in one transaction on behalf of a token, which must still be valid then. Without a token the broker
/// itself acts.
///
/// # Errors
///
/// [`Error::TokenEnded`], or that of the operation.
pub(super) async fn transact_as<T: Send + 'static>(
    ledger: &Ledger,
    bearer: Option<TokenId>,
    wants: Wants,
    operation: impl FnOnce(&mut Tx<'_>, UnixTime) -> Result<T, Error> + Clone + Send + 'static,
) -> Result<T, Error> {
    let wants = match &bearer {
        Some(bearer) => wants.token(bearer),
        None => wants,
    };
    ledger
        .transact_with(wants, move |tx| {
            let now = tx.now();
            if let Some(bearer) = &bearer {
                live_token(tx, bearer, now)?.ok_or(Error::TokenEnded)?;
            }
            operation(tx, now)
        })
        .await
}

/// Returns the record of a token that has neither ended nor expired: it may have since it was verified.
pub(super) fn live_token(tx: &Tx<'_>, jti: &TokenId, now: UnixTime) -> Result<Option<IssuedToken>, Error> {
    if tx.has_ended(jti)? != Some(false) {
        return Ok(None);
    }
    let now = now.max(tx.latest_now());
    Ok(tx.token(jti)?.filter(|token| now < token.expires_at))
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

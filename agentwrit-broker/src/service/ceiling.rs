//! The ceilings that bind a token: of the app that it belongs to, and of the app of each agent in its chain.
//!
//! 1. What an agent holds, delegates, receives or renews lies within the ceiling of its own app, whichever app the first
//!    delegator belongs to.
//! 2. Each app counts as it is now. One that is suspended or deregistered allows nothing.

use agentwrit_verify::{AgentId, AppId, ScopeSet};

use super::Error;
use crate::{
    domain::{App, AppStatus},
    store::Reader,
};

/// Checks `scope` against the ceiling of `app`, if there is one.
///
/// # Errors
///
/// [`Error::ExceedsCeiling`] with the first scope that is too much.
pub(crate) fn check_ceiling(reader: &Reader<'_>, app: Option<&AppId>, scope: &ScopeSet) -> Result<(), Error> {
    match app {
        Some(app_id) => within(reader.app(app_id)?.as_ref(), scope),
        None => Ok(()),
    }
}

/// Checks `scope` against the ceilings of each of these agents' own apps.
///
/// # Errors
///
/// [`Error::ExceedsCeiling`] with the first scope that is too much, also when an agent is not known any more.
pub(crate) fn check_ceilings_of<'a>(
    reader: &Reader<'_>,
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

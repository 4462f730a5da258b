//! Binding of agents' tokens to the key that the agent registered (RFC 9449 §6.1).
//!
//! 1. A token is bound if anything requires it: the broker's policy, the app of an agent in its chain as it is now, the launch
//!    token, the agent's registration, or the token that it is renewed or delegated from. No operation loosens a binding.
//! 2. The key is that of the token's subject: a delegated token is bound to the delegate's key, not to the delegator's.
//! 3. Tokens of apps and operators, who hold secrets, are never bound.

use agentwrit_verify::{AgentId, AppId, ClaimSet, SenderConstraint, Thumbprint};

use super::Error;
use crate::{audit::NewEvent, config::SenderConstrained, issuer::Policy, store::Reader};

impl Policy {
    /// Returns whether a token is bound, if something else `requires` it or not.
    pub(super) fn binds(&self, requires: bool) -> bool {
        match self.sender_constrained {
            SenderConstrained::Required => true,
            SenderConstrained::Allowed | SenderConstrained::Off => requires,
        }
    }

    /// Checks that a request may ask for bound tokens: one that does must not receive others.
    pub(super) fn check_binding(&self, requested: bool) -> Result<(), Error> {
        if requested && self.sender_constrained == SenderConstrained::Off {
            return Err(Error::BindingOff);
        }
        Ok(())
    }
}

/// Returns the confirmation claim of a token for `agent`. `is_bound` tells whether the token that it is renewed or delegated
/// from is bound.
///
/// # Errors
///
/// [`Error::TokenEnded`] if an agent of the chain is not known any more.
pub(super) fn sender_constraint<'a>(
    reader: &dyn Reader,
    policy: &Policy,
    agent: &AgentId,
    delegators: impl IntoIterator<Item = &'a AgentId>,
    is_bound: bool,
) -> Result<Option<SenderConstraint>, Error> {
    let record = reader.agent(agent)?.ok_or(Error::TokenEnded)?;
    let mut requires = is_bound || record.sender_constrained || app_requires(reader, record.app_id.as_ref())?;
    for delegator in delegators {
        let delegator = reader.agent(delegator)?.ok_or(Error::TokenEnded)?;
        requires |= app_requires(reader, delegator.app_id.as_ref())?;
    }
    Ok(policy.binds(requires).then(|| constraint(&record.public_key)))
}

/// Returns the confirmation claim for a registered key.
pub(super) fn constraint(public_key: &[u8; 32]) -> SenderConstraint {
    SenderConstraint { jkt: Thumbprint::of_ed25519(public_key) }
}

fn app_requires(reader: &dyn Reader, app: Option<&AppId>) -> Result<bool, Error> {
    match app {
        Some(app_id) => Ok(reader.app(app_id)?.is_some_and(|app| app.sender_constrained)),
        None => Ok(false),
    }
}

/// Adds the key of a bound token to the event of its issue.
pub(super) fn with_key(event: NewEvent, claims: &ClaimSet) -> NewEvent {
    match &claims.cnf {
        Some(constraint) => event.word("jkt", constraint.jkt),
        None => event,
    }
}

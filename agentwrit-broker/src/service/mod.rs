//! The broker's operations. Each file shows the operations first, as thin transactions, then the rules behind them as pure
//! functions: facts in, decision out, no HTTP and no SQL.

pub(crate) mod active_agents;
pub(crate) mod apps;
mod binding;
mod checks;
pub(crate) mod confirmation;
pub(crate) mod delegation;
mod error;
mod housekeeping;
pub(crate) mod keys;
pub(crate) mod launch_tokens;
pub(crate) mod login;
#[cfg(test)]
mod model_tests;
pub(crate) mod pods;
mod recent_launch_tokens;
pub(crate) mod registration;
pub(crate) mod revocation;
pub(crate) mod seed_tokens;
mod services;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tokens;
pub(crate) mod trust_rules;
pub(crate) mod used_proof;
pub(crate) mod verifiers;

use self::services::Parts;
pub(crate) use self::{checks::Bearer, error::Error, services::Services};

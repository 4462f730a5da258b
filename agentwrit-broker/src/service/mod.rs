//! What the broker decides. Each file shows an operation first, then the rule behind it as a pure function: facts in,
//! decision out, no HTTP and no SQL.

pub(crate) mod admin_auth;
pub(crate) mod app_auth;
pub(crate) mod apps;
pub(crate) mod ceiling;
pub(crate) mod delegation;
mod error;
pub(crate) mod launch_tokens;
#[cfg(test)]
mod model_tests;
pub(crate) mod registration;
pub(crate) mod release;
pub(crate) mod renewal;
pub(crate) mod revocation;
#[cfg(test)]
mod tests;

pub(crate) use error::Error;

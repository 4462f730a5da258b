//! The HTTP interface, one file per resource: exact statuses, whole bodies (contract §1 to §4).
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod admin_auth;
mod app_auth;
mod apps;
mod challenge;
mod client;
mod conventions;
mod health;
mod jwks;
mod launch_tokens;
mod process;
mod register;
mod register_fields;
mod validate;

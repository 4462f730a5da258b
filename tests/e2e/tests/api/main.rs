//! The HTTP interface, one file per resource: exact statuses, whole bodies (contract §1 to §4).
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod admin_auth;
mod admin_revocations;
mod app_agents;
mod app_auth;
mod apps;
mod audit_events;
mod challenge;
mod client;
mod client_proofs;
mod conventions;
mod delegate;
mod follower;
mod health;
mod inventory;
mod jwks;
mod launch_token_lists;
mod launch_tokens;
mod metrics;
mod migrate;
mod mirror;
mod process;
mod register;
mod register_fields;
mod release;
mod renew;
mod revocations_feed;
mod revoke;
mod security_table;
mod sender_constrained;
mod shared_store;
mod signing_keys;
mod tls;
mod trust_rules;
mod validate;
mod weaknesses_authority;
mod weaknesses_lifetime;
mod weaknesses_noise;
mod weaknesses_operation;
mod weaknesses_races;
mod weaknesses_revocation;
mod weaknesses_tokens;

//! An authority that was ended stays ended.

mod bound_tokens_over_grpc;
mod delegation_across_apps;
mod launch_tokens_of_revoked_credentials;
mod one_broker_per_database;
mod restored_backup;
mod start_up_checks;
mod stolen_bound_tokens;
mod suspended_app;
mod wrong_clock;

//! The AgentWrit broker: the authority that issues short-lived, narrow, revocable credentials to AI agents.
//!
//! As a program it is `agentwrit-broker`; as a library it is embedded in tests and examples:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use agentwrit_broker::{Broker, Config};
//!
//! let directory = std::path::Path::new("/tmp/broker");
//! let broker = Broker::start(Config::for_development(directory, "a secret of your own choice")?).await?;
//! println!("listening on {}", broker.local_addr());
//! broker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! `store` is the only module with SQL, `http` the only one with HTTP, `service` decides; see ARCHITECTURE.md.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod attestation;
pub mod audit;
mod broker;
mod clock;
pub mod config;
mod console;
pub mod domain;
mod feed;
mod http;
mod issuer;
mod keys;
mod ledger;
mod limits;
mod maintenance;
mod server;
mod service;
pub mod stdio;
pub mod store;
pub mod telemetry;

pub use attestation::KubernetesSetupError;
pub use broker::{Broker, StartError};
pub use config::{Args, Command, Config, ConfigError, ConfigErrors};
pub use keys::{
    AdminSecret, AdminSecretError, Busy, CustodyError, EntropyError, KeyEncryptionKeyError, KeyFileError,
    SealedKeyError, Secret,
};
pub use maintenance::{
    check::{CheckReport, check},
    migrate::{MigrateError, Migrated, migrate},
    restore::{ConfirmedClock, OnDatabase, RestoreError, Restored, confirm_clock, mark_restored},
    schema::{SchemaError, apply_schema, schema_sql},
    withdraw_key::{WithdrawKeyError, WithdrawnKeys, withdraw_keys},
};
pub use server::{ClientCertificate, TlsError, Unhealthy, check_health};

//! Tests of what is SQLite's own: its files, its plans and its durability.

mod durability;
mod failures;
mod opening;
mod plans;

use std::path::PathBuf;

use tempfile::TempDir;

use super::transaction::Transaction;
use crate::{
    audit::EventType,
    domain::{AppStatus, Digest, LaunchToken},
    store::{
        Store, StoreError, StoreOptions, Tx,
        tests::{on_sqlite::Fixture, *},
    },
};

//! The suite on SQLite.

use super::*;

pub(in crate::store) type Fixture = FixtureOn<TempDir>;

#[path = "batches.rs"]
mod batches;
#[path = "inventory.rs"]
mod inventory;
#[path = "keys.rs"]
mod keys;
#[path = "queries.rs"]
mod queries;
#[path = "readers.rs"]
mod readers;
#[path = "trail.rs"]
mod trail;
#[path = "trust_rules.rs"]
mod trust_rules;
#[path = "verbs.rs"]
mod verbs;
#[path = "writer.rs"]
pub(in crate::store) mod writer;

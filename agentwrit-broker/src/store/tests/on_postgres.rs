//! The suite on PostgreSQL.

use super::{postgres_server::Schema, *};

type Fixture = FixtureOn<Schema>;

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
mod writer;

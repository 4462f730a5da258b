//! Commands that keep a broker's files in order: checks before the start, marks after a restore, withdrawal of keys.

pub(crate) mod check;
pub(crate) mod file_checks;
pub(crate) mod lost_history;
pub(crate) mod migrate;
pub(crate) mod restore;
pub(crate) mod schema;
pub(crate) mod withdraw_key;

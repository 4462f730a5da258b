//! Rows of new signing keys.

use agentwrit_verify::{UnixTime, issue::SigningKey};

use crate::domain::{KeyPurpose, KeyState, StoredKey};

/// Row of a new key.
pub(crate) fn new_row(key: &SigningKey, now: UnixTime) -> StoredKey {
    StoredKey {
        kid: key.id().as_str().to_owned(),
        purpose: KeyPurpose::Token,
        public: Some(*key.public_key().as_bytes()),
        sealed: Vec::new(),
        state: KeyState::Prepared,
        created_at: now,
        activates_at: None,
        activated_at: None,
        retire_at: None,
        changed_at: now,
        cursor: 0,
    }
}

/// Returns the row that a key had when it was made.
pub(crate) fn as_made(key: &StoredKey) -> StoredKey {
    StoredKey {
        state: KeyState::Prepared,
        activates_at: None,
        activated_at: None,
        retire_at: None,
        changed_at: key.created_at,
        cursor: 0,
        ..key.clone()
    }
}

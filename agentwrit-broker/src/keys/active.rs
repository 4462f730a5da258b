//! The active key among rows that may have been changed or put back.
//!
//! 1. The first reading of the rows is strict: one row is active, and it opens.
//! 2. Later, the key in force stays the active one while a row names it as active, whether it opens or not, until a row that
//!    opens and whose change is newer names another one. Further active rows were changed or put back: their keys count as ended
//!    and are reported, so that a withdrawal depends on no row of another key.

use std::sync::Arc;

use agentwrit_verify::issue::SigningKey;

use super::{Custody, CustodyError, SealedKeyError, UnusableKey};
use crate::domain::{KeyPurpose, KeyState, StoredKey};

/// Key that signs now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InForce<'a> {
    pub(crate) key: &'a Arc<SigningKey>,
    /// Cursor of the change of the keys with which it came; none if the rows are of another log or older.
    pub(crate) cursor: Option<u64>,
}

impl Custody {
    /// Returns the active key.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] unless one key is active for certain.
    pub(super) fn active_among(
        &self,
        rows: &[StoredKey],
        in_force: Option<InForce<'_>>,
    ) -> Result<Arc<SigningKey>, CustodyError> {
        match in_force {
            Some(InForce { key, cursor: Some(cursor) }) => self.active_after(rows, key, cursor),
            Some(InForce { key, cursor: None }) => self.only_active(rows, Some(key)),
            None => self.only_active(rows, None),
        }
    }

    fn active_after(
        &self,
        rows: &[StoredKey],
        in_force: &Arc<SigningKey>,
        cursor: u64,
    ) -> Result<Arc<SigningKey>, CustodyError> {
        let newer = active_rows(rows).filter(|row| row.cursor > cursor);
        let opened = newer.filter_map(|row| Some((row.cursor, self.open_one(row).ok()?)));
        if let Some((_, key)) = opened.max_by_key(|(cursor, _)| *cursor) {
            return Ok(Arc::new(key));
        }
        if active_rows(rows).any(|row| row.kid == in_force.id().as_str()) {
            return Ok(Arc::clone(in_force));
        }
        // A row that opens, and is older, was put back.
        self.only_active(rows, None)?;
        Err(SealedKeyError::Outdated { kid: in_force.id().as_str().to_owned() }.into())
    }

    fn only_active(
        &self,
        rows: &[StoredKey],
        in_force: Option<&Arc<SigningKey>>,
    ) -> Result<Arc<SigningKey>, CustodyError> {
        let mut active = None;
        for row in active_rows(rows) {
            let key = match (self.open_one(row), in_force) {
                // A key in a file that is damaged or missing signs on.
                (Err(_), Some(key)) if self.has_files() && key.id().as_str() == row.kid => Arc::clone(key),
                (opened, _) => Arc::new(opened?),
            };
            if active.replace(key).is_some() {
                return Err(SealedKeyError::SeveralActive { purpose: KeyPurpose::Token.as_str() }.into());
            }
        }
        Ok(active.ok_or(SealedKeyError::NoneActive { purpose: KeyPurpose::Token.as_str() })?)
    }

    /// Returns the [unusable](Self::unusable) keys, and those whose rows name them as active although another key is in force.
    pub(crate) fn unusable_besides(&self, rows: &[StoredKey], in_force: InForce<'_>) -> Vec<UnusableKey> {
        let mut unusable = self.unusable(rows);
        let active = self.active_among(rows, Some(in_force)).ok();
        for row in active_rows(rows) {
            let is_in_force = active.as_ref().is_some_and(|key| key.id().as_str() == row.kid);
            let found = unusable.iter_mut().find(|key| key.kid == row.kid);
            match found {
                Some(key) if is_in_force => key.verifies = true,
                Some(key) => *key = not_in_force(row),
                None if is_in_force => {}
                None => unusable.push(not_in_force(row)),
            }
        }
        unusable
    }
}

impl UnusableKey {
    /// Returns true if its row names it as active although another key is in force.
    pub(crate) fn is_active_in_row_only(&self) -> bool {
        matches!(self.cause, CustodyError::Sealed(SealedKeyError::NotInForce { .. }))
    }
}

fn not_in_force(row: &StoredKey) -> UnusableKey {
    let cause = SealedKeyError::NotInForce { kid: row.kid.clone() }.into();
    UnusableKey { kid: row.kid.clone(), state: row.state, cause, verifies: false }
}

pub(super) fn published_among(rows: &[StoredKey]) -> impl Iterator<Item = &StoredKey> {
    rows.iter().filter(|row| row.purpose == KeyPurpose::Token && row.state.is_published())
}

fn active_rows(rows: &[StoredKey]) -> impl Iterator<Item = &StoredKey> {
    published_among(rows).filter(|row| row.state == KeyState::Active)
}

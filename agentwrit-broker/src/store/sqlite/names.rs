//! Subjects and task ids as small numbers.

use super::transaction::Transaction;
use crate::store::{StoreError, facts::Facts, name::Name};

impl Transaction<'_> {
    pub(super) fn fetch_name(&self, name: &str, facts: &mut Facts) -> Result<(), StoreError> {
        let found = self.find("SELECT id, app FROM names WHERE name = ?1", [name], |row| {
            Ok(Name::new(name, row.get(0)?, row.get(1)?))
        })?;
        if let Some(found) = found {
            facts.names.learn(name.to_owned(), Some(found));
        }
        Ok(())
    }
}

//! Subjects and task ids as small numbers.

use super::transaction::Transaction;
use crate::store::{
    StoreError,
    cached_names::Name,
    names::{ReadNames, WriteNames},
};

impl ReadNames for Transaction<'_> {
    fn name(&self, name: &str) -> Result<Option<Name>, StoreError> {
        self.find("SELECT id, app FROM names WHERE name = ?1", [name], |row| {
            Ok(Name::new(name, row.get(0)?, row.get(1)?))
        })
    }
}

impl WriteNames for Transaction<'_> {
    fn insert_name(&mut self, name: &str, app: Option<i64>) -> Result<i64, StoreError> {
        self.insert("INSERT INTO names (name, app) VALUES (?1, ?2)", (name, app))
    }
}

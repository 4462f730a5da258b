//! Subjects and task ids as small numbers.

use super::{codec::get, transaction::Transaction, value::values};
use crate::store::{
    StoreError,
    cached_names::Name,
    names::{ReadNames, WriteNames},
};

impl ReadNames for Transaction<'_> {
    fn name(&self, name: &str) -> Result<Option<Name>, StoreError> {
        self.find("SELECT id, app FROM names WHERE name = $1", values![name], |row| {
            Ok(Name::new(name, get(row, 0)?, get(row, 1)?))
        })
    }
}

impl WriteNames for Transaction<'_> {
    fn insert_name(&mut self, name: &str, app: Option<i64>) -> Result<i64, StoreError> {
        let id = self.head_mut().next_name();
        self.execute("INSERT INTO names (id, name, app) VALUES ($1, $2, $3)", values![id, name, app])?;
        Ok(id)
    }
}

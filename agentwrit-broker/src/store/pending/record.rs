//! A row that is written, by the statement that writes it.

use super::super::{StoreError, value::Value};

/// A row that is added, changed or deleted. Many of a kind make one statement.
pub(in crate::store) trait Record {
    const WRITE: Write;

    /// Appends the values of the row, in the order of the columns.
    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>);
}

/// The statement for a kind of row.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Write {
    pub(in crate::store) verb: Verb,
    pub(in crate::store) table: &'static str,
    /// The first is the key of a change or deletion.
    pub(in crate::store) columns: &'static [(&'static str, Kind)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) enum Verb {
    Insert,
    Update,
    Delete,
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Integer,
    Boolean,
    Text,
    Bytes,
}

/// Writes rows, many at a time.
pub(in crate::store) trait WriteRecords<'p> {
    /// Writes rows, which are not empty.
    fn write<R: Record>(&mut self, rows: &[&'p R]) -> Result<(), StoreError>;
}

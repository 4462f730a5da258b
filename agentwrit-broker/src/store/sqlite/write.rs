//! Writes rows that were held back, each table by one statement, which stays prepared.
//!
//! A statement writes one row: of several, SQLite would keep copies of the pages that it changes, to undo it if a row fails.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use rusqlite::{Connection, params_from_iter};

use crate::store::{
    StoreError,
    pending::{Pending, Record, Verb, Write, WriteRecords},
    value::Value,
};

thread_local! {
    /// Statements of the writer's thread.
    static STATEMENTS: RefCell<HashMap<(Verb, &'static str), Rc<str>>> = RefCell::default();
}

pub(super) fn write(connection: &Connection, rows: &Pending) -> Result<(), StoreError> {
    rows.write_to(&mut Statements(connection))
}

struct Statements<'c>(&'c Connection);

impl<'p> WriteRecords<'p> for Statements<'_> {
    fn write<R: Record>(&mut self, rows: &[&'p R]) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(&statement(R::WRITE))?;
        let mut values: Vec<Value<'p>> = Vec::with_capacity(R::WRITE.columns.len());
        for row in rows {
            values.clear();
            row.values(&mut values);
            statement.execute(params_from_iter(&values))?;
        }
        Ok(())
    }
}

fn statement(write: Write) -> Rc<str> {
    STATEMENTS.with_borrow_mut(|statements| {
        Rc::clone(statements.entry((write.verb, write.table)).or_insert_with(|| sql(write).into()))
    })
}

/// Returns the statement that writes a row.
pub(super) fn sql(write: Write) -> String {
    let Write { verb, table, columns } = write;
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let (key, others) = names.split_first().map_or(("", &[][..]), |(key, others)| (*key, others));
    match verb {
        Verb::Insert => {
            format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), vec!["?"; names.len()].join(", "))
        }
        Verb::Update => {
            let set: Vec<String> = (2..).zip(others).map(|(number, name)| format!("{name} = ?{number}")).collect();
            format!("UPDATE {table} SET {} WHERE {key} = ?1", set.join(", "))
        }
        Verb::Delete => format!("DELETE FROM {table} WHERE {key} = ?1"),
    }
}

//! Writes rows that were held back, several with a statement.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use rusqlite::{Connection, params_from_iter};

use crate::store::{
    StoreError,
    pending::{Pending, Record, Verb, Write, WriteRecords},
    value::Value,
};

/// Numbers of rows that one statement inserts. Few, so that the statements stay prepared.
const ROWS: [usize; 3] = [16, 4, 1];

/// Verb, table and number of rows of a statement.
type StatementKey = (Verb, &'static str, usize);

thread_local! {
    /// Statements of the writer's thread.
    static STATEMENTS: RefCell<HashMap<StatementKey, Rc<str>>> = RefCell::default();
}

pub(super) fn write(connection: &Connection, rows: &Pending) -> Result<(), StoreError> {
    rows.write_to(&mut Statements(connection))
}

struct Statements<'c>(&'c Connection);

impl<'p> WriteRecords<'p> for Statements<'_> {
    fn write<R: Record>(&mut self, rows: &[&'p R]) -> Result<(), StoreError> {
        let mut rest = rows;
        let mut values: Vec<Value<'p>> = Vec::new();
        while !rest.is_empty() {
            let fits = |count: &usize| *count == 1 || (R::WRITE.verb == Verb::Insert && *count <= rest.len());
            let count = ROWS.into_iter().find(fits).unwrap_or(1);
            let (now, later) = rest.split_at(count.min(rest.len()));
            values.clear();
            for row in now {
                row.values(&mut values);
            }
            let mut statement = self.0.prepare_cached(&statement(R::WRITE, count))?;
            statement.execute(params_from_iter(&values))?;
            rest = later;
        }
        Ok(())
    }
}

fn statement(write: Write, rows: usize) -> Rc<str> {
    STATEMENTS.with_borrow_mut(|statements| {
        let key = (write.verb, write.table, rows);
        Rc::clone(statements.entry(key).or_insert_with(|| sql(write, rows).into()))
    })
}

/// Returns the statement that writes this number of rows.
pub(super) fn sql(write: Write, rows: usize) -> String {
    let Write { verb, table, columns } = write;
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let (key, others) = names.split_first().map_or(("", &[][..]), |(key, others)| (*key, others));
    match verb {
        Verb::Insert => {
            let row = format!("({})", vec!["?"; names.len()].join(", "));
            format!("INSERT INTO {table} ({}) VALUES {}", names.join(", "), vec![row; rows].join(", "))
        }
        Verb::Update => {
            let set: Vec<String> = (2..).zip(others).map(|(number, name)| format!("{name} = ?{number}")).collect();
            format!("UPDATE {table} SET {} WHERE {key} = ?1", set.join(", "))
        }
        Verb::Delete => format!("DELETE FROM {table} WHERE {key} = ?1"),
    }
}

//! Statements for rows that were held back: one for all rows of a kind.

use std::fmt::Write as _;

use super::{query::Query, value::Value};
use crate::store::{
    StoreError,
    pending::{Kind, Pending, Record, Verb, Write, WriteRecords},
};

/// Returns the statements that write `rows`.
pub(super) fn queries(rows: &Pending) -> Result<Vec<Query<'_>>, StoreError> {
    let mut statements = Statements::default();
    rows.write_to(&mut statements)?;
    Ok(statements.0)
}

#[derive(Default)]
struct Statements<'p>(Vec<Query<'p>>);

impl<'p> WriteRecords<'p> for Statements<'p> {
    fn write<R: Record>(&mut self, rows: &[&'p R]) -> Result<(), StoreError> {
        let width = R::WRITE.columns.len();
        let mut columns: Vec<Vec<Value<'p>>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
        let mut values = Vec::with_capacity(width);
        for row in rows {
            row.values(&mut values);
            columns.iter_mut().zip(values.drain(..)).for_each(|(column, value)| column.push(value));
        }
        self.0.push(Query::unread(sql(R::WRITE), columns.into_iter().map(Value::List).collect()));
        Ok(())
    }
}

fn sql(write: Write) -> String {
    let Write { verb, table, columns } = write;
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let (key, others) = names.split_first().map_or(("", &[][..]), |(key, others)| (*key, others));
    let mut lists = String::new();
    for (number, (_, kind)) in (1..).zip(columns) {
        let comma = if number == 1 { "" } else { ", " };
        // Writing to a `String` cannot fail.
        write!(lists, "{comma}${number}::{}[]", type_of(*kind)).unwrap_or_default();
    }
    let names = names.join(", ");
    match verb {
        Verb::Insert => format!("INSERT INTO {table} ({names}) SELECT * FROM unnest({lists})"),
        Verb::Update => {
            let set: Vec<String> = others.iter().map(|name| format!("{name} = given.{name}")).collect();
            let set = set.join(", ");
            format!(
                "UPDATE {table} SET {set} FROM unnest({lists}) AS given ({names}) WHERE {table}.{key} = given.{key}"
            )
        }
        Verb::Delete => format!("DELETE FROM {table} WHERE {key} = ANY({lists})"),
    }
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer => "bigint",
        Kind::Boolean => "boolean",
        Kind::Text => "text",
        Kind::Bytes => "bytea",
    }
}

//! Between columns of SQLite and the types of the domain.

use agentwrit_verify::{ScopeSet, UnixTime};
use rusqlite::{Row, types::Type};

use crate::store::codec::from_micros;

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<UnixTime> {
    Ok(from_micros(row.get(column)?))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<UnixTime>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_micros))
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(super) fn parsed<T, E>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    parse(row.get_ref(column)?.as_str()?).map_err(|error| unreadable(column, error))
}

pub(super) fn optional_parsed<T, E>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<Option<T>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(parse).transpose().map_err(|error| unreadable(column, error))
}

/// Reads a name of a fixed list.
pub(super) fn parsed_option<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let name = row.get_ref(column)?.as_str()?;
    parse(name).ok_or_else(|| unreadable(column, format!("`{name}` is unknown")))
}

pub(super) fn scopes(row: &Row<'_>, column: usize) -> rusqlite::Result<ScopeSet> {
    parsed(row, column, |text| ScopeSet::parse(text.split(' ')))
}

pub(super) fn optional_scopes(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ScopeSet>> {
    optional_parsed(row, column, |text| ScopeSet::parse(text.split(' ')))
}

pub(super) fn unreadable<E>(column: usize, error: E) -> rusqlite::Error
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

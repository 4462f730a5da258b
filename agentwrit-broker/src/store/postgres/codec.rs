//! Between columns of PostgreSQL and the types of the domain.

use agentwrit_verify::{ScopeSet, UnixTime};
use tokio_postgres::{Row, types::FromSql};

use crate::store::{StoreError, codec::from_micros};

pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| unreadable(column, &error))
}

pub(super) fn time(row: &Row, column: usize) -> Result<UnixTime, StoreError> {
    Ok(from_micros(get(row, column)?))
}

pub(super) fn optional_time(row: &Row, column: usize) -> Result<Option<UnixTime>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(from_micros))
}

pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, StoreError> {
    let number: i64 = get(row, column)?;
    u64::try_from(number).map_err(|error| unreadable(column, &error))
}

pub(super) fn bytes<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], StoreError> {
    get::<&[u8]>(row, column)?.try_into().map_err(|error: std::array::TryFromSliceError| unreadable(column, &error))
}

pub(super) fn optional_bytes<const N: usize>(row: &Row, column: usize) -> Result<Option<[u8; N]>, StoreError> {
    if get::<Option<&[u8]>>(row, column)?.is_none() {
        return Ok(None);
    }
    bytes(row, column).map(Some)
}

pub(super) fn parsed<T, E: std::error::Error>(
    row: &Row,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StoreError> {
    parse(get(row, column)?).map_err(|error| unreadable(column, &error))
}

pub(super) fn optional_parsed<T, E: std::error::Error>(
    row: &Row,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, StoreError> {
    get::<Option<&str>>(row, column)?.map(parse).transpose().map_err(|error| unreadable(column, &error))
}

pub(super) fn scopes(row: &Row, column: usize) -> Result<ScopeSet, StoreError> {
    parsed(row, column, |text| ScopeSet::parse(text.split(' ')))
}

pub(super) fn optional_scopes(row: &Row, column: usize) -> Result<Option<ScopeSet>, StoreError> {
    optional_parsed(row, column, |text| ScopeSet::parse(text.split(' ')))
}

pub(super) fn unreadable(column: usize, error: &dyn std::error::Error) -> StoreError {
    StoreError::corrupt(format!("column {column} can't be read: {error}"))
}

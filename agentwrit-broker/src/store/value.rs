//! Values of columns, for the statements of any store.

use std::borrow::Cow;

use agentwrit_verify::UnixTime;

use super::codec::micros;

/// Value of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value<'v> {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(Cow<'v, str>),
    Bytes(Cow<'v, [u8]>),
    List(Vec<Self>),
}

macro_rules! from {
    ($($source:ty => |$value:ident| $variant:expr;)*) => {
        $(impl<'v> From<$source> for Value<'v> {
            fn from($value: $source) -> Self {
                $variant
            }
        })*
    };
}

from! {
    i64 => |number| Self::Integer(number);
    bool => |boolean| Self::Boolean(boolean);
    UnixTime => |time| Self::Integer(micros(time));
    &'v str => |text| Self::Text(Cow::Borrowed(text));
    &'v String => |text| Self::Text(Cow::Borrowed(text));
    String => |text| Self::Text(Cow::Owned(text));
    &'v [u8] => |bytes| Self::Bytes(Cow::Borrowed(bytes));
}

impl<'v, const N: usize> From<&'v [u8; N]> for Value<'v> {
    fn from(bytes: &'v [u8; N]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Value<'_> {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(Cow::Owned(bytes.to_vec()))
    }
}

impl<'v, T> From<Option<T>> for Value<'v>
where
    Value<'v>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

impl<'v, T> From<Vec<T>> for Value<'v>
where
    Value<'v>: From<T>,
{
    fn from(values: Vec<T>) -> Self {
        values.into_iter().collect()
    }
}

impl<'v, T> FromIterator<T> for Value<'v>
where
    Value<'v>: From<T>,
{
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::List(values.into_iter().map(Self::from).collect())
    }
}

/// A list of values.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::value::Value::from($value)),*]
    };
}
pub(super) use values;

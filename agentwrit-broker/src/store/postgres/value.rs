//! Values of columns.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
    Integers(Vec<i64>),
}

type SqlError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql_checked(ty, out),
            Self::Boolean(boolean) => boolean.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
            Self::Integers(numbers) => numbers.to_sql_checked(ty, out),
        }
    }

    /// The value that is sent is checked against the type.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

macro_rules! from {
    ($($source:ty => |$value:ident| $variant:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($value: $source) -> Self {
                $variant
            }
        })*
    };
}

from! {
    i64 => |number| Self::Integer(number);
    bool => |boolean| Self::Boolean(boolean);
    &str => |text| Self::Text(text.to_owned());
    String => |text| Self::Text(text);
    &String => |text| Self::Text(text.clone());
    &[u8] => |bytes| Self::Bytes(bytes.to_owned());
    Vec<i64> => |numbers| Self::Integers(numbers);
    &[i64] => |numbers| Self::Integers(numbers.to_owned());
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T> From<Option<T>> for Value
where
    Self: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// A list of values.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::postgres::value::Value::from($value)),*]
    };
}
pub(super) use values;

//! Values of columns as parameters of PostgreSQL's statements.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

pub(super) use crate::store::value::{Value, values};

type SqlError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql_checked(ty, out),
            Self::Boolean(boolean) => boolean.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.as_ref().to_sql_checked(ty, out),
            Self::List(values) => values.to_sql_checked(ty, out),
        }
    }

    /// The value that is sent is checked against the type.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

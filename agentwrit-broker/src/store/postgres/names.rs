//! Subjects and task ids as small numbers.

use super::{codec::get, query::Query};
use crate::store::{name::Name, wants::Wants};

pub(super) fn query(wants: &Wants) -> Option<Query<'_>> {
    Query::of("SELECT name, id, app FROM names WHERE name = ANY($1)", &wants.names, |row, facts| {
        let name: &str = get(row, 0)?;
        facts.names.learn(name.to_owned(), Some(Name::new(name, get(row, 1)?, get(row, 2)?)));
        Ok(())
    })
}

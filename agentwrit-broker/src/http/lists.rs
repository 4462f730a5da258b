//! Lists with paging: `total`, `limit`, `offset`, and `next_cursor` when there is more.

use serde_json::{Map, Value, json};

use crate::store::Page;

/// One page as an answer; `members` are the entries, each with its cursor.
pub(super) fn answer(name: &str, entries: Vec<(u64, Value)>, total: u64, page: &Page) -> Value {
    // A full page may be followed by another one; the page after the last is then empty.
    let full = entries.len() as u64 >= page.limit;
    let next = entries.last().map(|(cursor, _)| *cursor).filter(|_| full);
    let mut answer = Map::new();
    answer.insert(name.to_owned(), entries.into_iter().map(|(_, entry)| entry).collect());
    answer.insert(String::from("total"), json!(total));
    answer.insert(String::from("limit"), json!(page.limit));
    answer.insert(String::from("offset"), json!(page.offset));
    if let Some(cursor) = next {
        answer.insert(String::from("next_cursor"), json!(cursor.to_string()));
    }
    Value::Object(answer)
}

//! Pages of lists, on the command line and in answers.

use std::io::{self, Write};

use agentwrit_client::{ListResponse, Page};
use agentwrit_verify::audit::text::printable;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::format;

#[derive(Args)]
pub(crate) struct Paging {
    /// At most this many of a page, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Leave out this many
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<u64>,
    /// Go on where an earlier page ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

impl Paging {
    pub(crate) fn page(&self) -> Page {
        Page { limit: self.limit, offset: self.offset, cursor: self.cursor.clone() }
    }
}

/// The page for scripts, under the name that the broker's API gives to the list.
pub(crate) fn answer<T: Serialize>(name: &str, listing: &ListResponse<T>) -> Value {
    let mut members = Map::new();
    members.insert(name.to_owned(), json!(listing.entries));
    members.insert("total".to_owned(), json!(listing.total));
    if let Some(cursor) = &listing.next_cursor {
        members.insert("next_cursor".to_owned(), json!(cursor));
    }
    Value::Object(members)
}

/// That there is more than was shown.
pub(crate) fn say_more<T>(out: &mut dyn Write, listing: &ListResponse<T>) -> io::Result<()> {
    let Some(cursor) = &listing.next_cursor else { return Ok(()) };
    let (shown, total) = (format::number(listing.entries.len() as u64), format::number(listing.total));
    writeln!(out, "\n{shown} of {total}; go on with --cursor {}", printable(cursor))
}

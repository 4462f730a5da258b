//! Lists, which come in pages.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};

/// Part of a list: by default its first 100 entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct Page {
    /// Largest number of entries, 1 to 1000. Default: 100.
    pub limit: Option<u64>,
    /// Number of entries to skip, counted from the cursor.
    pub offset: Option<u64>,
    /// Place to start after: the [`ListResponse::next_cursor`] of the page before.
    pub cursor: Option<String>,
}

impl Page {
    /// Names of the query parameters.
    pub const PARAMETERS: [&str; 3] = ["limit", "offset", "cursor"];

    /// Returns the query parameters that are set.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let number = |number: u64| number.to_string();
        let parameters =
            [("limit", self.limit.map(number)), ("offset", self.offset.map(number)), ("cursor", self.cursor.clone())];
        parameters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    }
}

/// An entry of a list.
pub trait ListEntry {
    /// Name of the member that holds the entries.
    const MEMBER: &'static str;
}

impl ListEntry for crate::Event {
    const MEMBER: &'static str = "events";
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListResponse<T> {
    /// Entries of the page.
    pub entries: Vec<T>,
    /// Number of entries of the whole list.
    pub total: u64,
    /// Largest number of entries of the page, if the broker reports it.
    pub limit: Option<u64>,
    /// Number of entries that were skipped, if the broker reports it.
    pub offset: Option<u64>,
    /// Place that the next page starts after; none when nothing follows.
    pub next_cursor: Option<String>,
}

impl<T> ListResponse<T> {
    /// Answers with a page.
    #[must_use]
    pub fn new(entries: Vec<T>, total: u64, limit: u64, offset: u64, next_cursor: Option<String>) -> Self {
        Self { entries, total, limit: Some(limit), offset: Some(offset), next_cursor }
    }
}

impl<T: ListEntry + Serialize> Serialize for ListResponse<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry(T::MEMBER, &self.entries)?;
        members.serialize_entry("total", &self.total)?;
        for (name, number) in [("limit", self.limit), ("offset", self.offset)] {
            if let Some(number) = number {
                members.serialize_entry(name, &number)?;
            }
        }
        if let Some(cursor) = &self.next_cursor {
            members.serialize_entry("next_cursor", cursor)?;
        }
        members.end()
    }
}

impl<'de, T: ListEntry + Deserialize<'de>> Deserialize<'de> for ListResponse<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: ListEntry + Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = ListResponse<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the member `{}`", T::MEMBER)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ListResponse<T>, A::Error> {
        let (mut entries, mut total, mut next_cursor) = (None, None, None);
        let (mut limit, mut offset) = (None, None);
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "total" => total = Some(members.next_value()?),
                "limit" => limit = members.next_value()?,
                "offset" => offset = members.next_value()?,
                "next_cursor" => next_cursor = members.next_value()?,
                name if name == T::MEMBER => entries = Some(members.next_value()?),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(ListResponse {
            entries: entries.ok_or_else(|| de::Error::missing_field(T::MEMBER))?,
            total: total.ok_or_else(|| de::Error::missing_field("total"))?,
            limit,
            offset,
            next_cursor,
        })
    }
}

//! Query parameters, read strictly, and the pages that they ask for.
//!
//! 1. A name that the endpoint does not know is 400: a misspelt filter is an error, not a wider result.
//! 2. At most [`MAX_PARAMETERS`], counted before they are decoded or compared, each at most once.

use agentwrit_protocol::{
    ListEntry, ListResponse, RequestError,
    limits::{DEFAULT_PAGE, MAX_PAGE},
};
use agentwrit_verify::{AgentId, IdentityError, UnixTime};
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;

use super::errors::HttpError;
use crate::store::Page;

/// Largest number of parameters in a query.
const MAX_PARAMETERS: usize = 16;

/// Parameters of a query, each at most once.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let query = parts.uri.query().unwrap_or_default();
        if query.split('&').filter(|pair| !pair.is_empty()).count() > MAX_PARAMETERS {
            return Err(HttpError::Query(format!("a query has at most {MAX_PARAMETERS} parameters")));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| HttpError::Query(String::from("the query is not `name=value` pairs in UTF-8")))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if pairs.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(HttpError::Query(format!("{}: may be given once", shown(name))));
            }
        }
        Ok(Self(pairs))
    }
}

/// Query of an endpoint that takes no parameters.
#[derive(Debug)]
pub(super) struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        Parameters::from_request_parts(parts, state).await?.only(&[]).map(|()| Self)
    }
}

/// `{id}` of a path.
#[derive(Debug)]
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        // Bytes that are not text name nothing.
        let Path(id) = Path::from_request_parts(parts, state).await.map_err(|_| HttpError::NotFound)?;
        Ok(Self(id))
    }
}

/// A name in the path, and an id below it.
#[derive(Debug)]
pub(super) struct NameAndId(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NameAndId {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let Path((name, id)) = Path::from_request_parts(parts, state).await.map_err(|_| HttpError::NotFound)?;
        Ok(Self(name, id))
    }
}

impl Parameters {
    /// Rejects names that the endpoint does not know.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), HttpError> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else { return Ok(()) };
        let known = if known.is_empty() {
            String::from("none is known here")
        } else {
            format!("known are {}", known.join(", "))
        };
        Err(HttpError::Query(format!("{}: no such parameter; {known}", shown(name))))
    }

    /// Returns a text of at most `longest` bytes.
    pub(super) fn text(&self, name: &'static str, longest: usize) -> Result<Option<&str>, RequestError> {
        match self.0.iter().find(|(found, _)| found == name) {
            None => Ok(None),
            Some((_, value)) if value.is_empty() => Err(RequestError::invalid(name, "must not be empty")),
            Some((_, value)) if value.len() > longest => {
                Err(RequestError::invalid(name, format!("must have at most {longest} bytes")))
            }
            Some((_, value)) => Ok(Some(value)),
        }
    }

    /// Returns an identifier.
    pub(super) fn identifier<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, IdentityError>,
    ) -> Result<Option<T>, RequestError> {
        let text = self.text(name, AgentId::MAX_LENGTH)?;
        text.map(|text| parse(text).map_err(|error| RequestError::invalid(name, error.to_string()))).transpose()
    }

    /// Returns a value that `parse` accepts.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, RequestError> {
        let text = self.text(name, 256)?;
        text.map(|text| parse(text).ok_or_else(|| RequestError::invalid(name, format!("must be {expected}"))))
            .transpose()
    }

    /// Returns a whole number in decimal digits.
    pub(super) fn number(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, RequestError> {
        let range = |number: &u64| (least..=most).contains(number);
        self.parsed(name, &format!("a whole number from {least} to {most}"), |text| number(text).filter(range))
    }

    /// Returns an RFC 3339 time.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<UnixTime>, RequestError> {
        self.parsed(name, "an RFC 3339 time such as 2026-11-21T08:00:00Z", |text| UnixTime::parse_rfc3339(text).ok())
    }

    /// Returns the page of `limit`, `offset` and `cursor`, where a `limit` above [`MAX_PAGE`] counts as that.
    pub(super) fn capped_page(&self) -> Result<Page, RequestError> {
        let beyond =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.trim_start_matches('0').len() > 3;
        let limit = self.parsed("limit", "a whole number from 1 on", |text| match number(text) {
            Some(0) => None,
            Some(limit) => Some(limit.min(MAX_PAGE)),
            None => beyond(text).then_some(MAX_PAGE),
        })?;
        Ok(Page { limit: limit.unwrap_or(DEFAULT_PAGE), ..self.place()? })
    }

    /// Returns the page of `limit`, `offset` and `cursor`.
    pub(super) fn page(&self) -> Result<Page, RequestError> {
        Ok(Page { after: self.place()?.after, ..self.page_without_cursor()? })
    }

    /// Returns the page of `limit` and `offset`, for a list whose cursor is no number.
    pub(super) fn page_without_cursor(&self) -> Result<Page, RequestError> {
        let limit = self.number("limit", 1, MAX_PAGE)?.unwrap_or(DEFAULT_PAGE);
        let offset = self.number("offset", 0, i64::MAX.unsigned_abs())?.unwrap_or(0);
        Ok(Page { limit, offset, after: 0 })
    }

    /// Returns the beginning of the page.
    fn place(&self) -> Result<Page, RequestError> {
        Ok(Page {
            limit: DEFAULT_PAGE,
            // The store counts in signed numbers.
            offset: self.number("offset", 0, i64::MAX.unsigned_abs())?.unwrap_or(0),
            after: self.number("cursor", 0, i64::MAX.unsigned_abs())?.unwrap_or(0),
        })
    }
}

/// Reads decimal digits, as far as they fit.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_default).collect()
}

/// Answers with a page; each entry comes with its cursor.
pub(super) fn list_response<T: ListEntry>(
    entries: impl IntoIterator<Item = (u64, T)>,
    total: u64,
    page: &Page,
) -> ListResponse<T> {
    let (cursors, entries): (Vec<u64>, Vec<T>) = entries.into_iter().unzip();
    // A full page may be followed by another one; the page after the last is then empty.
    let full = entries.len() as u64 >= page.limit;
    let next_cursor = cursors.last().filter(|_| full).map(u64::to_string);
    ListResponse::new(entries, total, page.limit, page.offset, next_cursor)
}

//! Query parameters, read strictly.
//!
//! 1. A name that the endpoint does not know is 400: a misspelt filter is an error, not a wider answer.
//! 2. At most [`MAX_PARAMETERS`], counted before they are decoded or compared, each at most once.

use agentwrit_verify::{AgentId, IdentityError, UnixTime};
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;

use super::problem::Failure;
use crate::{service::Error, store::Page};

/// The longest page of a list.
pub(super) const MAX_PAGE: u64 = 1000;
/// A page of a list whose length is not asked for.
const DEFAULT_PAGE: u64 = 100;

/// The largest number of parameters in a query.
const MAX_PARAMETERS: usize = 16;

/// The parameters of a query, each at most once.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let query = parts.uri.query().unwrap_or_default();
        if query.split('&').filter(|pair| !pair.is_empty()).count() > MAX_PARAMETERS {
            return Err(Failure::BadBody(format!("a query has at most {MAX_PARAMETERS} parameters")));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Failure::BadBody(String::from("the query is not `name=value` pairs in UTF-8")))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if pairs.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(Failure::BadBody(format!("{}: may be given once", shown(name))));
            }
        }
        Ok(Self(pairs))
    }
}

/// The query of an endpoint that takes no parameters.
#[derive(Debug)]
pub(super) struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        Parameters::from_request_parts(parts, state).await?.only(&[]).map(|()| Self)
    }
}

/// The `{id}` of a path.
#[derive(Debug)]
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        // What is not even text names nothing.
        let Path(id) = Path::from_request_parts(parts, state).await.map_err(|_| Failure::NotFound)?;
        Ok(Self(id))
    }
}

impl Parameters {
    /// Refuses names that this endpoint doesn't know.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else { return Ok(()) };
        let known = if known.is_empty() {
            String::from("none is known here")
        } else {
            format!("known are {}", known.join(", "))
        };
        Err(Failure::BadBody(format!("{}: no such parameter; {known}", shown(name))))
    }

    /// A text of at most `longest` bytes.
    pub(super) fn text(&self, name: &'static str, longest: usize) -> Result<Option<&str>, Error> {
        match self.0.iter().find(|(found, _)| found == name) {
            None => Ok(None),
            Some((_, value)) if value.is_empty() => Err(Error::invalid(name, "must not be empty")),
            Some((_, value)) if value.len() > longest => {
                Err(Error::invalid(name, format!("must have at most {longest} bytes")))
            }
            Some((_, value)) => Ok(Some(value)),
        }
    }

    /// The name of somebody or something.
    pub(super) fn name<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, IdentityError>,
    ) -> Result<Option<T>, Error> {
        let text = self.text(name, AgentId::MAX_LENGTH)?;
        text.map(|text| parse(text).map_err(|error| Error::invalid(name, error.to_string()))).transpose()
    }

    /// A value that `parse` understands.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let text = self.text(name, 256)?;
        text.map(|text| parse(text).ok_or_else(|| Error::invalid(name, format!("must be {expected}")))).transpose()
    }

    /// A whole number in decimal digits.
    pub(super) fn number(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Error> {
        let range = |number: &u64| (least..=most).contains(number);
        self.parsed(name, &format!("a whole number from {least} to {most}"), |text| number(text).filter(range))
    }

    /// An RFC 3339 time.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<UnixTime>, Error> {
        self.parsed(name, "an RFC 3339 time such as 2026-11-21T08:00:00Z", |text| UnixTime::parse_rfc3339(text).ok())
    }

    /// `limit`, `offset` and `cursor`, where a `limit` above [`MAX_PAGE`] counts as that.
    pub(super) fn capped_page(&self) -> Result<Page, Error> {
        let beyond =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.trim_start_matches('0').len() > 3;
        let limit = self.parsed("limit", "a whole number from 1 on", |text| match number(text) {
            Some(0) => None,
            Some(limit) => Some(limit.min(MAX_PAGE)),
            None => beyond(text).then_some(MAX_PAGE),
        })?;
        Ok(Page { limit: limit.unwrap_or(DEFAULT_PAGE), ..self.place()? })
    }

    /// `limit`, `offset` and `cursor`.
    pub(super) fn page(&self) -> Result<Page, Error> {
        let limit = self.number("limit", 1, MAX_PAGE)?;
        Ok(Page { limit: limit.unwrap_or(DEFAULT_PAGE), ..self.place()? })
    }

    /// Where a page begins.
    fn place(&self) -> Result<Page, Error> {
        Ok(Page {
            limit: DEFAULT_PAGE,
            // The store counts in signed numbers.
            offset: self.number("offset", 0, i64::MAX.unsigned_abs())?.unwrap_or(0),
            after: self.number("cursor", 0, i64::MAX.unsigned_abs())?.unwrap_or(0),
        })
    }
}

/// Decimal digits, as far as they fit.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_default).collect()
}

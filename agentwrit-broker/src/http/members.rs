//! Request bodies: one JSON object, read strictly, whose members are taken out by name.
//!
//! Every error names the member and says what it must be.

use std::time::Duration;

use agentwrit_verify::{PathSegment, Scope, ScopeSet, json};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::timeout};

use super::problem::Failure;
use crate::{secret::Secret, service::Error};

/// The largest body, in bytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// How long a body may take.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Up to here, in bytes, a body needs no place among [`LARGE_BODIES`].
const SMALL: u64 = 16 * 1024;
/// How many bodies that are large, or don't say how large they are, are read at once.
static LARGE_BODIES: Semaphore = Semaphore::const_new(64);
const MAX_DEPTH: usize = 16;

/// The members of a request's body. What nobody takes is ignored.
#[derive(Debug)]
pub(super) struct Members(Map<String, Value>);

impl<S: Sync> FromRequest<S> for Members {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let body = read(request).await?;
        let members = json::object_from_slice(&body, MAX_DEPTH)
            .map_err(|error| Failure::BadBody(format!("the body is not the JSON object that is expected: {error}")))?;
        Ok(Self(members))
    }
}

/// A body that nobody looks at, within the limit all the same.
#[derive(Debug)]
pub(super) struct Ignored;

impl<S: Sync> FromRequest<S> for Ignored {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        read(request).await.map(|_| Self)
    }
}

async fn read(request: Request) -> Result<bytes::Bytes, Failure> {
    // The memory that large bodies may take at once is bounded; small ones, as clients send them, need no place.
    let large = content_length(&request).is_none_or(|length| length > SMALL);
    let _place = if large { Some(LARGE_BODIES.try_acquire().map_err(|_| Error::Overloaded)?) } else { None };
    let mut body = request.into_body();
    let reading = timeout(BODY_TIME_LIMIT, Limited::new(&mut body, BODY_LIMIT).collect());
    match reading.await.map_err(|_| Failure::TimedOut)? {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body).await;
            Err(Failure::TooLarge)
        }
        Err(_) => Err(Failure::BadBody(String::from("the body could not be read to its end"))),
    }
}

/// The length that a request announces.
pub(super) fn content_length(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Refuses a request whose body is too large by its own account.
pub(super) async fn refuse_body(request: Request) -> Response {
    // Who asks first (`Expect: 100-continue`) has sent nothing yet.
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body()).await;
    }
    Failure::TooLarge.into_response()
}

/// Reads some more of a body that is refused, without keeping it: a client that is still sending when the connection
/// closes would see a broken connection instead of the refusal.
async fn discard(mut body: Body) {
    let mut left = 8 * BODY_LIMIT;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, bytes::Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whoever sends more, or more slowly, has to live with the broken connection.
    timeout(Duration::from_secs(2), reading).await.unwrap_or_default();
}

impl Members {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text of 1 to `longest` bytes.
    pub(super) fn text(&self, field: &'static str, longest: usize) -> Result<&str, Error> {
        self.optional_text(field, longest)?.ok_or_else(|| Error::invalid(field, "is required"))
    }

    /// A text of 1 to `longest` bytes, if it is there.
    pub(super) fn optional_text(&self, field: &'static str, longest: usize) -> Result<Option<&str>, Error> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| Error::invalid(field, "must be a string"))?;
        match text.len() {
            0 => Err(Error::invalid(field, "must not be empty")),
            length if length > longest => Err(Error::invalid(field, format!("must have at most {longest} bytes"))),
            _ => Ok(Some(text)),
        }
    }

    /// A text that is a secret.
    pub(super) fn secret(&self, field: &'static str, longest: usize) -> Result<Secret, Error> {
        self.text(field, longest).map(|text| Secret::new(text.to_owned()))
    }

    /// 1 to 64 scopes that an app or agent may hold.
    pub(super) fn scopes(&self, field: &'static str) -> Result<ScopeSet, Error> {
        self.optional_scopes(field)?.ok_or_else(|| Error::invalid(field, "is required"))
    }

    /// 1 to 64 scopes that an app or agent may hold, if the member is there.
    pub(super) fn optional_scopes(&self, field: &'static str) -> Result<Option<ScopeSet>, Error> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| Error::invalid(field, "must be a list of strings"))?;
        let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        let texts = texts.ok_or_else(|| Error::invalid(field, "must be a list of strings"))?;
        let scopes = ScopeSet::parse(texts).map_err(|error| Error::invalid(field, error.to_string()))?;
        match scopes.iter().find(|scope| Scope::is_reserved(scope)) {
            Some(scope) => Err(Error::invalid(field, format!("`{scope}` is the broker's own: no agent can hold it"))),
            None => Ok(Some(scopes)),
        }
    }

    /// A lifetime of `least` to `most` seconds, if it is there.
    pub(super) fn lifetime(&self, field: &'static str, least: u64, most: u64) -> Result<Option<u64>, Error> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        let Value::Number(number) = value else {
            return Err(Error::invalid(field, "must be a whole number of seconds"));
        };
        match number.as_u64() {
            Some(seconds) if (least..=most).contains(&seconds) => Ok(Some(seconds)),
            None if number.as_f64().is_some_and(|seconds| seconds.fract() != 0.0) => {
                Err(Error::invalid(field, "must be a whole number of seconds"))
            }
            Some(_) | None => Err(Error::InvalidTtl { field, least, most }),
        }
    }

    /// `true` or `false`, if it is there.
    pub(super) fn flag(&self, field: &'static str) -> Result<Option<bool>, Error> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| Error::invalid(field, "must be true or false"))
    }

    /// A SPIFFE path segment.
    pub(super) fn segment(&self, field: &'static str) -> Result<PathSegment, Error> {
        self.optional_segment(field)?.ok_or_else(|| Error::invalid(field, "is required"))
    }

    /// A SPIFFE path segment, if it is there.
    pub(super) fn optional_segment(&self, field: &'static str) -> Result<Option<PathSegment>, Error> {
        let text = self.optional_text(field, PathSegment::MAX_LENGTH)?;
        text.map(|text| PathSegment::parse(text).map_err(|error| Error::invalid(field, error.to_string()))).transpose()
    }
}

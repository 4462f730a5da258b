//! Request bodies: one JSON object, read strictly, whose members are taken out by name.
//!
//! Every error names the member and says what it must be.

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentwrit_verify::{PathSegment, Scope, ScopeSet, json};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{Shared, client::Client, problem::Failure};
use crate::{fair_share::Place, secret::Secret, service::Error};

/// The largest body, in bytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// How long a body may take.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Up to here, in bytes, a body needs no place among the large ones.
const SMALL: usize = 16 * 1024;
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

async fn read(request: Request) -> Result<Bytes, Failure> {
    let places = request.extensions().get::<BodyPlaces>().cloned();
    let announced = content_length(&request);
    let mut body = request.into_body();
    let reading = timeout(BODY_TIME_LIMIT, collect(&mut body, announced, places.as_ref()));
    let outcome = reading.await.map_err(|_| Failure::TimedOut)?;
    if matches!(outcome, Err(Failure::TooLarge)) {
        discard(body).await;
    }
    outcome
}

/// Reads the whole body. The memory that large bodies take at once is bounded: a body needs a place as soon as it is, or
/// says that it is, larger than [`SMALL`]. Bodies as clients send them need none, however slowly they come.
async fn collect(body: &mut Body, announced: Option<u64>, places: Option<&BodyPlaces>) -> Result<Bytes, Failure> {
    let mut place = None;
    let mut read = BytesMut::new();
    if announced.is_some_and(|length| length > SMALL as u64) {
        place = Some(take(places)?);
    }
    loop {
        let frame = match &place {
            None => body.frame().await,
            Some(place) => tokio::select! {
                frame = body.frame() => frame,
                () = place.displaced() => return Err(Error::Overloaded.into()),
            },
        };
        let Some(frame) = frame else { return Ok(read.freeze()) };
        let frame = frame.map_err(|_| Failure::BadBody(String::from("the body could not be read to its end")))?;
        let Some(data) = frame.data_ref() else { continue };
        let length = read.len().saturating_add(data.len());
        if length > BODY_LIMIT {
            return Err(Failure::TooLarge);
        }
        if length > SMALL && place.is_none() {
            place = Some(take(places)?);
        }
        read.extend_from_slice(data);
    }
}

/// Where a request's body finds its place if it is large.
#[derive(Clone, Debug)]
pub(super) struct BodyPlaces {
    authority: Shared,
    client: IpAddr,
}

impl BodyPlaces {
    pub(super) fn new(authority: &Shared, client: Client) -> Self {
        Self { authority: Arc::clone(authority), client: client.0 }
    }
}

fn take(places: Option<&BodyPlaces>) -> Result<Place, Failure> {
    let place = places.and_then(|places| places.authority.pools.large_body(places.client));
    place.ok_or(Error::Overloaded.into())
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

//! Request bodies.
//!
//! 1. A body is read up to [`MAX_BODY`] and no further, within [`BODY_TIME_LIMIT`].
//! 2. The memory that large bodies take at once is bounded: a body needs a place as soon as it is, or is announced, larger
//!    than [`SMALL`], and keeps it until the values made of it are dropped. Without one the response is 503 and nothing was
//!    done. Bodies as clients send them need none, however slowly they arrive.
//! 3. An endpoint that takes no body drains it. A change begins only once its request is complete, on a connection that
//!    is protected until the response is made.
//! 4. A body that is incomplete when the broker stops is answered with 503.

use std::{net::IpAddr, sync::Arc, time::Duration};

use agentwrit_protocol::{JsonRequest, limits::MAX_BODY};
use agentwrit_verify::report::Report;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{Shared, client::Client, errors::HttpError};
use crate::{limits::fair_share::Place, service::Error};

/// Time limit for reading a body.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Largest body that needs no place among the large ones, in bytes.
const SMALL: usize = 16 * 1024;
/// Type of the bodies of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// A request read from the body, and the place that counts a large body until the request is dropped too.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T, pub(super) Option<Place>);

impl<S: Sync, T: JsonRequest> FromRequest<S> for JsonBody<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let body = buffer(request).await?;
        Ok(Self(T::from_json(&body.bytes)?, body.place))
    }
}

/// The place of the connection that a request came by, in the extensions of requests that may change something.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionPlace(Arc<Place>);

impl ConnectionPlace {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self(place)
    }

    /// Protects the connection from being displaced until the response is made. Returns whether it is still there: for a
    /// client that can't learn the outcome, nothing should be done.
    pub(crate) fn protect(&self) -> bool {
        self.0.protect(true)
    }
}

/// The server stops, and the rest of the body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker is stopping")]
pub(crate) struct ServerStopping;

impl ServerStopping {
    /// Returns whether `error`, of reading a request body, was caused by the stop of the server.
    pub(crate) fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<Self>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// Drains the request body, enforcing [`MAX_BODY`].
#[derive(Debug)]
pub(super) struct DrainedBody;

impl<S: Sync> FromRequest<S> for DrainedBody {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let connection = request.extensions().get::<ConnectionPlace>().cloned();
        let draining = async {
            let (mut body, mut length) = (request.into_body(), 0);
            while let Some(part) = next_part(&mut body).await? {
                length = within_limit(length, &part)?;
            }
            protect(connection.as_ref())?;
            Ok(Self)
        };
        timeout(BODY_TIME_LIMIT, draining).await.map_err(|_| HttpError::TimedOut)?
    }
}

/// Fields of a form, of at most [`SMALL`] bytes.
#[derive(Debug)]
pub(crate) struct FormBody(pub(crate) Vec<(String, String)>);

impl<S: Sync> FromRequest<S> for FormBody {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let is_form = request.headers().get(CONTENT_TYPE).is_some_and(|value| *value == FORM);
        if content_length(&request).is_some_and(|length| length > SMALL as u64) {
            return Err(HttpError::TooLarge);
        }
        let BufferedBody { bytes, place } = buffer(request).await?;
        if place.is_some() {
            return Err(HttpError::TooLarge);
        }
        if !is_form {
            return Err(Error::invalid("body", "must be a form").into());
        }
        Ok(Self(form_urlencoded::parse(&bytes).into_owned().collect()))
    }
}

/// A body of text, of at most [`Report::MAX_LENGTH`] bytes, which needs no place.
#[derive(Debug)]
pub(super) struct ReportBody(pub(super) String);

impl<S: Sync> FromRequest<S> for ReportBody {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let connection = request.extensions().get::<ConnectionPlace>().cloned();
        if content_length(&request).is_some_and(|length| length > Report::MAX_LENGTH as u64) {
            return Err(HttpError::ReportTooLarge);
        }
        let reading = async {
            let (mut body, mut bytes) = (request.into_body(), Vec::new());
            while let Some(part) = next_part(&mut body).await? {
                if bytes.len().saturating_add(part.len()) > Report::MAX_LENGTH {
                    return Err(HttpError::ReportTooLarge);
                }
                bytes.extend_from_slice(&part);
            }
            protect(connection.as_ref())?;
            String::from_utf8(bytes).map(Self).map_err(|_| Error::invalid("body", "a report is ASCII text").into())
        };
        timeout(BODY_TIME_LIMIT, reading).await.map_err(|_| HttpError::TimedOut)?
    }
}

/// A whole body.
#[derive(Debug, Default)]
struct BufferedBody {
    bytes: Vec<u8>,
    place: Option<Place>,
}

/// Reads the request body into memory.
async fn buffer(request: Request) -> Result<BufferedBody, HttpError> {
    let places = request.extensions().get::<BodyPlaces>().cloned();
    let take = || places.as_ref().and_then(|places| places.services.pools.large_body(places.client));
    let announced = content_length(&request);
    let connection = request.extensions().get::<ConnectionPlace>().cloned();
    let reading = timeout(BODY_TIME_LIMIT, collect(request.into_body(), announced, take));
    let body = reading.await.map_err(|_| HttpError::TimedOut)??;
    protect(connection.as_ref())?;
    Ok(body)
}

/// Protects the connection of a complete request until the response is made. A connection that was displaced before is
/// about to be closed: the request is rejected.
fn protect(connection: Option<&ConnectionPlace>) -> Result<(), HttpError> {
    match connection {
        Some(connection) if !connection.protect() => Err(Error::Overloaded.into()),
        Some(_) | None => Ok(()),
    }
}

async fn collect(
    mut body: Body,
    announced: Option<u64>,
    take_place: impl Fn() -> Option<Place>,
) -> Result<BufferedBody, HttpError> {
    let take_place = || take_place().ok_or(Error::Overloaded);
    let BufferedBody { mut bytes, mut place } = BufferedBody::default();
    if announced.is_some_and(|length| length > SMALL as u64) {
        place = Some(take_place()?);
    }
    let expected = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(MAX_BODY);
    loop {
        let part = match &place {
            None => next_part(&mut body).await?,
            Some(place) => tokio::select! {
                part = next_part(&mut body) => part?,
                () = place.displaced() => return Err(Error::Overloaded.into()),
            },
        };
        let Some(part) = part else { break };
        let length = within_limit(bytes.len(), &part)?;
        if length > SMALL && place.is_none() {
            place = Some(take_place()?);
        }
        if length > bytes.capacity() {
            // Doubled, but not beyond what the request announced.
            let capacity = bytes.capacity().saturating_mul(2).min(expected).max(length);
            bytes.reserve_exact(capacity.saturating_sub(bytes.len()));
        }
        bytes.extend_from_slice(&part);
    }
    // Nothing waits for the client any more.
    if let Some(place) = &place {
        place.protect(true);
    }
    Ok(BufferedBody { bytes, place })
}

/// Source of places for large bodies, in the extensions of each request.
#[derive(Clone, Debug)]
pub(super) struct BodyPlaces {
    services: Shared,
    client: IpAddr,
}

impl BodyPlaces {
    pub(super) fn new(services: &Shared, client: Client) -> Self {
        Self { services: Arc::clone(services), client: client.0 }
    }
}

/// Returns the next bytes of a body, possibly none, or `None` at its end.
async fn next_part(body: &mut Body) -> Result<Option<Bytes>, HttpError> {
    let Some(frame) = body.frame().await else { return Ok(None) };
    let frame = frame.map_err(|error| {
        if ServerStopping::caused(&error) { HttpError::from(Error::Overloaded) } else { HttpError::IncompleteBody }
    })?;
    Ok(Some(frame.into_data().unwrap_or_default()))
}

fn within_limit(length: usize, part: &Bytes) -> Result<usize, HttpError> {
    length.checked_add(part.len()).filter(|length| *length <= MAX_BODY).ok_or(HttpError::TooLarge)
}

/// Returns the announced length of the body.
pub(super) fn content_length(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::Ipv4Addr};

    use super::*;
    use crate::limits::fair_share::{FairPool, Favour};

    #[tokio::test]
    async fn rejects_large_bodies_beyond_bound_until_earlier_ones_are_dropped() {
        let pool = FairPool::new(2, 2, Favour::Established);
        let read = async |length: usize| {
            let take = || pool.admit(IpAddr::V4(Ipv4Addr::LOCALHOST));
            collect(Body::from(vec![b' '; length]), Some(length as u64), take).await
        };
        let first = read(MAX_BODY).await.unwrap();
        let second = read(SMALL + 1).await.unwrap();
        assert!(matches!(read(SMALL + 1).await, Err(HttpError::Service(Error::Overloaded))));
        assert!(read(SMALL).await.is_ok());
        // Values made of the bytes count as the bytes did.
        drop(first.bytes);
        assert!(read(SMALL + 1).await.is_err());
        drop((first.place, second));
        let all = [read(MAX_BODY).await, read(MAX_BODY).await];
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }

    #[tokio::test]
    async fn keeps_body_of_one_byte_parts_in_one_buffer() {
        let parts = futures_util::stream::iter((0..SMALL).map(|_| Ok::<_, Infallible>("x")));
        let buffered = collect(Body::from_stream(parts), None, || None).await.unwrap();
        assert_eq!(buffered.bytes.len(), SMALL);
        assert!(buffered.bytes.capacity() <= 2 * SMALL);
    }
}

//! Request bodies as bytes.
//!
//! 1. A body is read up to [`BODY_LIMIT`] and no further, within [`BODY_TIME_LIMIT`].
//! 2. The memory that large bodies take at once is bounded: a body needs a place as soon as it is, or says that it is, larger
//!    than [`SMALL`], and keeps it until the values made of it are gone. Without one the response is 503 and nothing was
//!    done. Bodies as clients send them need none, however slowly they come.
//! 3. A body that an endpoint does not look at is drained and not kept.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
};
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{Shared, client::Client, problem::Failure};
use crate::{limits::fair_share::Place, server::ConnectionPlace, service::Error};

/// The largest body, in bytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// Time limit for reading a body.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Up to here, in bytes, a body needs no place among the large ones.
const SMALL: usize = 16 * 1024;

/// A whole body.
#[derive(Debug, Default)]
pub(super) struct BufferedBody {
    pub(super) bytes: Vec<u8>,
    /// Counts the body, and what was made of it, until this is dropped.
    pub(super) place: Option<Place>,
}

/// Drains the request body, enforcing [`BODY_LIMIT`].
#[derive(Debug)]
pub(super) struct DrainedBody;

impl<S: Sync> FromRequest<S> for DrainedBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let connection = request.extensions().get::<ConnectionPlace>().cloned();
        let draining = async {
            let (mut body, mut length) = (request.into_body(), 0);
            while let Some(part) = next_part(&mut body).await? {
                length = within_limit(length, &part)?;
            }
            protect(connection.as_ref())?;
            Ok(Self)
        };
        timeout(BODY_TIME_LIMIT, draining).await.map_err(|_| Failure::TimedOut)?
    }
}

/// Reads the request body into memory.
pub(super) async fn buffer(request: Request) -> Result<BufferedBody, Failure> {
    let places = request.extensions().get::<BodyPlaces>().cloned();
    let take = || places.as_ref().and_then(|places| places.services.pools.large_body(places.client));
    let announced = content_length(&request);
    let connection = request.extensions().get::<ConnectionPlace>().cloned();
    let reading = timeout(BODY_TIME_LIMIT, collect(request.into_body(), announced, take));
    let body = reading.await.map_err(|_| Failure::TimedOut)??;
    protect(connection.as_ref())?;
    Ok(body)
}

/// Keeps the connection of a request whose body is there until the response is made. One that was displaced before that
/// is about to be closed: nothing is done for it.
fn protect(connection: Option<&ConnectionPlace>) -> Result<(), Failure> {
    match connection {
        Some(connection) if !connection.protect() => Err(Error::Overloaded.into()),
        Some(_) | None => Ok(()),
    }
}

async fn collect(
    mut body: Body,
    announced: Option<u64>,
    take_place: impl Fn() -> Option<Place>,
) -> Result<BufferedBody, Failure> {
    let take_place = || take_place().ok_or(Error::Overloaded);
    let BufferedBody { mut bytes, mut place } = BufferedBody::default();
    if announced.is_some_and(|length| length > SMALL as u64) {
        place = Some(take_place()?);
    }
    let expected = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(BODY_LIMIT);
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
    // From here on nothing waits for the client.
    if let Some(place) = &place {
        place.protect(true);
    }
    Ok(BufferedBody { bytes, place })
}

/// Where a request's body finds its place if it is large.
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

/// The next bytes of a body, of which there may be none, or its end.
async fn next_part(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    let Some(frame) = body.frame().await else { return Ok(None) };
    let frame = frame.map_err(|_| Failure::BadBody(String::from("the body could not be read to its end")))?;
    Ok(Some(frame.into_data().unwrap_or_default()))
}

fn within_limit(length: usize, part: &Bytes) -> Result<usize, Failure> {
    length.checked_add(part.len()).filter(|length| *length <= BODY_LIMIT).ok_or(Failure::TooLarge)
}

/// The length that a request announces.
pub(super) fn content_length(request: &Request) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::Ipv4Addr};

    use super::*;
    use crate::limits::fair_share::{FairPool, Favour};

    #[tokio::test]
    async fn refuses_large_bodies_beyond_bound_until_values_of_earlier_ones_are_dropped() {
        let pool = FairPool::new(2, 2, Favour::Established);
        let read = async |length: usize| {
            let take = || pool.admit(IpAddr::V4(Ipv4Addr::LOCALHOST));
            collect(Body::from(vec![b' '; length]), Some(length as u64), take).await
        };
        let first = read(BODY_LIMIT).await.unwrap();
        let second = read(SMALL + 1).await.unwrap();
        assert!(matches!(read(SMALL + 1).await, Err(Failure::Refused(Error::Overloaded))));
        assert!(read(SMALL).await.is_ok());
        // What was made of the bytes counts as they did.
        drop(first.bytes);
        assert!(read(SMALL + 1).await.is_err());
        drop((first.place, second));
        let all = [read(BODY_LIMIT).await, read(BODY_LIMIT).await];
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

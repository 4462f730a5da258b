//! Requests that require a revocation to be applied: the header `AgentWrit-At-Least`.
//!
//! An orchestrator that revokes and goes on sends the cursor of the revocation, `<epoch>.<position>`, with its next
//! requests: a service whose list has not reached it must not accept them yet.
//!
//! 1. Every layer with a verifier checks the header: a request that requires more than the list of one of its verifiers
//!    has reached is rejected with 503 and `Retry-After: 1`; a malformed or repeated header with 400.
//! 2. [`AwaitRevocations`], outside of these layers, waits up to a second before it passes the request on.
//! 3. A cursor of another epoch counts as one that is not reached: epochs have no order. After a restored backup a client
//!    drops the cursors that it has; everything that was revoked before is revoked in the new epoch too. While the list is
//!    fresh no request waits for such a cursor.
//! 4. Few requests wait at once, since none of them is authenticated yet; any other is passed on at once.
//! 5. A verifier without a revocation list reaches no cursor; the broker's own list has reached each one.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentwrit_verify::{FeedCursor, UntilReached, Verifiers};
use http::header::HeaderMap;
use http::{HeaderName, Request};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::rejection::Rejection;

/// Name of the header with the required cursor.
pub(crate) static AT_LEAST: HeaderName = HeaderName::from_static(FeedCursor::AT_LEAST);

/// Rejects a request that requires a cursor which no verifier has reached.
pub(crate) fn check(verifiers: &Verifiers, headers: &HeaderMap) -> Result<(), Rejection> {
    match required(headers)? {
        Some(cursor) if !verifiers.has_reached(&cursor) => Err(Rejection::CursorNotReached { cursor }),
        Some(_) | None => Ok(()),
    }
}

/// Returns the cursor that the request requires, if any.
fn required(headers: &HeaderMap) -> Result<Option<FeedCursor>, Rejection> {
    let mut values = headers.get_all(&AT_LEAST).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let cursor = value.to_str().ok().and_then(|text| FeedCursor::parse(text).ok());
    match (cursor, values.next()) {
        (Some(cursor), None) => Ok(Some(cursor)),
        (None, _) | (_, Some(_)) => Err(Rejection::MalformedCursor),
    }
}

/// [`Layer`] that holds a request with the header `AgentWrit-At-Least` until a verifier's revocation list has reached
/// the cursor in it, up to a second. Put it outside of [`Authenticate`](crate::Authenticate) or
/// [`RequireScope`](crate::RequireScope), which reject the request when the list has still not reached it.
///
/// Other requests pass at once. The token is not verified yet while a request is held, so at most
/// [`MAX_HELD`](Self::MAX_HELD) are: any other is passed on at once, as after the second. Clients without a token can so
/// only keep requests from being held, whose clients then get 503 and try again. A held request costs memory and one timer.
///
/// ```
/// use agentwrit_tower::{Authenticate, AwaitRevocations, verify::Verifier};
/// use axum::{Router, routing::get};
///
/// fn app(verifier: Verifier) -> Router {
///     Router::new()
///         .route("/data", get(|| async { "data" }))
///         .layer(Authenticate::new(verifier.clone()))
///         .layer(AwaitRevocations::new(verifier))
/// }
/// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
///
/// # Panics
///
/// The response future panics when it has to wait outside of a tokio runtime with time enabled.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied"]
pub struct AwaitRevocations {
    verifiers: Verifiers,
    places: Arc<Semaphore>,
}

impl AwaitRevocations {
    /// Longest time that a request is held.
    pub const MAX_WAIT: Duration = Duration::from_secs(1);
    /// Largest number of requests that the layer and its clones hold at once.
    pub const MAX_HELD: usize = 256;

    /// Waits for the list of one verifier, or of one of several.
    pub fn new(verifier: impl Into<Verifiers>) -> Self {
        Self { verifiers: verifier.into(), places: Arc::new(Semaphore::new(Self::MAX_HELD)) }
    }
}

impl<S> Layer<S> for AwaitRevocations {
    type Service = AwaitRevocationsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AwaitRevocationsService { verifiers: self.verifiers.clone(), places: Arc::clone(&self.places), inner }
    }
}

/// Service that [`AwaitRevocations`] puts around another.
#[derive(Clone, Debug)]
pub struct AwaitRevocationsService<S> {
    verifiers: Verifiers,
    places: Arc<Semaphore>,
    inner: S,
}

impl<S, B> Service<Request<B>> for AwaitRevocationsService<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AwaitRevocationsFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // A malformed header is the inner layer's to reject.
        let cursor = required(request.headers()).ok().flatten();
        let cursor = cursor.filter(|cursor| !self.verifiers.has_reached(cursor));
        let place = || Arc::clone(&self.places).try_acquire_owned().ok();
        let Some((cursor, place)) = cursor.and_then(|cursor| Some((cursor, place()?))) else {
            return AwaitRevocationsFuture { state: State::Passed { future: self.inner.call(request) } };
        };
        // The service that was ready takes the request; its clone is for the next one.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let wait = Wait {
            reached: self.verifiers.until_reached(cursor),
            end: Box::pin(sleep(AwaitRevocations::MAX_WAIT)),
            held: Some((inner, request)),
            _place: place,
        };
        AwaitRevocationsFuture { state: State::Held { wait } }
    }
}

/// A request that is held.
struct Wait<S, R> {
    reached: UntilReached,
    end: Pin<Box<Sleep>>,
    held: Option<(S, R)>,
    _place: OwnedSemaphorePermit,
}

impl<S, R> Wait<S, R> {
    /// Returns the request when its cursor is reached, can't be reached, or the time is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(S, R)>> {
        if Pin::new(&mut self.reached).poll(cx).is_pending() {
            ready!(self.end.as_mut().poll(cx));
        }
        Poll::Ready(self.held.take())
    }
}

pin_project! {
    /// Response future of [`AwaitRevocationsService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct AwaitRevocationsFuture<S, R> where S: Service<R> {
        #[pin]
        state: State<S, R, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, R, F> {
        Held { wait: Wait<S, R> },
        Passed { #[pin] future: F },
    }
}

impl<S: Service<R>, R> Future for AwaitRevocationsFuture<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let passed = match this.state.as_mut().project() {
                StateProjection::Passed { future } => return future.poll(cx),
                StateProjection::Held { wait } => ready!(wait.poll(cx)),
            };
            // Polled after completion: a mistake of the caller's, not worth a panic.
            let Some((mut inner, request)) = passed else { return Poll::Pending };
            this.state.set(State::Passed { future: inner.call(request) });
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for AwaitRevocationsFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_held = matches!(self.state, State::Held { .. });
        f.debug_struct("AwaitRevocationsFuture").field("is_held", &is_held).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn reads_one_well_formed_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(required(&headers), Ok(None));
        headers.insert(&AT_LEAST, HeaderValue::from_static("epoch-0.7"));
        assert_eq!(required(&headers), Ok(FeedCursor::new("epoch-0", 7).ok()));
        headers.append(&AT_LEAST, HeaderValue::from_static("epoch-0.7"));
        assert_eq!(required(&headers), Err(Rejection::MalformedCursor));
        for malformed in ["", "7", "epoch-0.", "epoch-0.x", "epoch 0.7", "caf\u{e9}.7"] {
            headers.insert(&AT_LEAST, HeaderValue::from_bytes(malformed.as_bytes()).unwrap());
            assert_eq!(required(&headers), Err(Rejection::MalformedCursor), "{malformed}");
        }
    }
}

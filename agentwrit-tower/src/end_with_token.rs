//! Responses that go on after their token was verified: event streams, WebSocket connections, long downloads.
//!
//! 1. The token is checked again before each frame of the body, and once in an interval while the body is idle: a token
//!    that has expired, was revoked or can no longer be checked ends the response within that time.
//! 2. There is no task, and no list of responses: an idle response costs one timer, of its own, and one check for each
//!    time it fires. A body that is ready at once costs neither.
//! 3. A client cannot take an ended body for a complete one: it ends in an error, so that HTTP/1.1 closes the
//!    connection and HTTP/2 resets the stream. gRPC gets its status in trailers; an event stream, which has no end of
//!    its own, ends.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentwrit_verify::{VerifiedToken, VerifyError};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::access_policy::outer_rejection_options;
use crate::body::ResponseBody;
use crate::rejection::Misconfiguration;
use crate::verified::{Unauthenticated, Verified};
use crate::{error_response, grpc, observe};

/// Future of [`Verified::ended`]: completes when a token is no longer valid, with the reason. Once complete, it returns
/// the same reason whenever it is polled.
///
/// It checks the token whenever it is polled, and once in an [interval](Self::check_every) while it waits.
#[must_use = "futures do nothing unless polled"]
pub struct TokenEnd {
    token: VerifiedToken,
    interval: Duration,
    // `None` until the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    ended: Option<VerifyError>,
}

impl TokenEnd {
    /// Default interval between two checks.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
    /// Minimum interval between two checks: shorter ones are raised to it.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(10);

    fn of(token: &VerifiedToken) -> Self {
        Self { token: token.clone(), interval: Self::DEFAULT_INTERVAL, timer: None, ended: None }
    }

    /// Checks the token once in `interval` while it waits, no more often than once in
    /// [`MIN_INTERVAL`](Self::MIN_INTERVAL).
    pub fn check_every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Self::MIN_INTERVAL);
        self
    }

    /// Checks the token now.
    fn check(&mut self) -> Result<(), VerifyError> {
        if self.ended.is_none() {
            self.ended = self.token.recheck().err();
            if let Some(error) = &self.ended {
                observe::ended(self.token.claims(), error);
            }
        }
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Returns the interval, or less when the token expires before.
    fn until_next_check(&self) -> Duration {
        self.interval.min(self.token.expires_in()).max(Self::MIN_INTERVAL)
    }
}

impl Future for TokenEnd {
    type Output = VerifyError;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<VerifyError> {
        loop {
            if let Err(error) = self.check() {
                return Poll::Ready(error);
            }
            let next = self.until_next_check();
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(next)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(Instant::now() + next);
        }
    }
}

impl fmt::Debug for TokenEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEnd").field("interval", &self.interval).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Verified {
    /// Waits until the token is no longer valid: it has expired, was revoked or renewed (renewal ends the old token),
    /// its key was withdrawn, or no token can be verified at present. For handlers that must notify their client, such
    /// as those of a WebSocket; [`EndWithToken`] ends whole responses.
    ///
    /// ```
    /// use agentwrit_tower::Verified;
    /// use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
    /// use axum::response::Response;
    ///
    /// async fn handler(caller: Verified, upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.on_upgrade(|socket| serve(caller, socket))
    /// }
    ///
    /// async fn serve(caller: Verified, mut socket: WebSocket) {
    ///     let mut ended = caller.ended();
    ///     loop {
    ///         tokio::select! {
    ///             // First, so that no message is served after the token has ended.
    ///             biased;
    ///             _ = &mut ended => {
    ///                 let close = CloseFrame { code: close_code::POLICY, reason: "the token has ended".into() };
    ///                 drop(socket.send(Message::Close(Some(close))).await);
    ///                 return;
    ///             }
    ///             message = socket.recv() => match message {
    ///                 Some(Ok(Message::Text(text))) => drop(socket.send(Message::Text(text)).await),
    ///                 Some(Ok(_)) => {}
    ///                 Some(Err(_)) | None => return,
    ///             },
    ///         }
    ///     }
    /// }
    /// # use axum::{Router, routing::any};
    /// # let _: Router = Router::new().route("/socket", any(handler));
    /// ```
    ///
    /// # Panics
    ///
    /// The future panics when it is polled outside of a tokio runtime with time enabled.
    pub fn ended(&self) -> TokenEnd {
        TokenEnd::of(self.token())
    }
}

/// [`Layer`] that ends the body of a response when the token of its request is no longer valid.
///
/// It belongs inside of the layer that verifies, [`Authenticate`](crate::Authenticate) or
/// [`RequireScope`](crate::RequireScope) (for axum: is added before it), and responds 500 elsewhere. The form of the
/// body's end depends on its content type: an event stream (`text/event-stream`) ends, gRPC gets its status in
/// trailers, and everything else ends in an error, so that a client cannot take it for complete. A response that is
/// upgraded to a WebSocket has no body: its handler waits for [`Verified::ended`].
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use agentwrit_tower::{EndWithToken, RequireScope, verify::Verifier};
/// use axum::{Router, response::sse::{Event, KeepAlive, Sse}, routing::get};
/// use futures_util::{Stream, stream};
///
/// async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
///     Sse::new(stream::pending()).keep_alive(KeepAlive::default())
/// }
///
/// fn app(verifier: Verifier) -> Router {
///     Router::new()
///         .route("/events", get(events))
///         .layer(EndWithToken::new())
///         .layer(RequireScope::new("read:events:*").verifier(verifier))
/// }
/// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
///
/// # Panics
///
/// The body panics when it is polled outside of a tokio runtime with time enabled.
#[derive(Clone, Copy, Debug)]
#[must_use = "a layer does nothing until it is applied"]
pub struct EndWithToken {
    interval: Duration,
}

impl EndWithToken {
    /// Checks the token before each frame, and once a second while the body is idle.
    pub fn new() -> Self {
        Self { interval: TokenEnd::DEFAULT_INTERVAL }
    }

    /// Checks the token once in `interval` while the body is idle, no more often than once in
    /// [`TokenEnd::MIN_INTERVAL`].
    pub fn check_every(self, interval: Duration) -> Self {
        Self { interval }
    }
}

impl Default for EndWithToken {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for EndWithToken {
    type Service = EndWithTokenService<S>;

    fn layer(&self, inner: S) -> EndWithTokenService<S> {
        EndWithTokenService { interval: self.interval, inner }
    }
}

/// Service that [`EndWithToken`] puts around another.
#[derive(Clone, Debug)]
pub struct EndWithTokenService<S> {
    interval: Duration,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for EndWithTokenService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<EndWithTokenBody<R>>>;
    type Error = S::Error;
    type Future = EndWithTokenFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let extensions = request.extensions();
        let end = extensions.get::<Verified>().map(|verified| verified.ended().check_every(self.interval));
        if end.is_none() && extensions.get::<Unauthenticated>().is_none() {
            let (head, _) = request.into_parts();
            let rejection_options = outer_rejection_options(&head).cloned().unwrap_or_default();
            let rejected =
                error_response::respond(Misconfiguration::NoTokenToRecheck.into(), &head, &rejection_options);
            return EndWithTokenFuture { state: State::Rejected { response: Some(Box::new(rejected)) } };
        }
        EndWithTokenFuture { state: State::Inner { future: self.inner.call(request), end } }
    }
}

pin_project! {
    /// Response future of [`EndWithTokenService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct EndWithTokenFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Inner { #[pin] future: F, end: Option<TokenEnd> },
        Rejected { response: Option<Box<Response<Full<Bytes>>>> },
    }
}

impl<F, R, E> Future for EndWithTokenFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<EndWithTokenBody<R>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future, end } => {
                let response = ready!(future.poll(cx))?;
                let body_end = BodyEnd::of(response.headers());
                let check = end.take().map(|end| TokenCheck { end, body_end });
                let body = |inner| ResponseBody::inner(EndWithTokenBody { inner: Some(inner), check });
                Poll::Ready(Ok(response.map(body)))
            }
            StateProjection::Rejected { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::rejection))),
                // Polled after completion: a mistake of the caller's, not worth a panic.
                None => Poll::Pending,
            },
        }
    }
}

/// Form in which a body ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyEnd {
    /// The stream ends.
    EndOfStream,
    /// `grpc-status` in trailers.
    GrpcTrailers,
    /// An error, so that the body is not taken for complete.
    Error,
}

impl BodyEnd {
    fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
        let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Self::EndOfStream
        } else if grpc::is_grpc(content_type) {
            Self::GrpcTrailers
        } else {
            Self::Error
        }
    }
}

#[derive(Debug)]
struct TokenCheck {
    end: TokenEnd,
    body_end: BodyEnd,
}

pin_project! {
    /// Response body that ends with the token of its request: see [`EndWithToken`].
    #[derive(Debug)]
    pub struct EndWithTokenBody<R> {
        // `None` once the token has ended, which releases the inner body's resources.
        #[pin]
        inner: Option<R>,
        // `None`: an optional layer passed the request without a token.
        check: Option<TokenCheck>,
    }
}

impl<R: Default> Default for EndWithTokenBody<R> {
    fn default() -> Self {
        Self { inner: Some(R::default()), check: None }
    }
}

impl<R: Body> Body for EndWithTokenBody<R> {
    type Data = R::Data;
    type Error = EndWithTokenError<R::Error>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(check) = this.check else {
            return inner.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(EndWithTokenError::Body)));
        };
        let error = match check.end.check() {
            Err(error) => error,
            Ok(()) => match inner.poll_frame(cx) {
                Poll::Ready(frame) => {
                    return Poll::Ready(frame.map(|frame| frame.map_err(EndWithTokenError::Body)));
                }
                Poll::Pending => ready!(Pin::new(&mut check.end).poll(cx)),
            },
        };
        this.inner.set(None);
        Poll::Ready(match check.body_end {
            BodyEnd::EndOfStream => None,
            BodyEnd::GrpcTrailers => Some(Ok(Frame::trailers(grpc::ended(&error)))),
            BodyEnd::Error => Some(Err(EndWithTokenError::TokenEnded(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Error of an [`EndWithTokenBody`] that ended before its time.
#[derive(Debug)]
#[non_exhaustive]
pub enum EndWithTokenError<E> {
    /// The inner body failed.
    Body(E),
    /// The token is no longer valid.
    TokenEnded(VerifyError),
}

impl<E: fmt::Display> fmt::Display for EndWithTokenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::TokenEnded(_) => f.write_str("the token of the request no longer counts"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display + Into<Box<dyn Error + Send + Sync>>> Error for EndWithTokenError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Body(_) => None,
            Self::TokenEnded(error) => Some(error),
        }
    }
}

//! Lingering close (RFC 9112 §9.6): a response that is made before the request's body was read must reach the client.
//!
//! A server that stops reading while its client is still sending closes the connection with data unread; the TCP reset
//! that follows can destroy the response before the client has seen it. So the rest of the body is read and dropped, in
//! a task of its own: the response does not wait for it.
//!
//! 1. At most 8 MiB, for at most 5 seconds. Then the connection may be reset.
//! 2. Nothing is read of a body that the client has not begun to send because it waits for `100 Continue`.
//! 3. Outside a tokio runtime nothing is read; the runtime needs its timer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::{Request, header::EXPECT, request::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

const BYTES: usize = 8 * 1024 * 1024;
const TIME: Duration = Duration::from_secs(5);

/// Request body that is read to its end, within the limits of lingering close, when it is dropped unread.
///
/// The layers of this crate drain the body of each request that they reject. A service that responds early for other
/// reasons, because its handlers don't read a body or stop half way, [wraps](Self::wrap) its requests outside of every
/// layer that may respond.
#[derive(Debug)]
pub struct LingeringBody<B: Body + Send + Unpin + 'static> {
    body: Option<B>,
    /// The client waits for `100 Continue`, which the first read sends.
    awaits_continue: bool,
}

/// In the extensions of a request: its body is drained when it is dropped.
#[derive(Clone, Copy, Debug)]
struct DrainedOnDrop;

impl<B: Body + Send + Unpin + 'static> LingeringBody<B> {
    /// Wraps the body of a request.
    pub fn wrap(mut request: Request<B>) -> Request<Self> {
        request.extensions_mut().insert(DrainedOnDrop);
        let awaits_continue = request.headers().contains_key(EXPECT);
        request.map(|body| Self { body: Some(body), awaits_continue })
    }
}

impl<B: Body + Send + Unpin + 'static> Body for LingeringBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.awaits_continue = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Send + Unpin + 'static> Drop for LingeringBody<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|_| !self.awaits_continue) {
            drain(body);
        }
    }
}

/// Drains the body of a rejected request.
pub(crate) fn linger<B: Body + Send + 'static>(head: &Parts, body: B) {
    if !head.headers.contains_key(EXPECT) && head.extensions.get::<DrainedOnDrop>().is_none() {
        drain(body);
    }
}

fn drain<B: Body + Send + 'static>(body: B) {
    if body.is_end_stream() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        // The timer is created in the task, within its runtime.
        drop(runtime.spawn(async { Drain { body: Box::pin(body), left: BYTES, time: Box::pin(sleep(TIME)) }.await }));
    }
}

struct Drain<B> {
    body: Pin<Box<B>>,
    left: usize,
    time: Pin<Box<Sleep>>,
}

impl<B: Body> Future for Drain<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while self.time.as_mut().poll(cx).is_pending() {
            let Some(Ok(frame)) = ready!(self.body.as_mut().poll_frame(cx)) else { break };
            let length = frame.data_ref().map_or(0, Buf::remaining);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => break,
            }
        }
        Poll::Ready(())
    }
}

//! Request bodies as the connection receives them.
//!
//! 1. A body that is still incomplete [`RECEIVE_GRACE`](super::RECEIVE_GRACE) after the stop of the server ends with
//!    [`ServerStopping`]: a client that stops sending does not delay the end of the process. Nothing follows that error: a
//!    rejected request's body is polled again, to drain it.
//! 2. The [`Phase`] of the connection learns when the body ends, so that bytes of a body are not taken for the head of the
//!    next request.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{sync::watch, time::sleep};

use super::{RECEIVE_GRACE, stopped, timeouts::Phase};
use crate::http::ServerStopping;

/// The body of a request that was received over a connection of this server.
pub(super) struct RequestBody<B = Incoming> {
    body: B,
    phase: Phase,
    ended: bool,
    stopping: watch::Receiver<bool>,
    /// Resolves when the body must end. Made when the body first waits for its client, which most bodies never do.
    deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<B: Body> RequestBody<B> {
    pub(super) fn new(body: B, phase: Phase, stopping: watch::Receiver<bool>) -> Self {
        let ended = body.is_end_stream();
        phase.receives_body(!ended);
        Self { body, phase, ended, stopping, deadline: None }
    }
}

impl<B> RequestBody<B> {
    fn end(&mut self) {
        // Once only: afterwards the phase may belong to the next request.
        if !self.ended {
            self.ended = true;
            self.phase.receives_body(false);
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let stopping = &this.stopping;
            let deadline = this.deadline.get_or_insert_with(|| {
                let stopped = stopped(stopping.clone());
                Box::pin(async {
                    stopped.await;
                    sleep(RECEIVE_GRACE).await;
                })
            });
            ready!(deadline.as_mut().poll(cx));
            this.end();
            return Poll::Ready(Some(Err(ServerStopping.into())));
        };
        if this.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            this.end();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::FutureExt;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::{sync::mpsc, time::Instant};

    use super::*;

    type Client = mpsc::UnboundedSender<&'static str>;

    /// A body that ends when its client is dropped.
    fn body(
        stopping: watch::Receiver<bool>,
    ) -> (Client, RequestBody<impl Body<Data = Bytes, Error = Infallible> + Unpin>) {
        let (client, received) = mpsc::unbounded_channel();
        let parts = stream::unfold(received, async |mut received: mpsc::UnboundedReceiver<&'static str>| {
            let part = received.recv().await?;
            Some((Ok(Frame::data(Bytes::from_static(part.as_bytes()))), received))
        });
        (client, RequestBody::new(StreamBody::new(Box::pin(parts)), Phase::default(), stopping))
    }

    #[tokio::test(start_paused = true)]
    async fn incomplete_body_ends_after_grace_when_server_stops() {
        let (stop, stopping) = watch::channel(false);
        let (client, mut body) = body(stopping);
        client.send("{").unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{");
        assert!(body.frame().now_or_never().is_none(), "waits for its client");

        stop.send_replace(true);
        let stopped = Instant::now();
        let error = axum::Error::new(body.frame().await.unwrap().unwrap_err());
        assert!(ServerStopping::caused(&error), "{error:?}");
        assert_eq!(stopped.elapsed(), RECEIVE_GRACE);
        // As the drain of a rejected request does.
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none(), "nothing follows the error");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_arrives_within_grace_is_complete() {
        let (stop, stopping) = watch::channel(false);
        let (client, body) = body(stopping);
        stop.send_replace(true);
        let sending = async {
            sleep(RECEIVE_GRACE / 2).await;
            client.send("{}").unwrap();
            drop(client);
        };
        let (received, ()) = tokio::join!(body.collect(), sending);
        assert_eq!(received.unwrap().to_bytes(), "{}");
    }
}

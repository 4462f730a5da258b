//! Connections that don't wait for ever: the time limits that hyper's own timer can't tell apart.
//!
//! 1. A request's head has [`HEAD`] from its first byte, and on a new connection from the start: half-sent requests are
//!    cut off.
//! 2. Between requests a connection may rest for [`IDLE`].
//! 3. A client must take its response: whenever the connection waits for the client, it waits for [`PATIENCE`] at most;
//!    every byte that is taken earns a little of that back, so that a client slower than [`LEAST_RATE`] is cut off after
//!    `PATIENCE` even if it takes a byte now and then. A client that keeps up never waits.
//! 4. While a request is being answered, its own time limit counts, not 1 and 2; and 2 counts from the last byte of the
//!    response.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

const HEAD: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(120);
/// How long a connection waits for a client that takes no more of its response.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes per second: the least average rate at which a client takes a response that is larger than the buffers.
const LEAST_RATE: u32 = 16 * 1024;

/// What a connection is doing; the service tells when it begins and ends to answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

const IN_HEAD: u8 = 0;
const ANSWERING: u8 = 1;
const RESTING: u8 = 2;

impl Phase {
    /// A request's head is complete.
    pub(crate) fn answering(&self) {
        self.0.store(ANSWERING, Ordering::Relaxed);
    }

    /// Its answer is made.
    pub(crate) fn resting(&self) {
        self.0.store(RESTING, Ordering::Relaxed);
    }

    fn enter(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream with the time limits of this module.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    stream: S,
    phase: Phase,
    /// The phase that the timer was set for; none when it is to be set anew.
    clocked: Option<u8>,
    reading: Pin<Box<Sleep>>,
    writing: Pin<Box<Sleep>>,
    /// Since when the client takes nothing.
    blocked: Option<Instant>,
    patience: Duration,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            clocked: Some(IN_HEAD),
            reading: Box::pin(sleep(HEAD)),
            writing: Box::pin(sleep(PATIENCE)),
            blocked: None,
            patience: PATIENCE,
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let phase = self.phase.get();
        if phase == ANSWERING {
            self.clocked = Some(phase);
            return Poll::Pending;
        }
        if self.clocked != Some(phase) {
            self.clocked = Some(phase);
            let limit = if phase == IN_HEAD { HEAD } else { IDLE };
            self.reading.as_mut().reset(Instant::now() + limit);
        }
        self.reading.as_mut().poll(cx)
    }

    /// Waits for the client, as long as there is patience with it.
    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.blocked.is_none() {
            let now = Instant::now();
            self.blocked = Some(now);
            self.writing.as_mut().reset(now + self.patience);
        }
        ready!(self.writing.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The client took `bytes`, or all that was under way.
    fn taken(&mut self, bytes: usize) {
        if let Some(since) = self.blocked.take() {
            self.patience = self.patience.saturating_sub(since.elapsed());
        }
        let earned = Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX)) / LEAST_RATE;
        self.patience = self.patience.saturating_add(earned).min(PATIENCE);
        if self.phase.get() == RESTING {
            self.clocked = None;
        }
    }

    fn poll_taken(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.taken(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_stalled(cx),
        }
    }

    /// A flush is done when the client took what was under way. It earns nothing: those bytes have been counted.
    fn poll_flushed(&mut self, cx: &mut Context<'_>, flushed: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match flushed {
            Poll::Ready(outcome) => {
                if self.blocked.is_some() {
                    self.taken(0);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => self.poll_stalled(cx),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => {
                if self.phase.get() == RESTING && buffer.filled().len() > before {
                    self.phase.enter(IN_HEAD);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                ready!(self.poll_late(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_taken(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.poll_taken(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.poll_flushed(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_flushed(cx, shut_down)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> (io::Result<usize>, Duration) {
        let started = Instant::now();
        let outcome = stream.read(&mut [0; 16]).await;
        (outcome, started.elapsed())
    }

    fn timed_out(outcome: &io::Result<usize>) -> bool {
        outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_must_send_a_head() {
        let (_client, server) = duplex(64);
        let (outcome, after) = read(&mut Timed::new(server, Phase::default())).await;
        assert!(timed_out(&outcome) && after >= HEAD && after < HEAD + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_trickle_in_do_not_extend_the_head() {
        let (mut client, server) = duplex(64);
        let mut server = Timed::new(server, Phase::default());
        let started = Instant::now();
        let outcome = loop {
            client.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let outcome = server.read(&mut [0; 16]).await;
            if started.elapsed() > HEAD {
                break server.read(&mut [0; 16]).await.and(outcome);
            }
        };
        assert!(timed_out(&outcome));
    }

    #[tokio::test(start_paused = true)]
    async fn a_resting_connection_has_longer_until_its_next_request_begins() {
        let (mut client, server) = duplex(64);
        let phase = Phase::default();
        let mut server = Timed::new(server, phase.clone());
        phase.answering();
        phase.resting();
        let (outcome, after) = read(&mut server).await;
        assert!(timed_out(&outcome) && after >= IDLE);

        phase.resting();
        client.write_all(b"GET").await.unwrap();
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 3);
        let (outcome, after) = read(&mut server).await;
        assert!(timed_out(&outcome) && after >= HEAD && after < IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn while_answering_no_limit_counts() {
        let (mut client, server) = duplex(64);
        let phase = Phase::default();
        let mut server = Timed::new(server, phase.clone());
        phase.answering();
        let writing = tokio::spawn(async move {
            tokio::time::sleep(IDLE * 2).await;
            client.write_all(b"body").await.unwrap();
        });
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 4);
        writing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_a_response_of_which_nothing_is_taken() {
        let (_client, server) = duplex(8);
        let mut server = Timed::new(server, Phase::default());
        let started = Instant::now();
        let outcome = server.write_all(&[0; 64]).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_a_response_of_which_a_byte_is_taken_now_and_then() {
        let (mut client, server) = duplex(8);
        let mut server = Timed::new(server, Phase::default());
        let reading = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                if client.read(&mut [0; 1]).await.unwrap() == 0 {
                    break;
                }
            }
        });
        let started = Instant::now();
        let outcome = server.write_all(&[0; 1024]).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < PATIENCE * 2, "{:?}", started.elapsed());
        drop(server);
        reading.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn sends_a_long_response_to_a_client_that_takes_it_at_the_least_rate() {
        let second = usize::try_from(LEAST_RATE).unwrap();
        let (mut client, server) = duplex(second);
        let phase = Phase::default();
        let mut server = Timed::new(server, phase.clone());
        phase.answering();
        phase.resting();
        let reading = tokio::spawn(async move {
            let mut taken = vec![0; second];
            while client.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        // Beyond the time that a connection may rest: it counts from the last byte.
        let seconds = IDLE.as_secs() * 2;
        for _ in 0..seconds {
            server.write_all(&vec![0; second]).await.unwrap();
            let mut nothing = [0; 1];
            assert!(server.read(&mut nothing).now_or_never().is_none(), "it does not time out while it writes");
        }
        drop(server);
        reading.await.unwrap();
    }
}

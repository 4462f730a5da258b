//! Connections that don't wait for ever: the time limits that hyper's own timer can't tell apart.
//!
//! 1. A request's head has [`HEAD`] from its first byte, and on a new connection from the start: half-sent requests are
//!    cut off.
//! 2. Between requests a connection may rest for [`IDLE`].
//! 3. A client that takes nothing of its answer for [`STALLED`] is cut off.
//! 4. While a request is being answered, its own time limit counts, not these.

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
const STALLED: Duration = Duration::from_secs(30);

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
    /// The phase that the timer was set for.
    clocked: u8,
    reading: Pin<Box<Sleep>>,
    writing: Pin<Box<Sleep>>,
    blocked: bool,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            clocked: IN_HEAD,
            reading: Box::pin(sleep(HEAD)),
            writing: Box::pin(sleep(STALLED)),
            blocked: false,
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let phase = self.phase.get();
        if phase == ANSWERING {
            self.clocked = phase;
            return Poll::Pending;
        }
        if phase != self.clocked {
            self.clocked = phase;
            let limit = if phase == IN_HEAD { HEAD } else { IDLE };
            self.reading.as_mut().reset(Instant::now() + limit);
        }
        self.reading.as_mut().poll(cx)
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.blocked {
            self.blocked = true;
            self.writing.as_mut().reset(Instant::now() + STALLED);
        }
        ready!(self.writing.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(outcome) => {
                self.blocked = false;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.poll_stalled(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            Poll::Ready(outcome) => {
                self.blocked = false;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.poll_stalled(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
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
    async fn an_answer_that_nobody_takes_is_given_up() {
        let (_client, server) = duplex(8);
        let mut server = Timed::new(server, Phase::default());
        let started = Instant::now();
        let outcome = server.write_all(&[0; 64]).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= STALLED);
    }
}

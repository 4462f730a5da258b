//! Timeouts of connections that hyper's own timer cannot tell apart.
//!
//! 1. The head of a request must be complete [`HEAD_TIMEOUT`] after its first byte, on a new connection after the start.
//! 2. Between requests a connection may be idle for [`IDLE_TIMEOUT`].
//! 3. A client must read its response: a connection waits for [`WRITE_TIMEOUT`] at most until the client reads on. Every byte
//!    that is read earns a little of that back, so that a client slower than [`MIN_WRITE_RATE`] is disconnected after
//!    `WRITE_TIMEOUT` even if it reads a byte now and then. A client that keeps up never causes a wait.
//! 4. While a request is being answered, its own time limit applies instead of 1 and 2; and 2 starts with the last byte of
//!    the response.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Timeout for a client that reads no more of its response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes per second: the minimum average rate at which a client must read a response larger than the buffers.
const MIN_WRITE_RATE: u32 = 16 * 1024;

/// Phase of a connection. The service reports the beginning and the end of each response, and the body of each request its
/// own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    receives_body: AtomicBool,
}

const IN_HEAD: u8 = 0;
const ANSWERING: u8 = 1;
const RESTING: u8 = 2;

impl Phase {
    /// The head of a request is complete.
    pub(super) fn answering(&self) {
        self.enter(ANSWERING);
    }

    /// The response is made.
    pub(super) fn resting(&self) {
        self.enter(RESTING);
    }

    /// The body of the current request begins or ends. Its rest may be received after the response was made.
    pub(super) fn receives_body(&self, receives: bool) {
        self.0.receives_body.store(receives, Ordering::Relaxed);
    }

    /// Returns true while the head of a request is being received, or awaited on a new connection.
    pub(super) fn is_in_head(&self) -> bool {
        self.get() == IN_HEAD
    }

    /// Takes note of bytes from the client.
    fn received(&self) {
        if self.get() == RESTING && !self.0.receives_body.load(Ordering::Relaxed) {
            self.enter(IN_HEAD);
        }
    }

    fn enter(&self, phase: u8) {
        self.0.phase.store(phase, Ordering::Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.phase.load(Ordering::Relaxed)
    }
}

/// A stream with the time limits of this module.
#[derive(Debug)]
pub(crate) struct TimedStream<S> {
    stream: S,
    phase: Phase,
    /// The phase that the timer was set for; none when the timer must be reset.
    timed_phase: Option<u8>,
    reading: Pin<Box<Sleep>>,
    writing: Pin<Box<Sleep>>,
    /// The time since which the client reads nothing.
    blocked: Option<Instant>,
    write_credit: Duration,
}

impl<S> TimedStream<S> {
    pub(crate) fn new(stream: S, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            timed_phase: Some(IN_HEAD),
            reading: Box::pin(sleep(HEAD_TIMEOUT)),
            writing: Box::pin(sleep(WRITE_TIMEOUT)),
            blocked: None,
            write_credit: WRITE_TIMEOUT,
        }
    }

    fn poll_read_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let phase = self.phase.get();
        if phase == ANSWERING {
            self.timed_phase = Some(phase);
            return Poll::Pending;
        }
        if self.timed_phase != Some(phase) {
            self.timed_phase = Some(phase);
            let limit = if phase == IN_HEAD { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
            self.reading.as_mut().reset(Instant::now() + limit);
        }
        self.reading.as_mut().poll(cx)
    }

    /// Waits for the client until its credit is used up.
    fn poll_write_timeout<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.blocked.is_none() {
            let now = Instant::now();
            self.blocked = Some(now);
            self.writing.as_mut().reset(now + self.write_credit);
        }
        ready!(self.writing.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The client made room for `bytes`, or for all that was being flushed.
    fn wrote(&mut self, bytes: usize) {
        if let Some(since) = self.blocked.take() {
            self.write_credit = self.write_credit.saturating_sub(since.elapsed());
        }
        let earned = Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX)) / MIN_WRITE_RATE;
        self.write_credit = self.write_credit.saturating_add(earned).min(WRITE_TIMEOUT);
        if self.phase.get() == RESTING {
            self.timed_phase = None;
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.wrote(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_write_timeout(cx),
        }
    }

    /// A flush ends when the client has made room. It earns nothing: its bytes were counted when they were written.
    fn poll_flush_result(&mut self, cx: &mut Context<'_>, flushed: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match flushed {
            Poll::Ready(outcome) => {
                if self.blocked.is_some() {
                    self.wrote(0);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => self.poll_write_timeout(cx),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => {
                if buffer.filled().len() > before {
                    self.phase.received();
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                ready!(self.poll_read_timeout(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.poll_flush_result(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_flush_result(cx, shut_down)
    }
}

#[cfg(test)]
mod tests;

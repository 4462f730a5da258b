//! A stream that is written by a thread of its own, so that a reader that hangs stops no other thread.
//!
//! 1. [`Stream::push`] never waits: a line that finds the buffer full is dropped and counted.
//! 2. Lines that were dropped are reported in the stream itself as soon as it takes text again.
//! 3. Waiting lines are bounded in bytes: one buffer that fills, one that is being written.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Largest size of the waiting lines, in bytes.
pub(super) const CAPACITY: usize = 1024 * 1024;
/// Pause before another attempt on a stream that another process has made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Renders the line, with its line feed, that reports a number of dropped lines.
pub(super) type Report = Box<dyn Fn(u64) -> String + Send>;

/// The sending end. Dropping it ends the thread once everything is written.
pub(super) struct Stream {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: &'static AtomicU64,
}

#[derive(Default)]
struct Waiting {
    text: String,
    /// Lines dropped since the thread last took the text.
    dropped: u64,
    is_writing: bool,
    is_closed: bool,
}

impl Stream {
    /// Starts the thread. `dropped` counts dropped lines for the metrics.
    pub(super) fn start(writer: impl Write + Send + 'static, report: Report, dropped: &'static AtomicU64) -> Self {
        let shared = Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), dropped });
        let thread = Thread { shared: Arc::clone(&shared), writer, report, unreported: 0 };
        // Without the thread the buffer fills and lines are counted as dropped.
        thread::Builder::new().name("agentwrit-log".to_owned()).spawn(move || thread.run()).ok();
        Self { shared }
    }

    /// Queues `text`, which ends in its line feed, or drops it when too many lines wait already.
    pub(super) fn push(&self, text: &str) {
        let mut waiting = self.shared.lock();
        if waiting.text.len().saturating_add(text.len()) > CAPACITY {
            waiting.dropped = waiting.dropped.saturating_add(1);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.text.push_str(text);
        drop(waiting);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, `limit` at most. Returns whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let is_pending = |waiting: &mut Waiting| waiting.is_writing || !waiting.text.is_empty();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), limit, is_pending);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread<W> {
    shared: Arc<Shared>,
    writer: W,
    report: Report,
    /// Dropped lines that are not reported yet.
    unreported: u64,
}

impl<W: Write> Thread<W> {
    fn run(mut self) {
        while let Some(text) = self.take() {
            self.write(&text);
            self.shared.lock().is_writing = false;
            self.shared.changed.notify_all();
        }
    }

    /// The text that waits, as soon as there is some; `None` after the end.
    fn take(&mut self) -> Option<String> {
        let is_idle = |waiting: &mut Waiting| waiting.text.is_empty() && !waiting.is_closed;
        let waiting = self.shared.changed.wait_while(self.shared.lock(), is_idle);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        if waiting.text.is_empty() {
            return None;
        }
        waiting.is_writing = true;
        self.unreported = self.unreported.saturating_add(std::mem::take(&mut waiting.dropped));
        Some(std::mem::take(&mut waiting.text))
    }

    /// Writes `text`, then the report of the lines that were dropped behind it.
    fn write(&mut self, text: &str) {
        let written = self.write_all(text.as_bytes());
        let rest = text.as_bytes().get(written..).unwrap_or_default();
        let lost = rest.split_inclusive(|byte| *byte == b'\n').count() as u64;
        if lost > 0 {
            self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
            self.unreported = self.unreported.saturating_add(lost);
        } else if self.unreported > 0 {
            let report = (self.report)(self.unreported);
            if self.write_all(report.as_bytes()) == report.len() {
                self.unreported = 0;
            }
        }
    }

    /// Writes as much as the stream takes. Returns how many bytes that was.
    fn write_all(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.writer.write(rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                // A closed pipe, a full disk: no stream is left to report it.
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes one piece of text for each permission.
    struct Gate {
        permissions: mpsc::Receiver<io::Result<()>>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permissions.recv().unwrap()?;
            self.written.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Fixture {
        stream: Stream,
        permissions: mpsc::Sender<io::Result<()>>,
        written: Arc<Mutex<String>>,
        dropped: &'static AtomicU64,
    }

    const LONG: Duration = Duration::from_secs(60);

    fn fixture() -> Fixture {
        let (permissions, receiver) = mpsc::channel();
        let written = Arc::<Mutex<String>>::default();
        let dropped: &'static AtomicU64 = Box::leak(Box::default());
        let gate = Gate { permissions: receiver, written: Arc::clone(&written) };
        let report: Report = Box::new(|lines| format!("dropped {lines}\n"));
        Fixture { stream: Stream::start(gate, report, dropped), permissions, written, dropped }
    }

    #[test]
    fn drops_counts_and_reports_lines_when_the_reader_hangs() {
        let fixture = fixture();
        fixture.stream.push("first\n");
        // The thread is stuck in its first write.
        while !fixture.stream.shared.lock().is_writing {
            thread::yield_now();
        }
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..CAPACITY / line.len() + 3 {
            fixture.stream.push(&line);
        }
        assert_eq!(fixture.dropped.load(Ordering::Relaxed), 3);
        assert!(!fixture.stream.flush(Duration::from_millis(1)), "the reader still hangs");
        for _ in 0..3 {
            fixture.permissions.send(Ok(())).unwrap();
        }
        assert!(fixture.stream.flush(LONG));
        let written = fixture.written.lock().unwrap();
        assert_eq!(written.len(), "first\n".len() + CAPACITY + "dropped 3\n".len());
        assert!(written.starts_with("first\nx") && written.ends_with("x\ndropped 3\n"));
    }

    #[test]
    fn counts_lines_that_a_closed_stream_does_not_take_and_reports_them_later() {
        let fixture = fixture();
        fixture.permissions.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        fixture.stream.push("a\n");
        assert!(fixture.stream.flush(LONG));
        assert_eq!(fixture.dropped.load(Ordering::Relaxed), 1);
        fixture.permissions.send(Ok(())).unwrap();
        fixture.permissions.send(Ok(())).unwrap();
        fixture.stream.push("b\n");
        assert!(fixture.stream.flush(LONG));
        assert_eq!(*fixture.written.lock().unwrap(), "b\ndropped 1\n");
    }

    #[test]
    fn tries_again_when_the_stream_is_non_blocking() {
        let fixture = fixture();
        for outcome in [Err(io::ErrorKind::WouldBlock.into()), Err(io::ErrorKind::Interrupted.into()), Ok(())] {
            fixture.permissions.send(outcome).unwrap();
        }
        fixture.stream.push("a\n");
        assert!(fixture.stream.flush(LONG));
        assert_eq!(*fixture.written.lock().unwrap(), "a\n");
        assert_eq!(fixture.dropped.load(Ordering::Relaxed), 0);
    }
}

//! Destination of log lines.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Renderer,
    fields::Fields,
    line::Severity,
    stream::{Report, Stream},
};

pub(super) trait Sink: Send + Sync + 'static {
    /// Writes a line, which ends in its line feed.
    fn write(&self, severity: Severity, line: &str);
}

/// `FAIL` to stderr, the rest to stdout, each through a thread: one stream whose reader hangs does not hold up the other.
pub(super) struct StandardStreams {
    stdout: Stream,
    stderr: Stream,
}

/// The streams of this process, once a line was written to them.
static STREAMS: OnceLock<StandardStreams> = OnceLock::new();

static DROPPED: Dropped = Dropped { stdout: AtomicU64::new(0), stderr: AtomicU64::new(0) };

struct Dropped {
    stdout: AtomicU64,
    stderr: AtomicU64,
}

impl StandardStreams {
    /// The streams of this process. The renderer of the first caller writes the reports of dropped lines.
    pub(super) fn of_process(renderer: &Renderer) -> &'static Self {
        STREAMS.get_or_init(|| {
            let (out, err) = (unbuffered(io::stdout()), unbuffered(io::stderr()));
            Self {
                stdout: Stream::start(out, report(renderer, Severity::Warn, "stdout"), &DROPPED.stdout),
                stderr: Stream::start(err, report(renderer, Severity::Fail, "stderr"), &DROPPED.stderr),
            }
        })
    }

    fn of(&self, severity: Severity) -> &Stream {
        match severity {
            Severity::Fail => &self.stderr,
            Severity::Warn | Severity::Ok | Severity::Trace => &self.stdout,
        }
    }
}

impl Sink for &'static StandardStreams {
    fn write(&self, severity: Severity, line: &str) {
        self.of(severity).push(line);
    }
}

/// Waits until all lines have left the process, `limit` at most.
pub(super) fn flush(limit: Duration) {
    if let Some(streams) = STREAMS.get() {
        let started = Instant::now();
        streams.stderr.flush(limit);
        streams.stdout.flush(limit.saturating_sub(started.elapsed()));
    }
}

/// Name of each stream, and the number of lines that it has lost.
pub(super) fn dropped_lines() -> [(&'static str, u64); 2] {
    [("stderr", DROPPED.stderr.load(Ordering::Relaxed)), ("stdout", DROPPED.stdout.load(Ordering::Relaxed))]
}

/// A handle of its own: the standard library's has a lock that a thread stuck in a write would hold.
fn unbuffered(stream: impl AsFd + Write + Send + 'static) -> Box<dyn Write + Send> {
    match stream.as_fd().try_clone_to_owned() {
        Ok(handle) => Box::new(File::from(handle)),
        Err(_) => Box::new(stream),
    }
}

fn report(renderer: &Renderer, severity: Severity, stream: &'static str) -> Report {
    let renderer = renderer.clone();
    Box::new(move |lines| {
        let mut fields = Fields { message: "log lines were dropped".to_owned(), ..Fields::default() };
        fields.others.extend([("stream", stream.into()), ("lines", lines.into())]);
        renderer.render(severity, "agentwrit_broker::log", &fields)
    })
}

//! The log: one line per event, in a format that scripts rely on.
//!
//! 1. `[AA:MODULE:LEVEL] TIMESTAMP | COMPONENT | MESSAGE | key=value, key=value`. `FAIL` goes to stderr, `OK`, `WARN`
//!    and `TRACE` to stdout. The JSON format has the same parts as members of one object per line.
//! 2. An event is a `tracing` event: the target gives MODULE (`agentwrit_broker::http::apps` is `HTTP`), the field
//!    `component` gives COMPONENT (else the last part of the target), the level gives LEVEL: `ERROR` is `FAIL`, `INFO`
//!    is `OK`, `DEBUG` and `TRACE` are `TRACE`. The fields of the enclosing spans come first: a span with `request_id`
//!    marks every line of its request.
//! 3. `AA_LOG_LEVEL` selects the lines: `quiet` `FAIL` and `WARN`, `standard` also `OK`, `verbose` also the
//!    request log (targets that end in `::access`), `trace` everything.
//! 4. Input cannot forge a line: control characters and marks that reorder text are escaped in messages and values, values
//!    that could be taken for something else are quoted, and long ones are cut.
//! 5. Of libraries only warnings and errors are logged: their finer levels may show headers and with them tokens.
//!
//! A thread for each stream writes the lines, so that a reader of stdout or stderr that hangs stops nothing else. Up to
//! 1 MiB waits for each; lines beyond it are dropped, counted in `agentwrit_log_lines_dropped_total` and reported in the
//! log as soon as it takes lines again. [`flush`] waits for the remaining lines at the end of the process; a crash can lose the
//! last lines.

use std::{fmt, panic, sync::Arc, time::Duration};

use agentwrit_verify::{Clock, SystemClock};
use tracing::{
    Event, Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::SetGlobalDefaultError,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
};

use self::{
    fields::Fields,
    line::{Line, Severity},
    sink::{Sink, StandardStreams},
};

mod fields;
mod line;
mod sink;
mod stream;

/// Level of detail of the log; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Failures and warnings.
    Quiet,
    /// Also successes.
    Standard,
    /// Also each request.
    Verbose,
    /// Everything.
    Trace,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `[AA:MODULE:LEVEL] …`
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes the log of the whole process from now on; panics become lines of it.
///
/// # Errors
///
/// When the process has a log already.
pub fn init(level: LogLevel, format: LogFormat, clock: Arc<dyn Clock>) -> Result<(), SetGlobalDefaultError> {
    let layer = LogLayer::new(level, format, clock);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;
    // The standard hook writes to stderr on the thread that panics, which may serve requests.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let cause = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(component = "broker", place, cause = cause.unwrap_or_default(), "a thread panicked");
    }));
    Ok(())
}

/// Writes a line to stdout as it is, through the same thread as the log.
pub fn print(text: &str) {
    print_bare(Severity::Ok, text);
}

/// Writes a line to stderr as it is, through the same thread as the log.
pub fn print_error(text: &str) {
    print_bare(Severity::Fail, text);
}

fn print_bare(severity: Severity, text: &str) {
    let renderer = Renderer { format: LogFormat::Text, clock: Arc::new(SystemClock) };
    StandardStreams::of_process(&renderer).write(severity, &format!("{text}\n"));
}

/// Waits until the lines written so far have left the process, `limit` at most.
///
/// It blocks the thread: call it at the end, outside of a runtime.
pub fn flush(limit: Duration) {
    sink::flush(limit);
}

/// Number of lines that each stream has lost since the start, by its name.
#[must_use]
pub fn dropped_lines() -> [(&'static str, u64); 2] {
    sink::dropped_lines()
}

/// Turns `tracing` events into log lines.
pub struct LogLayer {
    level: LogLevel,
    renderer: Renderer,
    sink: Box<dyn Sink>,
}

/// Turns the parts of an event into a line.
#[derive(Clone)]
struct Renderer {
    format: LogFormat,
    clock: Arc<dyn Clock>,
}

impl Renderer {
    /// The line, with its line feed.
    fn render(&self, severity: Severity, target: &str, fields: &Fields) -> String {
        let line = Line { severity, target, at: self.clock.now(), fields };
        let mut text = match self.format {
            LogFormat::Text => line.to_text(),
            LogFormat::Json => line.to_json(),
        };
        text.push('\n');
        text
    }
}

impl LogLayer {
    /// A log to stdout and stderr.
    #[must_use]
    pub fn new(level: LogLevel, format: LogFormat, clock: Arc<dyn Clock>) -> Self {
        let renderer = Renderer { format, clock };
        let sink = Box::new(StandardStreams::of_process(&renderer));
        Self { level, renderer, sink }
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with("agentwrit");
        if metadata.is_span() {
            // At every level: a `FAIL` in a request needs its request id.
            return is_ours;
        }
        match *metadata.level() {
            Level::ERROR | Level::WARN => true,
            Level::INFO if metadata.target().ends_with("::access") => is_ours && self.level >= LogLevel::Verbose,
            Level::INFO => is_ours && self.level >= LogLevel::Standard,
            _ => is_ours && self.level >= LogLevel::Trace,
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.admits(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // `INFO` also when quiet, for the spans.
        Some(if self.level == LogLevel::Trace { LevelFilter::TRACE } else { LevelFilter::INFO })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.extend(outer);
            }
        }
        event.record(&mut fields);
        let severity = Severity::of(*event.metadata().level());
        let line = self.renderer.render(severity, event.metadata().target(), &fields);
        self.sink.write(severity, &line);
    }
}

impl fmt::Debug for LogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer")
            .field("level", &self.level)
            .field("format", &self.renderer.format)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! The log: one line per event, in a format that scripts rely on.
//!
//! 1. `[AA:MODULE:LEVEL] TIMESTAMP | COMPONENT | MESSAGE | key=value, key=value`. `FAIL` goes to stderr, `OK`, `WARN`
//!    and `TRACE` to stdout. The JSON format has the same parts as members of one object per line.
//! 2. An event is a `tracing` event: the target gives MODULE (`agentwrit_broker::http::apps` is `HTTP`), the field
//!    `component` gives COMPONENT (else the last part of the target), the level gives LEVEL: `ERROR` is `FAIL`, `INFO`
//!    is `OK`, `DEBUG` and `TRACE` are `TRACE`. The fields of the enclosing spans come first: a span with `request_id`
//!    marks every line of its request.
//! 3. What is written depends on `AA_LOG_LEVEL`: `quiet` `FAIL` and `WARN`, `standard` also `OK`, `verbose` also the
//!    request log (targets that end in `::access`), `trace` everything.
//! 4. Nobody forges a line: control characters and marks that reorder text are escaped in messages and values, values
//!    that could be taken for something else are quoted, and long ones are cut.
//! 5. Libraries get a word in only to warn: their finer levels may show headers and with them tokens.
//!
//! Lines are written as they arise, unbuffered, so that a crash loses none.

use std::{fmt, sync::Arc};

use agentwrit_verify::Clock;
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
use crate::config::{LogFormat, LogLevel};

mod fields;
mod line;
mod sink;

/// Writes the log of the whole process from now on.
///
/// # Errors
///
/// When the process has a log already.
pub fn init(level: LogLevel, format: LogFormat, clock: Arc<dyn Clock>) -> Result<(), SetGlobalDefaultError> {
    let layer = LogLayer::new(level, format, clock);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
}

/// Turns `tracing` events into log lines.
pub struct LogLayer {
    level: LogLevel,
    format: LogFormat,
    clock: Arc<dyn Clock>,
    sink: Box<dyn Sink>,
}

impl LogLayer {
    /// A log to stdout and stderr.
    #[must_use]
    pub fn new(level: LogLevel, format: LogFormat, clock: Arc<dyn Clock>) -> Self {
        Self { level, format, clock, sink: Box::new(StandardStreams) }
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with("agentwrit");
        if metadata.is_span() {
            // Whatever the level: a `FAIL` in a request is worth little without its request id.
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
        let line = Line { severity, target: event.metadata().target(), at: self.clock.now(), fields: &fields };
        let mut text = match self.format {
            LogFormat::Text => line.to_text(),
            LogFormat::Json => line.to_json(),
        };
        text.push('\n');
        self.sink.write(severity, &text);
    }
}

impl fmt::Debug for LogLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLayer").field("level", &self.level).field("format", &self.format).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! Where lines go.

use std::io::{self, Write};

use super::line::Severity;

pub(super) trait Sink: Send + Sync + 'static {
    /// Writes a line, which ends in its line feed.
    fn write(&self, severity: Severity, line: &str);
}

/// `FAIL` to stderr, the rest to stdout.
pub(super) struct StandardStreams;

impl Sink for StandardStreams {
    fn write(&self, severity: Severity, line: &str) {
        let written = match severity {
            Severity::Fail => io::stderr().lock().write_all(line.as_bytes()),
            Severity::Warn | Severity::Ok | Severity::Trace => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        // A log that nobody reads any more must not stop the broker, and there is nowhere left to say so.
        written.ok();
    }
}

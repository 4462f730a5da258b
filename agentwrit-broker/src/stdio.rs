//! Standard streams and arguments of the program.
//!
//! 1. A write that fails does not panic: the exit code is that of the command, not of a panic.
//! 2. A line that cannot be written to stderr is lost, because no other stream is left to report it.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

/// Exit code after the reader of stdout closed it: the one that a shell reports after SIGPIPE.
pub const READER_CLOSED: u8 = 141;

/// Writes a line to stderr.
pub fn note(line: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    stderr.write_fmt(line).and_then(|()| stderr.write_all(b"\n")).unwrap_or_default();
}

/// Writes a line to stdout.
///
/// # Errors
///
/// Error of the write.
pub fn print(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(line)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Parses the arguments of this process.
///
/// # Errors
///
/// The exit code after help or version was printed (0), after wrong usage (2), or after stdout failed (1, or
/// [`READER_CLOSED`]).
pub fn arguments<P: Parser>(program: &str) -> Result<P, ExitCode> {
    let message = match P::try_parse() {
        Ok(arguments) => return Ok(arguments),
        Err(message) => message,
    };
    let written = message.print().and_then(|()| io::stdout().flush());
    if message.use_stderr() {
        return Err(ExitCode::from(2));
    }
    Err(match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(READER_CLOSED),
        Err(error) => {
            note(format_args!("{program}: stdout: {error}"));
            ExitCode::FAILURE
        }
    })
}

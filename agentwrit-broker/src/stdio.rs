//! Standard streams of the programs.
//!
//! 1. A write that fails does not panic: a program ends with the exit code of its work, not with that of a panic.
//! 2. A line that cannot be written to stderr is lost, since there is no further place to report to.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

/// Exit code of a program whose reader has closed stdout: what a shell reports after SIGPIPE.
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
/// That of the write.
pub fn print(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(line)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// The arguments of this process.
///
/// # Errors
///
/// The exit code after help or version was printed (0), after wrong usage (2), or after stdout failed (1, or
/// [`READER_CLOSED`]).
pub fn arguments<P: Parser>(program: &str) -> Result<P, ExitCode> {
    let shown = match P::try_parse() {
        Ok(arguments) => return Ok(arguments),
        Err(shown) => shown,
    };
    let written = shown.print().and_then(|()| io::stdout().flush());
    if shown.use_stderr() {
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

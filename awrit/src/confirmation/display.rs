//! Progress of a wait: a table that is drawn anew on a terminal, lines elsewhere, nothing with `--json`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use agentwrit_verify::UnixTime;

use super::view::{Row, View};
use crate::{error::CliError, format, output::Output};

/// Milliseconds after the commit from which a verifier that is not complete gets a line where stdout is not a terminal.
const SILENT_FOR: u64 = 1000;

pub(super) struct Display {
    output: Output,
    /// Lines of the table on the terminal.
    drawn: Vec<String>,
    /// Numbers of the line that was printed last for each verifier.
    printed: BTreeMap<String, (u64, u64, bool)>,
}

impl Display {
    pub(super) fn new(output: Output) -> Self {
        Self { output, drawn: Vec::new(), printed: BTreeMap::new() }
    }

    /// Returns true when the verifiers are shown before the end of the wait.
    pub(super) fn shows_progress(&self) -> bool {
        !self.output.is_json()
    }

    /// Shows the state. An error of stdout is reported at the end.
    pub(super) fn draw(&mut self, view: &View, now: UnixTime) {
        self.show(view, now, false).unwrap_or_default();
    }

    /// Shows the state at the end of the wait, and a line about all verifiers.
    pub(super) fn finish(&mut self, view: &View, now: UnixTime) -> Result<(), CliError> {
        if self.output.is_json() {
            return Ok(());
        }
        self.show(view, now, true)?;
        let mut stdout = io::stdout().lock();
        if let Some(line) = summary(view) {
            writeln!(stdout, "{line}")?;
        }
        Ok(stdout.flush()?)
    }

    fn show(&mut self, view: &View, now: UnixTime, at_end: bool) -> io::Result<()> {
        if self.output.is_json() {
            return Ok(());
        }
        let rows = view.rows(now);
        if self.output.is_terminal() {
            return self.redraw(&rows, at_end);
        }
        let elapsed = view.elapsed().unwrap_or(0);
        let width = name_width(&rows);
        let mut stdout = io::stdout().lock();
        for row in &rows {
            let numbers = (row.confirmed, row.instances, row.is_complete());
            let is_due = row.is_complete() || at_end || elapsed >= SILENT_FOR;
            if is_due && self.printed.get(&row.verifier) != Some(&numbers) {
                self.printed.insert(row.verifier.clone(), numbers);
                writeln!(stdout, "{}", line(row, width))?;
            }
        }
        stdout.flush()
    }

    /// Replaces the table on the terminal. Before the end it has at most as many lines as the terminal: those of the
    /// verifiers that are not complete come first.
    fn redraw(&mut self, rows: &[Row], at_end: bool) -> io::Result<()> {
        let width = name_width(rows);
        let mut ordered: Vec<&Row> = rows.iter().collect();
        let room = usize::try_from(self.output.rows()).unwrap_or(usize::MAX);
        let omitted = if at_end { 0 } else { rows.len().saturating_sub(room) };
        if omitted > 0 {
            ordered.sort_by_key(|row| row.is_complete());
            ordered.truncate(room);
        }
        let mut lines: Vec<String> = ordered.into_iter().map(|row| line(row, width)).collect();
        if omitted > 0 {
            lines.push(format!("  and {}", format::count(omitted as u64, "other verifier")));
        }
        if !at_end {
            // A line that the terminal breaks would be two.
            lines = lines.iter().map(|line| self.output.cut(line)).collect();
        }
        if lines == self.drawn && !at_end {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        if !self.drawn.is_empty() {
            // Cursor up, and everything below it erased.
            write!(stdout, "\u{1b}[{}A\u{1b}[J", self.drawn.len())?;
        }
        for line in &lines {
            writeln!(stdout, "{line}")?;
        }
        self.drawn = lines;
        stdout.flush()
    }
}

fn name_width(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.verifier.len()).max().unwrap_or(0)
}

/// Formats a verifier's line, as in `  payments-api  4/4 confirmed  12 ms`.
fn line(row: &Row, width: usize) -> String {
    let Row { verifier, confirmed, instances, complete_after, notes } = row;
    let counts = match (instances, notes.is_empty()) {
        (0, true) => "no instance".to_owned(),
        (0, false) => String::new(),
        (_, _) => format!("{confirmed}/{instances} confirmed"),
    };
    let after = complete_after.filter(|_| *instances > 0).map(milliseconds);
    let rest: Vec<String> = after.into_iter().chain(notes.iter().cloned()).collect();
    let parts = [format!("  {verifier:width$}"), counts, rest.join(", ")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

/// Returns the line about all verifiers; `None` before the first response.
fn summary(view: &View) -> Option<String> {
    let response = view.response()?;
    let confirmation = &response.confirmation;
    let text = if confirmation.pending.is_empty() {
        let instances = format::count(confirmation.verifiers, "instance");
        let fenced = match confirmation.fenced {
            0 => String::new(),
            fenced => format!(", {} of them fenced", format::number(fenced)),
        };
        format!("Confirmed after {} by {instances}{fenced}.", milliseconds(response.elapsed_ms))
    } else {
        let (confirmed, all) = (format::number(confirmation.confirmed), format::number(confirmation.verifiers));
        let omitted = match response.pending_omitted {
            0 => String::new(),
            omitted => format!(" {} of the others are not shown.", format::number(omitted)),
        };
        format!("Confirmed by {confirmed} of {all} instances after {}.{omitted}", milliseconds(response.elapsed_ms))
    };
    if response.unenrolled == 0 {
        return Some(text);
    }
    let followers = format::count(response.unenrolled, "follower");
    Some(format!("{text} About {followers} of the feed are not enrolled and not counted."))
}

/// Formats milliseconds, as in `38 ms`, `30.2 s` or `2 min 5 s`.
fn milliseconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format::duration(std::time::Duration::from_millis(milliseconds)),
    }
}

//! What a command prints on stdout.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::{self, BufWriter, IsTerminal, Write},
};

use agentwrit_verify::audit::text::{is_printable, printable};
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, TableStyle};
use serde::Serialize;
use terminal_size::{Height, Width, terminal_size_of};

use crate::error::CliError;

/// Writes a line to stderr. A line that cannot be written is lost: there is no further place to report to.
pub(crate) fn write_stderr(line: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    stderr.write_fmt(line).and_then(|()| stderr.write_all(b"\n")).unwrap_or_default();
}

#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    /// Columns of the terminal; none when the output goes elsewhere, and nothing is cut then.
    width: Option<u16>,
    /// Lines of the terminal.
    height: Option<u16>,
}

/// A table.
pub(crate) struct Layout {
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let size = if terminal { terminal_size_of(&stdout) } else { None };
        let (width, height) = size.map(|(Width(width), Height(height))| (width, height)).unzip();
        Self { json, terminal, width, height }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The same thing for scripts, or for people.
    pub(crate) fn show(
        self,
        for_scripts: &impl Serialize,
        for_people: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CliError> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        if self.json {
            let json = serde_json::to_string_pretty(for_scripts).map_err(io::Error::from)?;
            writeln!(stdout, "{}", json.lines().map(|line| self.json_text(line)).collect::<Vec<_>>().join("\n"))?;
        } else {
            for_people(&mut stdout)?;
        }
        Ok(stdout.flush()?)
    }

    /// JSON as it is; on a terminal without characters that would do something to it. It means the same.
    pub(crate) fn json_text(self, json: &str) -> Cow<'_, str> {
        if !self.terminal || json.chars().all(is_printable) {
            return Cow::Borrowed(json);
        }
        let mut safe = String::with_capacity(json.len());
        for character in json.chars() {
            if is_printable(character) {
                safe.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(safe, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
        Cow::Owned(safe)
    }

    /// How many rows of a table are shown at once: what the terminal has room for, and a hundred elsewhere.
    pub(crate) fn rows(self) -> u64 {
        // Header, a line about what is not shown with an empty one before it, and the prompt.
        const OTHER_LINES: u16 = 4;
        const LEAST: u16 = 10;
        match self.height {
            Some(height) if !self.json => height.saturating_sub(OTHER_LINES).max(LEAST).into(),
            Some(_) | None => 100,
        }
    }

    /// The first of some tables whose columns fit the terminal next to each other, else the last. The last column of each
    /// may be cut.
    pub(crate) fn first_that_fits(self, layouts: Vec<Layout>) -> Option<Layout> {
        let mut last = None;
        for layout in layouts {
            if self.fits(&layout) {
                return Some(layout);
            }
            last = Some(layout);
        }
        last
    }

    fn fits(self, layout: &Layout) -> bool {
        let Some(width) = self.width else { return true };
        let widest = |(index, name): (usize, &&str)| {
            let cells = layout.rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(name.len()) + 2
        };
        let spared = layout.columns.len().saturating_sub(1);
        let needed: usize = layout.columns.iter().enumerate().take(spared).map(widest).sum();
        needed + usize::from(USEFUL) <= usize::from(width)
    }

    /// A table, as wide as the terminal; elsewhere as wide as what is in it.
    pub(crate) fn table(
        self,
        out: &mut dyn Write,
        columns: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> io::Result<()> {
        let mut table = Table::new();
        // A cell is cut where the room ends, not between words: no cell has a NUL.
        table.load_style(TableStyle::new()).set_truncation_indicator("…").set_delimiter('\0');
        table.set_header(one_line(columns.iter().map(|column| (*column).to_owned())));
        for row in rows {
            table.add_row(one_line(row));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            spare_all_but_the_last(&mut table, width);
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What is left of a last column is worth its place from this width on.
const USEFUL: u16 = 16;

/// The last column is the one that people can do without; in a narrow terminal every column gives.
fn spare_all_but_the_last(table: &mut Table, width: u16) {
    let widths = table.column_max_content_widths();
    let Some((_, spared)) = widths.split_last() else { return };
    let needed = spared.iter().fold(USEFUL, |sum, column| sum.saturating_add(column.saturating_add(2)));
    if needed <= width {
        for column in table.column_iter_mut().take(spared.len()) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

fn one_line(cells: impl IntoIterator<Item = String>) -> Row {
    let mut row = Row::from(cells.into_iter().map(|cell| printable(&cell).into_owned()));
    row.max_height(1);
    row
}

/// Names and values, one a line, the values one below the other.
pub(crate) fn fields(out: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let longest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        writeln!(out, "{name:longest$}  {}", printable(value))?;
    }
    Ok(())
}

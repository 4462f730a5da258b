//! Results on stdout: JSON, tables, fields and pages of lists. Messages on stderr.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, BufWriter, IsTerminal, Write},
};

use agentwrit_client::{ListResponse, Page};
use agentwrit_verify::audit::text::{is_printable, printable};
use clap::Args;
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, TableStyle};
use serde::Serialize;
use terminal_size::{Height, Width, terminal_size_of};

use crate::{error::CliError, format};

#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    /// Columns of the terminal; `None` where stdout is not a terminal: nothing is cut then.
    width: Option<u16>,
    /// Lines of the terminal.
    height: Option<u16>,
}

/// Column names and cells of a table.
pub(crate) struct TableContent {
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

    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Cuts a line to the width of the terminal.
    pub(crate) fn cut(self, line: &str) -> String {
        let width = self.width.map_or(usize::MAX, usize::from);
        if line.chars().count() <= width {
            return line.to_owned();
        }
        let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }

    /// Prints `value` as JSON with `--json`, else what `print_text` writes.
    pub(crate) fn print(
        self,
        value: &impl Serialize,
        print_text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CliError> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        if self.json {
            let json = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
            writeln!(stdout, "{}", json.lines().map(|line| self.escape_json(line)).collect::<Vec<_>>().join("\n"))?;
        } else {
            print_text(&mut stdout)?;
        }
        Ok(stdout.flush()?)
    }

    /// Escapes characters in JSON text that a terminal would act on; the value stays the same.
    pub(crate) fn escape_json(self, json: &str) -> Cow<'_, str> {
        if !self.terminal || json.chars().all(is_printable) {
            return Cow::Borrowed(json);
        }
        let mut escaped = String::with_capacity(json.len());
        for character in json.chars() {
            if is_printable(character) {
                escaped.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(escaped, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
        Cow::Owned(escaped)
    }

    /// Number of table rows to show: as many as the terminal has room for, 100 elsewhere.
    pub(crate) fn rows(self) -> u64 {
        // Header, a line about the rest of the list with an empty one before it, and the prompt.
        const OTHER_LINES: u16 = 4;
        const MIN_ROWS: u16 = 10;
        match self.height {
            Some(height) if !self.json => height.saturating_sub(OTHER_LINES).max(MIN_ROWS).into(),
            Some(_) | None => 100,
        }
    }

    /// Returns the first table whose columns fit the terminal next to each other, else the last one. The last column of
    /// each may be cut.
    pub(crate) fn first_fitting(self, tables: Vec<TableContent>) -> Option<TableContent> {
        let mut last = None;
        for table in tables {
            if self.fits(&table) {
                return Some(table);
            }
            last = Some(table);
        }
        last
    }

    fn fits(self, table: &TableContent) -> bool {
        let Some(width) = self.width else { return true };
        let column_width = |(index, name): (usize, &&str)| {
            let cells = table.rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(name.len()) + 2
        };
        let all_but_last = table.columns.len().saturating_sub(1);
        let needed: usize = table.columns.iter().enumerate().take(all_but_last).map(column_width).sum();
        needed + usize::from(MIN_LAST_COLUMN_WIDTH) <= usize::from(width)
    }

    /// Writes a table, cut to the width of the terminal.
    pub(crate) fn table(
        self,
        out: &mut dyn Write,
        columns: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> io::Result<()> {
        let mut table = Table::new();
        // Cells are cut at the column's width, not between words: no cell holds the delimiter NUL.
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
            cut_last_column_only(&mut table, width);
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Least width at which the last column is cut instead of all columns.
const MIN_LAST_COLUMN_WIDTH: u16 = 16;

/// Cuts the last column, which holds the least important text; all columns in a terminal that is too narrow for that.
fn cut_last_column_only(table: &mut Table, width: u16) {
    let widths = table.column_max_content_widths();
    let Some((_, uncut)) = widths.split_last() else { return };
    let needed = uncut.iter().fold(MIN_LAST_COLUMN_WIDTH, |sum, column| sum.saturating_add(column.saturating_add(2)));
    if needed <= width {
        for column in table.column_iter_mut().take(uncut.len()) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

fn one_line(cells: impl IntoIterator<Item = String>) -> Row {
    let mut row = Row::from(cells.into_iter().map(|cell| printable(&cell).into_owned()));
    row.max_height(1);
    row
}

/// Writes one name and value per line, with aligned values.
pub(crate) fn fields(out: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let longest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        writeln!(out, "{name:longest$}  {}", printable(value))?;
    }
    Ok(())
}

/// Options that select a page of a list.
#[derive(Args)]
pub(crate) struct PageOptions {
    /// Length of the page, 1 to 1000 [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Number of entries to skip
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Continue after an earlier page, which printed the cursor
    #[arg(long)]
    cursor: Option<String>,
}

impl PageOptions {
    pub(crate) fn page(&self) -> Page {
        Page { limit: self.limit, offset: self.offset, cursor: self.cursor.clone() }
    }
}

/// Writes how to list the next page, if there is one.
pub(crate) fn print_next_cursor<T>(out: &mut dyn Write, listing: &ListResponse<T>) -> io::Result<()> {
    let Some(cursor) = &listing.next_cursor else { return Ok(()) };
    let (shown, total) = (format::number(listing.entries.len() as u64), format::number(listing.total));
    writeln!(out, "\n{shown} of {total}; continue with --cursor {}", printable(cursor))
}

//! Events of an export, or of the broker.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    thread,
};

use agentwrit_client::{Admin, AuditQuery, Page};
use agentwrit_verify::audit::{ChainLink, Event, EventId};
use aws_lc_rs::digest;

use crate::error::CliError;

/// Longest line of an export, in bytes. An event of the broker has a few KiB at most.
const MAX_LINE_LENGTH: usize = 64 * 1024;

/// Reader of the chain links of a trail, in order.
pub(super) enum TrailReader {
    Export(ExportReader),
    Broker(Box<BrokerPages>),
}

impl TrailReader {
    /// Returns true if the first event of the trail must come first.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Export(_) => false,
            Self::Broker(pages) => pages.is_whole,
        }
    }

    /// Returns the number of events in the trail, if it is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Export(_) => None,
            Self::Broker(pages) => Some(pages.total),
        }
    }

    /// Returns the next links; an empty list at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<ChainLink>, CliError> {
        match self {
            Self::Export(lines) => lines.next(),
            Self::Broker(pages) => Ok(pages.next().await?.iter().map(ChainLink::of).collect()),
        }
    }
}

/// Reader of an export, which has one event per line. Chunks are read in sequence and parsed in parallel.
pub(super) struct ExportReader {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    /// Number of the next line.
    line_number: u64,
    /// Error of the next line, returned after the events before it.
    error: Option<CliError>,
}

impl ExportReader {
    /// Bytes that one thread parses at a time.
    const CHUNK_SIZE: u64 = 1 << 20;

    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let reader: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).map_err(|error| CliError::file(path, &error))?;
            Box::new(BufReader::with_capacity(1 << 18, file))
        };
        Ok(Self { path: path.to_owned(), reader, line_number: 1, error: None })
    }

    fn next(&mut self) -> Result<Vec<ChainLink>, CliError> {
        loop {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let chunks = self.read_chunks()?;
            let links = self.parse(&chunks)?;
            // A chunk of empty lines has no link, and is not the end.
            if !links.is_empty() || chunks.is_empty() {
                return Ok(links);
            }
        }
    }

    /// Reads one chunk for each processor.
    fn read_chunks(&mut self) -> Result<Vec<Vec<u8>>, CliError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let mut chunks = Vec::with_capacity(processors);
        while chunks.len() < processors {
            let chunk = self.read_chunk()?;
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Returns the links before the first invalid line, and records the error of that line.
    fn parse(&mut self, chunks: &[Vec<u8>]) -> Result<Vec<ChainLink>, CliError> {
        let parsed: Vec<ParsedChunk> = thread::scope(|scope| {
            let threads: Vec<_> = chunks.iter().map(|chunk| scope.spawn(|| ParsedChunk::parse(chunk))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        if parsed.len() < chunks.len() {
            return Err(CliError::failed("a thread that parsed events panicked"));
        }
        let mut links = Vec::new();
        for ParsedChunk { links: chunk_links, valid_lines, error } in parsed {
            links.extend(chunk_links);
            self.line_number = self.line_number.saturating_add(valid_lines);
            if let Some(reason) = error {
                self.error = Some(self.invalid_line(&reason));
                break;
            }
        }
        Ok(links)
    }

    /// Reads whole lines; nothing at the end.
    fn read_chunk(&mut self) -> Result<Vec<u8>, CliError> {
        let failed = |error: io::Error| CliError::file(&self.path, &error);
        let mut chunk = Vec::new();
        self.reader.by_ref().take(Self::CHUNK_SIZE).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.len() as u64 == Self::CHUNK_SIZE && !chunk.ends_with(b"\n") {
            let rest = MAX_LINE_LENGTH as u64 + 1; // a longer line is rejected anyway
            self.reader.by_ref().take(rest).read_until(b'\n', &mut chunk).map_err(failed)?;
        }
        Ok(chunk)
    }

    fn invalid_line(&self, reason: &dyn std::fmt::Display) -> CliError {
        CliError::file(&self.path, &format!("line {} is not an event: {reason}", self.line_number))
            .hint("`awrit audit export` writes one event per line")
    }
}

/// Links of a chunk.
struct ParsedChunk {
    links: Vec<ChainLink>,
    /// Number of valid lines before the first invalid one.
    valid_lines: u64,
    /// Reason why the line after them is invalid.
    error: Option<String>,
}

impl ParsedChunk {
    fn parse(chunk: &[u8]) -> Self {
        let (mut links, mut valid_lines, mut buffer) = (Vec::new(), 0, Vec::new());
        let (text, is_utf8) = utf8_lines(chunk);
        for line in text.split_inclusive('\n') {
            match link(line, &mut buffer) {
                Ok(link) => links.extend(link),
                Err(reason) => return Self { links, valid_lines, error: Some(reason) },
            }
            valid_lines += 1;
        }
        Self { links, valid_lines, error: (!is_utf8).then(|| "it is not UTF-8".to_owned()) }
    }
}

/// Returns the lines before the first one that is not UTF-8, and true if that is the whole chunk.
fn utf8_lines(chunk: &[u8]) -> (&str, bool) {
    match std::str::from_utf8(chunk) {
        Ok(text) => (text, true),
        Err(error) => {
            let valid = chunk.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
            let valid = valid.unwrap_or_default();
            (valid.rsplit_once('\n').map_or("", |(lines, _)| lines), false)
        }
    }
}

/// Parses the event of a line; `None` for an empty line.
fn link(line: &str, buffer: &mut Vec<u8>) -> Result<Option<ChainLink>, String> {
    if line.len() > MAX_LINE_LENGTH {
        return Err(format!("it is longer than {MAX_LINE_LENGTH} bytes"));
    }
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let event: Event = Event::from_json(line).map_err(|error| error.to_string())?;
    // aws-lc is twice as fast as the `sha2` crate on processors without instructions for SHA-256.
    let sha256 = |bytes: &[u8]| {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        hash
    };
    Ok(Some(ChainLink::computed_by(&event, buffer, sha256)))
}

/// Reader of the broker's trail, in pages of a thousand events.
pub(super) struct BrokerPages {
    admin: Admin,
    query: AuditQuery,
    last: Option<EventId>,
    is_whole: bool,
    ended: bool,
    total: u64,
}

impl BrokerPages {
    /// Reads the events after `event`, or the whole trail.
    pub(super) fn after(admin: Admin, event: Option<EventId>) -> Self {
        let page = Page { limit: Some(1000), ..Page::default() };
        let query = AuditQuery { page, ..AuditQuery::default() };
        let query = match event {
            Some(event) => query.after(event),
            None => query,
        };
        Self { admin, query, last: event, is_whole: event.is_none(), ended: false, total: 0 }
    }

    /// Returns the number of events in the whole trail, as of the last response.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Returns the next events; an empty list at the end.
    ///
    /// # Errors
    ///
    /// Those of the client, and a broker that repeats events.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, CliError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let listing = self.admin.audit_events(&self.query).await?;
        self.total = listing.total;
        self.ended = listing.next_cursor.is_none();
        match listing.entries.last() {
            Some(last) if self.last.is_none_or(|before| before < last.id) => {
                self.last = Some(last.id);
                self.query = self.query.clone().after(last.id);
            }
            None if self.ended => {}
            Some(_) | None => return Err(CliError::failed("the broker announces more events, but lists no new ones")),
        }
        Ok(listing.entries)
    }
}

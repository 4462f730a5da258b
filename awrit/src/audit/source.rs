//! Where events come from: an export, or the broker itself.

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

/// The longest line of an export that is read. An event of the broker's is a few KiB at most.
const LONGEST_LINE: usize = 64 * 1024;

/// Links in their order, some at a time.
pub(super) enum Source {
    File(Lines),
    Broker(Box<Pages>),
}

impl Source {
    /// Whether it is the trail from its beginning on.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Broker(pages) => pages.is_whole,
        }
    }

    /// How many events there are, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::File(_) => None,
            Self::Broker(pages) => Some(pages.total),
        }
    }

    /// The next links; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<ChainLink>, CliError> {
        match self {
            Self::File(lines) => lines.next(),
            Self::Broker(pages) => Ok(pages.next().await?.iter().map(ChainLink::of).collect()),
        }
    }
}

/// An export: one event a line. Chunks of it are read one after the other and parsed on every processor at once.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    /// The number of the line that comes next.
    number: u64,
    /// What is wrong with it, when everything before it has been handed over.
    wrong: Option<CliError>,
}

impl Lines {
    /// How much is parsed by one thread at a time.
    const CHUNK: u64 = 1 << 20;

    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let reader: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).map_err(|error| CliError::file(path, &error))?;
            Box::new(BufReader::with_capacity(1 << 18, file))
        };
        Ok(Self { path: path.to_owned(), reader, number: 1, wrong: None })
    }

    fn next(&mut self) -> Result<Vec<ChainLink>, CliError> {
        loop {
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
            let chunks = self.chunks()?;
            let links = self.parsed(&chunks)?;
            // Empty lines alone are not the end.
            if !links.is_empty() || chunks.is_empty() {
                return Ok(links);
            }
        }
    }

    /// What comes next, a part for each processor.
    fn chunks(&mut self) -> Result<Vec<Vec<u8>>, CliError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let mut chunks = Vec::with_capacity(processors);
        while chunks.len() < processors {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// The links up to the first line that is wrong, if there is one.
    fn parsed(&mut self, chunks: &[Vec<u8>]) -> Result<Vec<ChainLink>, CliError> {
        let parsed: Vec<Parsed> = thread::scope(|scope| {
            let threads: Vec<_> = chunks.iter().map(|chunk| scope.spawn(|| Parsed::of(chunk))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        if parsed.len() < chunks.len() {
            return Err(CliError::failed("a thread that parsed events came to a bad end"));
        }
        let mut links = Vec::new();
        for Parsed { links: some, lines, wrong } in parsed {
            links.extend(some);
            self.number = self.number.saturating_add(lines);
            if let Some(reason) = wrong {
                self.wrong = Some(self.no_event(&reason));
                break;
            }
        }
        Ok(links)
    }

    /// Some whole lines; nothing at the end.
    fn chunk(&mut self) -> Result<Vec<u8>, CliError> {
        let failed = |error: io::Error| CliError::file(&self.path, &error);
        let mut chunk = Vec::new();
        self.reader.by_ref().take(Self::CHUNK).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.len() as u64 == Self::CHUNK && !chunk.ends_with(b"\n") {
            let rest = LONGEST_LINE as u64 + 1; // one that goes on longer is too long anyway
            self.reader.by_ref().take(rest).read_until(b'\n', &mut chunk).map_err(failed)?;
        }
        Ok(chunk)
    }

    fn no_event(&self, reason: &dyn std::fmt::Display) -> CliError {
        CliError::file(&self.path, &format!("line {} is no event: {reason}", self.number))
            .hint("`awrit audit export` writes one event a line")
    }
}

/// What a chunk came to.
struct Parsed {
    links: Vec<ChainLink>,
    /// How many lines were good.
    lines: u64,
    /// What is wrong with the line after them.
    wrong: Option<String>,
}

impl Parsed {
    fn of(chunk: &[u8]) -> Self {
        let (mut links, mut good, mut buffer) = (Vec::new(), 0, Vec::new());
        let (text, torn) = whole_lines(chunk);
        for line in text.split_inclusive('\n') {
            match link(line, &mut buffer) {
                Ok(link) => links.extend(link),
                Err(reason) => return Self { links, lines: good, wrong: Some(reason) },
            }
            good += 1;
        }
        Self { links, lines: good, wrong: torn.then(|| "it is not UTF-8".to_owned()) }
    }
}

/// The text of a chunk; up to the first line that is none, if there is one.
fn whole_lines(chunk: &[u8]) -> (&str, bool) {
    match std::str::from_utf8(chunk) {
        Ok(text) => (text, false),
        Err(error) => {
            let good = chunk.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok());
            let good = good.unwrap_or_default();
            (good.rsplit_once('\n').map_or("", |(lines, _)| lines), true)
        }
    }
}

/// The link of the event on a line; none on an empty one.
fn link(line: &str, buffer: &mut Vec<u8>) -> Result<Option<ChainLink>, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("it is longer than {LONGEST_LINE} bytes"));
    }
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let event: Event = Event::from_json(line).map_err(|error| error.to_string())?;
    // The one of the TLS stack is twice as fast as ours where the processor has no instructions for SHA-256.
    let sha256 = |bytes: &[u8]| {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        hash
    };
    Ok(Some(ChainLink::computed_by(&event, buffer, sha256)))
}

/// The broker's trail, in pages of a thousand, until its end when it was reached.
pub(super) struct Pages {
    admin: Admin,
    query: AuditQuery,
    last: Option<EventId>,
    is_whole: bool,
    ended: bool,
    total: u64,
}

impl Pages {
    /// What was recorded after `event`, or all of it.
    pub(super) fn after(admin: Admin, event: Option<EventId>) -> Self {
        let page = Page { limit: Some(1000), ..Page::default() };
        let query = AuditQuery { page, ..AuditQuery::default() };
        let query = match event {
            Some(event) => query.after(event),
            None => query,
        };
        Self { admin, query, last: event, is_whole: event.is_none(), ended: false, total: 0 }
    }

    /// How many events the whole trail had when last asked.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The next events; none at the end.
    ///
    /// # Errors
    ///
    /// What the client says; a broker that goes in circles.
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
            Some(_) | None => return Err(CliError::failed("the broker says that more follows, and shows nothing new")),
        }
        Ok(listing.entries)
    }
}

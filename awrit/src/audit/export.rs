//! `awrit audit export`: the trail as a file.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use agentwrit_verify::audit::{AuditChainError, ChainHead, ChainLink, ChainVerifier, Event, EventHash, EventId};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::reader::BrokerPages;
use crate::{
    context::Context,
    error::{CliError, write_stderr},
    format,
    output_file::OutputFile,
};

/// Write every event, one per line as JSON; progress goes to stderr
///
/// The hash chain is verified: exit code 3 when it does not hold. A file gets its name once it is complete, and an export
/// of a trail that does not hold never replaces an existing file.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit export --output trail.jsonl
  awrit audit export --after evt-004711 >> trail.jsonl   # the events since")]
pub(crate) struct Export {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Export only the events after this one
    #[arg(long, value_name = "EVENT ID", value_parser = event_id)]
    after: Option<EventId>,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut file = OutputFile::create(&self.output, context)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            chain = self.copy(context, &mut file) => {
                let summary = chain?.summary();
                // A broken export is of use for an investigation, but not in place of an intact one.
                if summary.is_ok() || !file.replaces_file() { file.commit()? }
                summary.map(|summary| write_stderr(format_args!("{summary}")))
            }
            // Dropping the output removes its temporary file.
            _ = interrupt.recv() => Err(CliError::failed("interrupted: nothing was exported")),
            _ = terminate.recv() => Err(CliError::failed("terminated: nothing was exported")),
            _ = hang_up.recv() => Err(CliError::failed("the terminal was closed: nothing was exported")),
        }
    }

    async fn copy(&self, context: &Context, file: &mut OutputFile) -> Result<ExportedChain, CliError> {
        let mut pages = BrokerPages::after(context.admin()?, self.after);
        let (mut chain, progress) = (ExportedChain::after(self.after), Progress::new());
        loop {
            let events = pages.next().await?;
            if events.is_empty() {
                break;
            }
            for event in &events {
                chain.add(event);
                let line = serde_json::to_vec(event).map_err(|error| CliError::failed(error.to_string()))?;
                file.write_all(&line)?;
                file.write_all(b"\n")?;
            }
            progress.update(chain.events, pages.total().saturating_sub(self.after.map_or(0, EventId::sequence)));
        }
        progress.clear();
        chain.total = pages.total();
        Ok(chain)
    }
}

/// Hash chain of the exported events.
struct ExportedChain {
    /// Sequence number of the event before the export; 0 before the first.
    after: u64,
    events: u64,
    walk: Option<ChainVerifier>,
    /// Fault after which the chain could not be followed.
    fault: Option<AuditChainError>,
    /// Number of events in the trail, as the broker reports it.
    total: u64,
}

impl ExportedChain {
    fn after(event: Option<EventId>) -> Self {
        Self { after: event.map_or(0, EventId::sequence), events: 0, walk: None, fault: None, total: 0 }
    }

    fn add(&mut self, event: &Event) {
        self.events += 1;
        let hash = if self.after == 0 { EventHash::ZERO } else { event.prev_hash };
        let before = ChainHead { sequence: self.after, hash };
        let walk = self.walk.get_or_insert_with(|| ChainVerifier::new(before));
        if self.fault.is_none() {
            self.fault = walk.follow(&ChainLink::of(event)).err();
        }
    }

    fn summary(&self) -> Result<String, CliError> {
        let last = self.walk.as_ref().map_or(self.after, |walk| walk.head().sequence);
        let broken = self.walk.as_ref().and_then(|walk| walk.verdict().err()).or(self.fault);
        let shorter = (last < self.total).then(|| format!("it ends with event {last} of {}", self.total));
        let truncated =
            (self.total < self.after).then(|| format!("it has {} events, and had {}", self.total, self.after));
        if let Some(fault) = broken.map(|fault| fault.to_string()).or(shorter).or(truncated) {
            return Err(CliError::Negative(Some(format!("the trail is broken: {fault}"))));
        }
        Ok(match &self.walk {
            Some(walk) => {
                let head = walk.head();
                let (last, events) = (EventId::from_sequence(head.sequence), format::count(self.events, "event"));
                format!("exported {events}, the chain holds up to {last} {}{}", head.hash, exceptions(walk))
            }
            None => format!("nothing was recorded after event {}", self.after),
        })
    }
}

/// Returns the accepted breaks as text; empty without any.
fn exceptions(walk: &ChainVerifier) -> String {
    let accepted = walk.accepted().iter();
    let descriptions: Vec<String> =
        accepted.map(|accepted| format!("{}, accepted by {}", accepted.broken.fault, accepted.accepted_by)).collect();
    if descriptions.is_empty() { String::new() } else { format!(", except for {}", descriptions.join("; ")) }
}

/// Progress display on a terminal.
struct Progress {
    visible: bool,
}

impl Progress {
    fn new() -> Self {
        Self { visible: io::stderr().is_terminal() }
    }

    fn update(&self, done: u64, total: u64) {
        self.print(format_args!("\r{} of {} events", format::number(done), format::number(total.max(done))));
    }

    fn clear(&self) {
        self.print(format_args!("\r\u{1b}[K"));
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        if self.visible {
            let mut stderr = io::stderr().lock();
            // An export does not depend on its progress display.
            stderr.write_fmt(text).and_then(|()| stderr.flush()).unwrap_or_default();
        }
    }
}

fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text).map_err(|error| error.to_string())
}

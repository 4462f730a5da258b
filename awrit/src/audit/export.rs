//! `awrit audit export`: the trail as a file.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use agentwrit_verify::audit::{AuditChainError, ChainHead, ChainLink, ChainVerifier, Event, EventHash, EventId};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::source::Pages;
use crate::{context::Context, error::CliError, export::Target, format, output::write_stderr};

/// Write every event, one a line as JSON; progress goes to stderr
///
/// The chain is followed on the way: exit code 3 when it does not hold. A file takes its name only when it is whole, and
/// a trail that does not hold never takes the place of an export that is there.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit export --output trail.jsonl
  awrit audit export --after evt-004711 >> trail.jsonl   # what came since")]
pub(crate) struct Export {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Only what was recorded after this event
    #[arg(long, value_name = "EVENT ID", value_parser = event_id)]
    after: Option<EventId>,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut target = Target::open(&self.output, context)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            chain = self.copy(context, &mut target) => {
                let summary = chain?.summed_up();
                // What went wrong is worth having, but not in the place of what was right.
                if summary.is_ok() || !target.replaces() { target.keep()? }
                summary.map(|summary| write_stderr(format_args!("{summary}")))
            }
            // The target goes, and its file with it.
            _ = tokio::signal::ctrl_c() => Err(CliError::failed("interrupted: nothing was exported")),
            _ = terminate.recv() => Err(CliError::failed("terminated: nothing was exported")),
            _ = hang_up.recv() => Err(CliError::failed("hung up: nothing was exported")),
        }
    }

    async fn copy(&self, context: &Context, target: &mut Target) -> Result<Chain, CliError> {
        let mut pages = Pages::after(context.admin()?, self.after);
        let (mut chain, progress) = (Chain::after(self.after), Progress::new());
        loop {
            let events = pages.next().await?;
            if events.is_empty() {
                break;
            }
            for event in &events {
                chain.take(event);
                let line = serde_json::to_vec(event).map_err(|error| CliError::failed(error.to_string()))?;
                target.write_all(&line)?;
                target.write_all(b"\n")?;
            }
            progress.show(chain.events, pages.total().saturating_sub(self.after.map_or(0, EventId::sequence)));
        }
        progress.end();
        chain.total = pages.total();
        Ok(chain)
    }
}

/// The chain as it goes by.
struct Chain {
    /// The number of the event that it follows; 0 before the first.
    after: u64,
    events: u64,
    walk: Option<ChainVerifier>,
    /// Where the walk could not go on.
    fault: Option<AuditChainError>,
    /// How many events the broker says that there are.
    total: u64,
}

impl Chain {
    fn after(event: Option<EventId>) -> Self {
        Self { after: event.map_or(0, EventId::sequence), events: 0, walk: None, fault: None, total: 0 }
    }

    fn take(&mut self, event: &Event) {
        self.events += 1;
        let hash = if self.after == 0 { EventHash::ZERO } else { event.prev_hash };
        let before = ChainHead { sequence: self.after, hash };
        let walk = self.walk.get_or_insert_with(|| ChainVerifier::new(before));
        if self.fault.is_none() {
            self.fault = walk.follow(&ChainLink::of(event)).err();
        }
    }

    fn summed_up(&self) -> Result<String, CliError> {
        let last = self.walk.as_ref().map_or(self.after, |walk| walk.head().sequence);
        let broken = self.walk.as_ref().and_then(|walk| walk.verdict().err()).or(self.fault);
        let shorter = (last < self.total).then(|| format!("it ends with event {last} of {}", self.total));
        let gone = (self.total < self.after).then(|| format!("it has {} events, and had {}", self.total, self.after));
        if let Some(fault) = broken.map(|fault| fault.to_string()).or(shorter).or(gone) {
            return Err(CliError::No(Some(format!("the trail is broken: {fault}"))));
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

/// That some breaks were accepted.
fn exceptions(walk: &ChainVerifier) -> String {
    let accepted = walk.accepted().iter();
    let named: Vec<String> =
        accepted.map(|accepted| format!("{}, accepted by {}", accepted.broken.fault, accepted.accepted_by)).collect();
    if named.is_empty() { String::new() } else { format!(", but for {}", named.join("; ")) }
}

/// How far it is, for a person at the terminal.
struct Progress {
    visible: bool,
}

impl Progress {
    fn new() -> Self {
        Self { visible: io::stderr().is_terminal() }
    }

    fn show(&self, done: u64, total: u64) {
        self.print(format_args!("\r{} of {} events", format::number(done), format::number(total.max(done))));
    }

    fn end(&self) {
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

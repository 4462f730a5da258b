//! `awrit audit export`: the trail as a file.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use agentwrit_verify::audit::{ChainFault, ChainHead, Event, EventHash, EventId};
use clap::Args;

use super::source::Pages;
use crate::cli::{context::Context, error::CliError, export::Target, words};

/// Write every event, one a line as JSON; progress goes to stderr
///
/// The chain is followed on the way: exit code 3 when it does not hold. A file takes its name only when it is whole.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit export --output trail.jsonl
  awrit audit export --after evt-004711 >> trail.jsonl   # what came since")]
pub(in crate::cli) struct Export {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Only what was recorded after this event
    #[arg(long, value_name = "EVENT ID", value_parser = event_id)]
    after: Option<EventId>,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut pages = Pages::after(context.admin()?, self.after);
        let mut target = Target::open(&self.output)?;
        let progress = Progress::new();
        let mut chain = Chain::default();
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
        target.keep()?;
        progress.end();
        chain.summed_up()
    }
}

/// The chain as it goes by, whatever it begins with.
#[derive(Default)]
struct Chain {
    events: u64,
    head: Option<ChainHead>,
    fault: Option<ChainFault>,
}

impl Chain {
    fn take(&mut self, event: &Event) {
        self.events += 1;
        let before = self.head.unwrap_or(ChainHead {
            sequence: event.id.sequence().saturating_sub(1),
            hash: if event.id.sequence() == 1 { EventHash::ZERO } else { event.prev_hash },
        });
        match before.follow(event) {
            Ok(head) => self.head = Some(head),
            Err(fault) => {
                self.fault.get_or_insert(fault);
                self.head = Some(ChainHead { sequence: event.id.sequence(), hash: event.hash });
            }
        }
    }

    fn summed_up(&self) -> Result<(), CliError> {
        let events = words::number(self.events);
        match (self.head, self.fault) {
            (_, Some(fault)) => {
                Err(CliError::No(Some(format!("exported {events} events, but the chain is broken: {fault}"))))
            }
            (Some(head), None) => {
                let last = EventId::from_sequence(head.sequence);
                eprintln!("exported {events} events, the chain holds up to {last} {}", head.hash);
                Ok(())
            }
            (None, None) => {
                eprintln!("there is no event to export");
                Ok(())
            }
        }
    }
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
        if self.visible {
            eprint!("\r{} of {} events", words::number(done), words::number(total.max(done)));
            // A progress that can't be shown is no reason to stop.
            io::stderr().flush().unwrap_or_default();
        }
    }

    fn end(&self) {
        if self.visible {
            eprint!("\r\u{1b}[K");
        }
    }
}

fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text).map_err(|error| error.to_string())
}

//! `awrit audit verify`: whether a trail is what was recorded.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use agentwrit_verify::audit::{ChainFault, ChainHead, EventHash, EventId, Link};
use clap::Args;
use serde_json::{Value, json};

use super::source::{Lines, Pages, Source};
use crate::cli::{context::Context, error::CliError, output, words};

/// Check the hash chain of an export, or of the broker's trail; exit code 3 when it does not hold
///
/// An export is checked without the broker. With --continues, it is also shown that the trail goes on where an earlier
/// export ended: that nothing which was exported then was altered or removed since.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit verify trail.jsonl
  awrit audit verify today.jsonl --continues yesterday.jsonl
  awrit audit verify --head evt-004711:9f2c…   # the live trail against a hash that was written down")]
pub(in crate::cli) struct Verify {
    /// The export, `-` for stdin; the broker's own trail without it
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// An earlier export that this one must contain or go on from
    #[arg(long, value_name = "FILE")]
    continues: Option<PathBuf>,
    /// An event and its hash that must be in the trail, as an earlier run printed them
    #[arg(long, value_name = "EVENT ID:HASH", value_parser = known_head, conflicts_with = "continues")]
    head: Option<ChainHead>,
}

impl Verify {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let known = match &self.continues {
            Some(path) => Some(earlier(path).await?),
            None => self.head.map(|head| Known { first: None, head }),
        };
        let source = match &self.file {
            Some(path) => Source::File(Lines::open(path)?),
            None => Source::Broker(Box::new(Pages::after(context.admin()?, None))),
        };
        let walk = Walk::through(source, known).await?;
        let shown = context.output.show(&walk.for_scripts(), |out| walk.print(out));
        CliError::judged(walk.holds(), shown, None)
    }
}

/// What is known of the trail from before.
#[derive(Clone, Copy)]
struct Known {
    /// The first event of the earlier export: what began there must still be there, or all of it be left out.
    first: Option<EventId>,
    head: ChainHead,
}

async fn earlier(path: &Path) -> Result<Known, CliError> {
    let walk = Walk::through(Source::File(Lines::open(path)?), None).await?;
    match (walk.fault, walk.head) {
        (None, Some(head)) => Ok(Known { first: walk.first, head }),
        (Some(fault), _) => {
            Err(CliError::No(Some(format!("the earlier export `{}` is broken itself: {fault}", path.display()))))
        }
        (None, None) => Err(CliError::file(path, &"there is no event in it")),
    }
}

/// A trail, followed from one end to the other or to its first fault.
#[derive(Default)]
struct Walk {
    events: u64,
    first: Option<EventId>,
    head: Option<ChainHead>,
    fault: Option<Fault>,
    known: Option<Known>,
    known_was_met: bool,
}

/// Why a trail is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Chain(#[from] ChainFault),
    #[error("`{id}` has another hash than it had in the earlier export: the trail was rewritten")]
    Rewritten { id: EventId },
    #[error("the trail ends with `{found}`, but the earlier export went up to `{expected}`")]
    Shorter { expected: EventId, found: EventId },
    #[error("the trail begins with `{found}`: what lies between it and `{expected}` is missing")]
    Apart { expected: EventId, found: EventId },
    #[error("the trail begins with `{found}`: `{expected}` and what follows it are gone")]
    Beheaded { expected: EventId, found: EventId },
    #[error("the broker speaks of {total} events, and shows them up to `{found}`")]
    Withheld { total: u64, found: EventId },
    #[error("there is no event in it")]
    Empty,
}

impl Walk {
    async fn through(mut source: Source, known: Option<Known>) -> Result<Self, CliError> {
        let mut walk = Self { known, ..Self::default() };
        loop {
            let links = source.next().await?;
            if links.is_empty() {
                walk.fault = walk.end(source.total());
                return Ok(walk);
            }
            for link in &links {
                if let Err(fault) = walk.step(link, source.is_whole()) {
                    walk.fault = Some(fault);
                    return Ok(walk);
                }
            }
        }
    }

    /// `whole`: what comes is the trail from its beginning, or should be.
    fn step(&mut self, link: &Link, whole: bool) -> Result<(), Fault> {
        let before = match self.head {
            Some(head) => head,
            None => self.beginning(link, whole)?,
        };
        let head = before.follow_link(link)?;
        self.known_was_met |= self.known.is_some_and(|known| known.head == before || known.head == head);
        if self.known.is_some_and(|known| known.head.sequence == head.sequence && known.head.hash != head.hash) {
            return Err(Fault::Rewritten { id: link.id() });
        }
        self.events += 1;
        self.head = Some(head);
        Ok(())
    }

    /// What the first event follows: nothing, the earlier export, or an event that we have not got.
    fn beginning(&mut self, first: &Link, whole: bool) -> Result<ChainHead, Fault> {
        self.first = Some(first.id());
        let (found, sequence) = (first.id(), first.id().sequence().saturating_sub(1));
        if sequence == 0 {
            return Ok(ChainHead::GENESIS);
        }
        if whole {
            return Err(Fault::Beheaded { expected: EventId::from_sequence(1), found });
        }
        match self.known {
            Some(known) if known.head.sequence == sequence => Ok(known.head),
            Some(known) if known.head.sequence < sequence => {
                Err(Fault::Apart { expected: EventId::from_sequence(known.head.sequence), found })
            }
            Some(Known { first: Some(expected), .. }) if expected < found => Err(Fault::Beheaded { expected, found }),
            Some(_) | None => Ok(ChainHead { sequence, hash: first.prev_hash() }),
        }
    }

    /// What is wrong with where the trail ends. `total`: how many events its keeper says that there are.
    fn end(&self, total: Option<u64>) -> Option<Fault> {
        let Some(head) = self.head else { return Some(Fault::Empty) };
        let found = EventId::from_sequence(head.sequence);
        if let Some(total) = total.filter(|total| head.sequence < *total) {
            return Some(Fault::Withheld { total, found });
        }
        let known = self.known.filter(|_| !self.known_was_met)?;
        Some(Fault::Shorter { expected: EventId::from_sequence(known.head.sequence), found })
    }

    fn holds(&self) -> bool {
        self.fault.is_none()
    }

    fn begins_at_the_beginning(&self) -> bool {
        self.first.is_some_and(|first| first.sequence() == 1)
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let last = self.head.map(|head| EventId::from_sequence(head.sequence));
        let span = match (self.first, last) {
            (Some(first), Some(last)) => format!("{} ({first} to {last})", words::number(self.events)),
            _ => "none".to_owned(),
        };
        let mut fields = vec![("events", span)];
        fields.push((
            "chain",
            match (self.fault, self.begins_at_the_beginning()) {
                (Some(fault), _) => format!("BROKEN: {fault}"),
                (None, true) => "holds from the first event on".to_owned(),
                (None, false) => "holds from the first of these events on; what was before it is not here".to_owned(),
            },
        ));
        if let Some(known) = self.known.filter(|_| self.known_was_met && self.holds()) {
            let known = EventId::from_sequence(known.head.sequence);
            fields.push(("continuity", format!("up to {known} it is what it was")));
        }
        if let Some(head) = self.head {
            fields.push(("head", format!("{}:{}", EventId::from_sequence(head.sequence), head.hash)));
        }
        output::fields(out, &fields)?;
        if self.holds() && self.head.is_some() {
            writeln!(
                out,
                "\nKeep the head elsewhere: `awrit audit verify --head …` shows later that nothing changed."
            )?;
        }
        Ok(())
    }

    fn for_scripts(&self) -> Value {
        let head = self.head.map(|head| json!({ "id": EventId::from_sequence(head.sequence), "hash": head.hash }));
        json!({
            "holds": self.holds(),
            "events": self.events,
            "first": self.first,
            "head": head,
            "from_the_beginning": self.begins_at_the_beginning(),
            "continues": self.known.map(|_| self.known_was_met && self.holds()),
            "fault": self.fault.map(|fault| fault.to_string()),
        })
    }
}

fn known_head(text: &str) -> Result<ChainHead, String> {
    let wrong = || "an event id and its hash, as in `evt-004711:` and 64 hexadecimal characters".to_owned();
    let (id, hash) = text.split_once(':').ok_or_else(wrong)?;
    let id = EventId::parse(id).map_err(|_| wrong())?;
    let hash: EventHash = serde_json::from_value(Value::from(hash)).map_err(|_| wrong())?;
    Ok(ChainHead { sequence: id.sequence(), hash })
}

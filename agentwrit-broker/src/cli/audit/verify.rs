//! `awrit audit verify`: whether a trail is what was recorded.

use std::{
    io::{self, Write},
    path::PathBuf,
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
            Some(path) => {
                let earlier = Walk::through(Source::File(Lines::open(path)?), None).await?;
                let name = path.display().to_string();
                if let Some(fault) = earlier.fault {
                    return Err(CliError::No(Some(format!("the earlier export `{name}` is broken itself: {fault}"))));
                }
                Some(earlier.head.ok_or_else(|| CliError::file(path, &"there is no event in it"))?)
            }
            None => self.head,
        };
        let source = match &self.file {
            Some(path) => Source::File(Lines::open(path)?),
            None => Source::Broker(Box::new(Pages::after(context.admin()?, None))),
        };
        let walk = Walk::through(source, known).await?;
        context.output.show(&walk.for_scripts(), |out| walk.print(out))?;
        if walk.holds() { Ok(()) } else { Err(CliError::No(None)) }
    }
}

/// A trail, followed from one end to the other or to its first fault.
#[derive(Default)]
struct Walk {
    events: u64,
    first: Option<EventId>,
    head: Option<ChainHead>,
    fault: Option<Fault>,
    known: Option<ChainHead>,
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
    #[error("there is no event in it, but the earlier export went up to `{expected}`")]
    Empty { expected: EventId },
}

impl Walk {
    async fn through(mut source: Source, known: Option<ChainHead>) -> Result<Self, CliError> {
        let mut walk = Self { known, ..Self::default() };
        loop {
            let links = source.next().await?;
            if links.is_empty() {
                walk.end();
                return Ok(walk);
            }
            for link in &links {
                if let Err(fault) = walk.step(link) {
                    walk.fault = Some(fault);
                    return Ok(walk);
                }
            }
        }
    }

    fn step(&mut self, link: &Link) -> Result<(), Fault> {
        let before = match self.head {
            Some(head) => head,
            None => self.beginning(link)?,
        };
        let head = before.follow_link(link)?;
        if let Some(known) = self.known.filter(|known| known.sequence == head.sequence) {
            if known.hash != head.hash {
                return Err(Fault::Rewritten { id: link.id() });
            }
            self.known_was_met = true;
        }
        self.events += 1;
        self.head = Some(head);
        Ok(())
    }

    /// What the first event follows: nothing, the earlier export, or an event that we have not got.
    fn beginning(&mut self, first: &Link) -> Result<ChainHead, Fault> {
        self.first = Some(first.id());
        let sequence = first.id().sequence().saturating_sub(1);
        if sequence == 0 {
            return Ok(ChainHead::GENESIS);
        }
        match self.known {
            Some(known) if known.sequence == sequence => {
                self.known_was_met = true;
                Ok(known)
            }
            Some(known) if known.sequence < sequence => {
                Err(Fault::Apart { expected: EventId::from_sequence(known.sequence), found: first.id() })
            }
            Some(_) | None => Ok(ChainHead { sequence, hash: first.prev_hash() }),
        }
    }

    fn end(&mut self) {
        let Some(known) = self.known.filter(|_| !self.known_was_met) else { return };
        let expected = EventId::from_sequence(known.sequence);
        self.fault = Some(match self.head {
            Some(head) => Fault::Shorter { expected, found: EventId::from_sequence(head.sequence) },
            None => Fault::Empty { expected },
        });
    }

    fn holds(&self) -> bool {
        self.fault.is_none()
    }

    fn begins_at_the_beginning(&self) -> bool {
        self.first.is_none_or(|first| first.sequence() == 1)
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
        if let Some(known) = self.known.filter(|_| self.known_was_met) {
            let known = EventId::from_sequence(known.sequence);
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
            "continues": self.known.map(|_| self.known_was_met),
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

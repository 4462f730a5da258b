//! `awrit audit verify`: whether a trail is what was recorded.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use agentwrit_verify::audit::{
    AcceptedChainBreak, AuditChainError, ChainBreak, ChainHead, ChainLink, ChainVerifier, EventHash, EventId,
};
use clap::Args;
use serde_json::{Value, json};

use super::source::{Lines, Pages, Source};
use crate::{context::Context, error::CliError, format, output};

/// Check the hash chain of an export, or of the broker's trail; exit code 3 when it does not hold
///
/// An export is checked without the broker, and must begin with the first event of the trail unless --continues, --head or
/// --partial says otherwise. With --continues, it is also shown that the trail goes on where an earlier export ended: that
/// nothing which was exported then was altered or removed since. A break that the operator has accepted
/// (`audit_break_accepted`) is reported and does not fail the check, unless it was accepted after the earlier export.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit verify trail.jsonl
  awrit audit verify today.jsonl --continues yesterday.jsonl
  awrit audit verify march.jsonl --partial   # an export that was made with --after
  awrit audit verify --head evt-004711:9f2c…   # the live trail against a hash that was written down")]
pub(crate) struct Verify {
    /// The export, `-` for stdin; the broker's own trail without it
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// An earlier export that this one must contain or go on from
    #[arg(long, value_name = "FILE")]
    continues: Option<PathBuf>,
    /// An event and its hash that must be in the trail, as an earlier run printed them
    #[arg(long, value_name = "EVENT ID:HASH", value_parser = known_head, conflicts_with = "continues")]
    head: Option<ChainHead>,
    /// The file must begin with the first event of the trail: the default without --continues and --head
    #[arg(long, conflicts_with = "partial")]
    from_beginning: bool,
    /// The file is a part of the trail: what was recorded before it is not asked for
    #[arg(long, requires = "file")]
    partial: bool,
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
        let scope = match (self.from_beginning, self.partial) {
            (true, _) => Scope::FromBeginning,
            (false, true) => Scope::Partial,
            (false, false) => Scope::Continued,
        };
        let walk = Walk::through(source, known, scope).await?;
        let shown = context.output.show(&walk.for_scripts(), |out| walk.print(out));
        CliError::judged(walk.verdict().is_ok(), shown, None)
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
    let walk = Walk::through(Source::File(Lines::open(path)?), None, Scope::Partial).await?;
    match (walk.verdict(), walk.head()) {
        (Ok(()), Some(head)) => Ok(Known { first: walk.first, head }),
        (Err(fault), Some(_)) => {
            Err(CliError::No(Some(format!("the earlier export `{}` is broken itself: {fault}", path.display()))))
        }
        (_, None) => Err(CliError::file(path, &"there is no event in it")),
    }
}

/// A trail, followed from one end to the other.
#[derive(Default)]
struct Walk {
    scope: Scope,
    known: Option<Known>,
    known_was_met: bool,
    first: Option<EventId>,
    events: u64,
    chain: Option<ChainVerifier>,
    /// What is wrong beside the breaks of the chain, and at which event.
    fault: Option<(u64, Fault)>,
}

/// Which part of the trail is expected.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Scope {
    /// All of it from the first event on, and nothing else will do.
    FromBeginning,
    /// All of it, or what goes on from what is known.
    #[default]
    Continued,
    /// Any part.
    Partial,
}

/// Why a trail is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Chain(#[from] AuditChainError),
    #[error("`{id}` has another hash than it had in the earlier export: the trail was rewritten")]
    Rewritten { id: EventId },
    #[error("{fault} since the earlier export, which `{accepted_by}` accepts")]
    AcceptedSince { fault: AuditChainError, accepted_by: EventId },
    #[error("the trail ends with `{found}`, but the earlier export went up to `{expected}`")]
    Shorter { expected: EventId, found: EventId },
    #[error("the trail begins with `{found}`: what lies between it and `{expected}` is missing")]
    Apart { expected: EventId, found: EventId },
    #[error("the trail begins with `{found}`: `{expected}` and what follows it are gone")]
    Beheaded { expected: EventId, found: EventId },
    #[error(
        "it begins with `{found}`: what was recorded before is missing; a part that goes on from an earlier export takes \
         --continues, any other --partial"
    )]
    NotFromBeginning { found: EventId },
    #[error("the broker speaks of {total} events, and shows them up to `{found}`")]
    Withheld { total: u64, found: EventId },
    #[error("there is no event in it")]
    Empty,
}

impl Walk {
    async fn through(mut source: Source, known: Option<Known>, scope: Scope) -> Result<Self, CliError> {
        let mut walk = Self { scope, known, ..Self::default() };
        loop {
            let links = match source.next().await {
                Ok(links) => links,
                // What is wrong before the line that cannot be read is named first.
                Err(_) if walk.broken().is_some() => return Ok(walk),
                Err(error) => return Err(error),
            };
            if links.is_empty() {
                walk.end(source.total());
                return Ok(walk);
            }
            for link in &links {
                if let Err(fault) = walk.step(link, source.is_whole()) {
                    walk.note(u64::MAX, fault);
                    return Ok(walk);
                }
            }
        }
    }

    /// An error ends the walk. `whole`: what comes is the trail from its beginning, or should be.
    fn step(&mut self, link: &ChainLink, whole: bool) -> Result<(), Fault> {
        let mut chain = match self.chain.take() {
            Some(chain) => chain,
            None => ChainVerifier::new(self.beginning(link, whole)?),
        };
        let before = chain.head();
        let followed = chain.follow(link);
        self.chain = Some(chain);
        followed?;
        self.events += 1;
        if let Some(Known { head, .. }) = self.known {
            let found = ChainHead { sequence: link.id().sequence(), hash: link.computed() };
            self.known_was_met |= head == before || head == found;
            if head.sequence == found.sequence && head.hash != found.hash {
                self.note(found.sequence, Fault::Rewritten { id: link.id() });
            }
        }
        Ok(())
    }

    /// What the first event follows: nothing, the earlier export, or an event that we have not got.
    fn beginning(&mut self, first: &ChainLink, whole: bool) -> Result<ChainHead, Fault> {
        self.first = Some(first.id());
        let (found, sequence) = (first.id(), first.id().sequence().saturating_sub(1));
        if sequence == 0 {
            return Ok(ChainHead::GENESIS);
        }
        if whole {
            return Err(Fault::Beheaded { expected: EventId::from_sequence(1), found });
        }
        if self.scope == Scope::FromBeginning {
            return Err(Fault::NotFromBeginning { found });
        }
        match self.known {
            Some(known) if known.head.sequence == sequence => Ok(known.head),
            Some(known) if known.head.sequence < sequence => {
                Err(Fault::Apart { expected: EventId::from_sequence(known.head.sequence), found })
            }
            Some(Known { first: Some(expected), .. }) if expected < found => Err(Fault::Beheaded { expected, found }),
            Some(Known { first: Some(_), .. }) => Ok(ChainHead { sequence, hash: first.prev_hash() }),
            Some(Known { first: None, .. }) | None if self.scope == Scope::Partial => {
                Ok(ChainHead { sequence, hash: first.prev_hash() })
            }
            Some(Known { first: None, .. }) | None => Err(Fault::NotFromBeginning { found }),
        }
    }

    /// Judges where the trail ends. `total`: how many events its keeper says that there are.
    fn end(&mut self, total: Option<u64>) {
        let Some(head) = self.head() else { return self.note(0, Fault::Empty) };
        let found = EventId::from_sequence(head.sequence);
        if let Some(total) = total.filter(|total| head.sequence < *total) {
            return self.note(u64::MAX, Fault::Withheld { total, found });
        }
        let Some(Known { head: known, .. }) = self.known else { return };
        // What was exported earlier was whole then, or its breaks were accepted in it.
        let since = self.accepted().find(|accepted| {
            accepted.broken.before.sequence < known.sequence && accepted.accepted_by.sequence() > known.sequence
        });
        if let Some(&AcceptedChainBreak { broken, accepted_by, .. }) = since {
            let fault = Fault::AcceptedSince { fault: broken.fault, accepted_by };
            self.note(broken.id.event().sequence(), fault);
        }
        if !self.known_was_met {
            self.note(u64::MAX, Fault::Shorter { expected: EventId::from_sequence(known.sequence), found });
        }
    }

    /// Keeps the fault that lies furthest at the beginning.
    fn note(&mut self, at: u64, fault: Fault) {
        if self.fault.is_none_or(|(earlier, _)| at < earlier) {
            self.fault = Some((at, fault));
        }
    }

    fn head(&self) -> Option<ChainHead> {
        self.chain.as_ref().map(ChainVerifier::head)
    }

    fn accepted(&self) -> impl Iterator<Item = &AcceptedChainBreak> {
        self.chain.iter().flat_map(ChainVerifier::accepted)
    }

    /// The first break that was not accepted.
    fn broken(&self) -> Option<&ChainBreak> {
        self.chain.as_ref().and_then(|chain| chain.open().first())
    }

    /// The first thing that is wrong.
    fn verdict(&self) -> Result<(), Fault> {
        let broken = self.broken().map(|broken| (broken.id.event().sequence(), Fault::Chain(broken.fault)));
        let first = broken.into_iter().chain(self.fault).min_by_key(|(at, _)| *at);
        first.map_or(Ok(()), |(_, fault)| Err(fault))
    }

    /// Up to where it is what was recorded.
    fn proven(&self) -> Option<ChainHead> {
        match self.broken() {
            Some(broken) if self.first != Some(broken.id.event()) => Some(broken.before),
            Some(_) => None,
            None => self.head(),
        }
    }

    fn begins_at_the_beginning(&self) -> bool {
        self.first.is_some_and(|first| first.sequence() == 1)
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = self.verdict();
        let last = self.head().map(|head| EventId::from_sequence(head.sequence));
        let span = match (self.first, last) {
            (Some(first), Some(last)) => format!("{} ({first} to {last})", format::number(self.events)),
            _ => "none".to_owned(),
        };
        let but = match self.accepted().count() as u64 {
            0 => String::new(),
            accepted => format!(", but for {}", format::count(accepted, "accepted break")),
        };
        let mut fields = vec![("events", span)];
        fields.push((
            "chain",
            match (verdict, self.begins_at_the_beginning()) {
                (Err(fault), _) => format!("BROKEN: {fault}"),
                (Ok(()), true) => format!("holds from the first event on{but}"),
                (Ok(()), false) => {
                    format!("holds from the first of these events on{but}; what was before it is not here")
                }
            },
        ));
        fields.extend(self.accepted().map(|accepted| ("accepted", accepted_in_words(accepted))));
        if let Some(known) = self.known.filter(|_| self.known_was_met && verdict.is_ok()) {
            let known = EventId::from_sequence(known.head.sequence);
            fields.push(("continuity", format!("up to {known} it is what it was")));
        }
        if let Some(head) = self.proven() {
            fields.push(("head", format!("{}:{}", EventId::from_sequence(head.sequence), head.hash)));
        }
        output::fields(out, &fields)?;
        if verdict.is_ok() && self.chain.is_some() {
            writeln!(
                out,
                "\nKeep the head elsewhere: `awrit audit verify --head …` shows later that nothing changed."
            )?;
        }
        Ok(())
    }

    fn for_scripts(&self) -> Value {
        let verdict = self.verdict();
        let head = self.proven().map(|head| json!({ "id": EventId::from_sequence(head.sequence), "hash": head.hash }));
        let accepted = self.accepted().map(|accepted| {
            json!({
                "break": accepted.broken.id,
                "fault": accepted.broken.fault.to_string(),
                "accepted_by": accepted.accepted_by,
            })
        });
        json!({
            "holds": verdict.is_ok(),
            "events": self.events,
            "first": self.first,
            "head": head,
            "from_the_beginning": self.begins_at_the_beginning(),
            "accepted_breaks": accepted.collect::<Vec<_>>(),
            "continues": self.known.map(|_| self.known_was_met && verdict.is_ok()),
            "fault": verdict.err().map(|fault| fault.to_string()),
        })
    }
}

fn accepted_in_words(accepted: &AcceptedChainBreak) -> String {
    format!("{}; {} accepts the break {}", accepted.broken.fault, accepted.accepted_by, accepted.broken.id)
}

fn known_head(text: &str) -> Result<ChainHead, String> {
    let wrong = || "an event id and its hash, as in `evt-004711:` and 64 hexadecimal characters".to_owned();
    let (id, hash) = text.split_once(':').ok_or_else(wrong)?;
    let id = EventId::parse(id).map_err(|_| wrong())?;
    let hash: EventHash = serde_json::from_value(Value::from(hash)).map_err(|_| wrong())?;
    Ok(ChainHead { sequence: id.sequence(), hash })
}

//! `awrit audit verify`: verification of an export, or of the broker's trail.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use agentwrit_verify::audit::{AcceptedChainBreak, ChainHead, EventHash, EventId};
use clap::Args;
use serde_json::{Value, json};

use super::{
    reader::{BrokerPages, ExportReader, TrailReader},
    trail_check::{EarlierTrail, ExpectedRange, TrailCheck},
};
use crate::{context::Context, error::CliError, format, output};

/// Check the hash chain of an export, or of the broker's trail; exit code 3 when it does not hold
///
/// An export is checked without the broker, and must begin with the first event of the trail unless --continues, --head or
/// --partial is given. With --continues, the trail must also contain or continue an earlier export: no event of that export
/// was altered or removed since. A break that the operator has accepted (`audit_break_accepted`) is reported and does not
/// fail the check, unless it was accepted after the earlier export.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit verify trail.jsonl
  awrit audit verify today.jsonl --continues yesterday.jsonl
  awrit audit verify march.jsonl --partial   # an export made with --after
  awrit audit verify --head evt-004711:9f2c…   # the broker's trail against a recorded hash")]
pub(crate) struct Verify {
    /// The export, `-` for stdin; without it, the broker's trail
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Earlier export that this one must contain or continue
    #[arg(long, value_name = "FILE")]
    continues: Option<PathBuf>,
    /// Event and hash that must be in the trail, as an earlier run printed them
    #[arg(long, value_name = "EVENT ID:HASH", value_parser = parse_head, conflicts_with = "continues")]
    head: Option<ChainHead>,
    /// Require the file to begin with the first event of the trail: the default without --continues and --head
    #[arg(long, conflicts_with = "partial")]
    from_beginning: bool,
    /// Accept a part of the trail, without the events before it
    #[arg(long, requires = "file")]
    partial: bool,
}

impl Verify {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let earlier = match &self.continues {
            Some(path) => Some(read_earlier(path).await?),
            None => self.head.map(|head| EarlierTrail { first: None, head }),
        };
        let reader = match &self.file {
            Some(path) => TrailReader::Export(ExportReader::open(path)?),
            None => TrailReader::Broker(Box::new(BrokerPages::after(context.admin()?, None))),
        };
        let expected = match (self.from_beginning, self.partial) {
            (true, _) => ExpectedRange::FromBeginning,
            (false, true) => ExpectedRange::Partial,
            (false, false) => ExpectedRange::ContinuingEarlier,
        };
        let check = TrailCheck::run(reader, earlier, expected).await?;
        let printed = context.output.print(&report_json(&check), |out| print_report(out, &check));
        CliError::negative_unless(check.verdict().is_ok(), printed, None)
    }
}

async fn read_earlier(path: &Path) -> Result<EarlierTrail, CliError> {
    let reader = TrailReader::Export(ExportReader::open(path)?);
    let check = TrailCheck::run(reader, None, ExpectedRange::Partial).await?;
    match (check.verdict(), check.head()) {
        (Ok(()), Some(head)) => Ok(EarlierTrail { first: check.first(), head }),
        (Err(fault), Some(_)) => {
            Err(CliError::Negative(Some(format!("the earlier export `{}` is broken: {fault}", path.display()))))
        }
        (_, None) => Err(CliError::file(path, &"there is no event in it")),
    }
}

fn print_report(out: &mut dyn Write, check: &TrailCheck) -> io::Result<()> {
    let verdict = check.verdict();
    let last = check.head().map(|head| EventId::from_sequence(head.sequence));
    let events = match (check.first(), last) {
        (Some(first), Some(last)) => format!("{} ({first} to {last})", format::number(check.events())),
        _ => "none".to_owned(),
    };
    let exceptions = match check.accepted_breaks().count() as u64 {
        0 => String::new(),
        accepted => format!(", except for {}", format::count(accepted, "accepted break")),
    };
    let chain = match (verdict, check.is_from_beginning()) {
        (Err(fault), _) => format!("BROKEN: {fault}"),
        (Ok(()), true) => format!("holds from the first event on{exceptions}"),
        (Ok(()), false) => {
            format!("holds from the first of these events on{exceptions}; earlier events are not included")
        }
    };
    let mut fields = vec![("events", events), ("chain", chain)];
    fields.extend(check.accepted_breaks().map(|accepted| ("accepted", accepted_break(accepted))));
    if let Some(earlier) = check.earlier().filter(|_| check.is_continuous()) {
        fields.push(("continuity", format!("unchanged up to {}", EventId::from_sequence(earlier.head.sequence))));
    }
    if let Some(head) = check.proven_head() {
        fields.push(("head", format!("{}:{}", EventId::from_sequence(head.sequence), head.hash)));
    }
    output::fields(out, &fields)?;
    if verdict.is_ok() && check.head().is_some() {
        writeln!(
            out,
            "\nStore the head elsewhere: `awrit audit verify --head …` shows later that these events are unchanged."
        )?;
    }
    Ok(())
}

fn report_json(check: &TrailCheck) -> Value {
    let verdict = check.verdict();
    let head =
        check.proven_head().map(|head| json!({ "id": EventId::from_sequence(head.sequence), "hash": head.hash }));
    let accepted = check.accepted_breaks().map(|accepted| {
        json!({
            "break": accepted.broken.id,
            "fault": accepted.broken.fault.to_string(),
            "accepted_by": accepted.accepted_by,
        })
    });
    json!({
        "holds": verdict.is_ok(),
        "events": check.events(),
        "first": check.first(),
        "head": head,
        "from_the_beginning": check.is_from_beginning(),
        "accepted_breaks": accepted.collect::<Vec<_>>(),
        "continues": check.earlier().map(|_| check.is_continuous()),
        "fault": verdict.err().map(|fault| fault.to_string()),
    })
}

fn accepted_break(accepted: &AcceptedChainBreak) -> String {
    format!("{}; {} accepts the break {}", accepted.broken.fault, accepted.accepted_by, accepted.broken.id)
}

fn parse_head(text: &str) -> Result<ChainHead, String> {
    let invalid = || "write an event id and its hash, as in `evt-004711:` and 64 hexadecimal characters".to_owned();
    let (id, hash) = text.split_once(':').ok_or_else(invalid)?;
    let id = EventId::parse(id).map_err(|_| invalid())?;
    let hash: EventHash = serde_json::from_value(Value::from(hash)).map_err(|_| invalid())?;
    Ok(ChainHead { sequence: id.sequence(), hash })
}

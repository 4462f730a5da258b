//! Checks of a trail: its hash chain, its beginning and end, and its continuity with an earlier export.

use agentwrit_verify::audit::{
    AcceptedChainBreak, AuditChainError, ChainBreak, ChainHead, ChainLink, ChainVerifier, EventId,
};

use super::reader::TrailReader;
use crate::error::CliError;

/// Earlier state of the trail to compare with.
#[derive(Clone, Copy)]
pub(super) struct EarlierTrail {
    /// First event of the earlier export: the trail must hold all events from it on, or only events after the export.
    pub(super) first: Option<EventId>,
    pub(super) head: ChainHead,
}

/// State of the check while the trail is read, and its result afterwards.
#[derive(Default)]
pub(super) struct TrailCheck {
    expected: ExpectedRange,
    earlier: Option<EarlierTrail>,
    found_earlier_head: bool,
    first: Option<EventId>,
    events: u64,
    chain: Option<ChainVerifier>,
    /// First fault other than a break of the chain, with the sequence number of its event.
    fault: Option<(u64, TrailFault)>,
}

/// Part of the trail that is accepted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ExpectedRange {
    /// The whole trail from its first event on.
    FromBeginning,
    /// The whole trail, or a part that continues the earlier one.
    #[default]
    ContinuingEarlier,
    /// Any part.
    Partial,
}

/// Reason why a trail is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TrailFault {
    #[error(transparent)]
    Chain(#[from] AuditChainError),
    #[error("`{id}` has another hash than it had in the earlier export: the trail was rewritten")]
    Rewritten { id: EventId },
    #[error("{fault} since the earlier export, which `{accepted_by}` accepts")]
    AcceptedSince { fault: AuditChainError, accepted_by: EventId },
    #[error("the trail ends with `{found}`, but the earlier export went up to `{expected}`")]
    MissingEnd { expected: EventId, found: EventId },
    #[error("the trail begins with `{found}`: the events between it and `{expected}` are missing")]
    Gap { expected: EventId, found: EventId },
    #[error("the trail begins with `{found}`: the events from `{expected}` on are missing")]
    MissingBeginning { expected: EventId, found: EventId },
    #[error(
        "it begins with `{found}`: earlier events are missing; use --continues for a part that continues an earlier export, \
         --partial for any other"
    )]
    NotFromBeginning { found: EventId },
    #[error("the broker reports {total} events, but lists them up to `{found}`")]
    Withheld { total: u64, found: EventId },
    #[error("there is no event in it")]
    Empty,
}

impl TrailCheck {
    pub(super) async fn run(
        mut reader: TrailReader,
        earlier: Option<EarlierTrail>,
        expected: ExpectedRange,
    ) -> Result<Self, CliError> {
        let mut check = Self { expected, earlier, ..Self::default() };
        loop {
            let links = match reader.next().await {
                Ok(links) => links,
                // A break before the unreadable line is reported first.
                Err(_) if check.open_break().is_some() => return Ok(check),
                Err(error) => return Err(error),
            };
            if links.is_empty() {
                check.end(reader.total());
                return Ok(check);
            }
            for link in &links {
                if let Err(fault) = check.add(link, reader.is_whole()) {
                    check.record_fault(u64::MAX, fault);
                    return Ok(check);
                }
            }
        }
    }

    /// Adds the next event; an error ends the check. `whole` is set where the first event of the trail must come first.
    fn add(&mut self, link: &ChainLink, whole: bool) -> Result<(), TrailFault> {
        let mut chain = match self.chain.take() {
            Some(chain) => chain,
            None => ChainVerifier::new(self.start(link, whole)?),
        };
        let before = chain.head();
        let followed = chain.follow(link);
        self.chain = Some(chain);
        followed?;
        self.events += 1;
        if let Some(EarlierTrail { head, .. }) = self.earlier {
            let found = ChainHead { sequence: link.id().sequence(), hash: link.computed() };
            self.found_earlier_head |= head == before || head == found;
            if head.sequence == found.sequence && head.hash != found.hash {
                self.record_fault(found.sequence, TrailFault::Rewritten { id: link.id() });
            }
        }
        Ok(())
    }

    /// Returns the head that the first event follows: of the empty trail, of the earlier export, or of an event that is not
    /// part of the input.
    fn start(&mut self, first: &ChainLink, whole: bool) -> Result<ChainHead, TrailFault> {
        self.first = Some(first.id());
        let (found, sequence) = (first.id(), first.id().sequence().saturating_sub(1));
        if sequence == 0 {
            return Ok(ChainHead::GENESIS);
        }
        if whole {
            return Err(TrailFault::MissingBeginning { expected: EventId::from_sequence(1), found });
        }
        if self.expected == ExpectedRange::FromBeginning {
            return Err(TrailFault::NotFromBeginning { found });
        }
        let unknown = ChainHead { sequence, hash: first.prev_hash() };
        match self.earlier {
            Some(earlier) if earlier.head.sequence == sequence => Ok(earlier.head),
            Some(earlier) if earlier.head.sequence < sequence => {
                Err(TrailFault::Gap { expected: EventId::from_sequence(earlier.head.sequence), found })
            }
            Some(EarlierTrail { first: Some(expected), .. }) if expected < found => {
                Err(TrailFault::MissingBeginning { expected, found })
            }
            Some(EarlierTrail { first: Some(_), .. }) => Ok(unknown),
            Some(EarlierTrail { first: None, .. }) | None if self.expected == ExpectedRange::Partial => Ok(unknown),
            Some(EarlierTrail { first: None, .. }) | None => Err(TrailFault::NotFromBeginning { found }),
        }
    }

    /// Compares the end of the trail with the broker's `total` and with the earlier trail.
    fn end(&mut self, total: Option<u64>) {
        let Some(head) = self.head() else { return self.record_fault(0, TrailFault::Empty) };
        let found = EventId::from_sequence(head.sequence);
        if let Some(total) = total.filter(|total| head.sequence < *total) {
            return self.record_fault(u64::MAX, TrailFault::Withheld { total, found });
        }
        let Some(EarlierTrail { head: earlier, .. }) = self.earlier else { return };
        // The earlier export had no open break: a break in its range that was accepted later is tampering since then.
        let since = self.accepted_breaks().find(|accepted| {
            accepted.broken.before.sequence < earlier.sequence && accepted.accepted_by.sequence() > earlier.sequence
        });
        if let Some(&AcceptedChainBreak { broken, accepted_by, .. }) = since {
            let fault = TrailFault::AcceptedSince { fault: broken.fault, accepted_by };
            self.record_fault(broken.id.event().sequence(), fault);
        }
        if !self.found_earlier_head {
            let expected = EventId::from_sequence(earlier.sequence);
            self.record_fault(u64::MAX, TrailFault::MissingEnd { expected, found });
        }
    }

    /// Keeps the fault of the earliest event.
    fn record_fault(&mut self, sequence: u64, fault: TrailFault) {
        if self.fault.is_none_or(|(earlier, _)| sequence < earlier) {
            self.fault = Some((sequence, fault));
        }
    }

    /// Returns the first break that was not accepted.
    fn open_break(&self) -> Option<&ChainBreak> {
        self.chain.as_ref().and_then(|chain| chain.open().first())
    }

    /// Returns the first fault.
    pub(super) fn verdict(&self) -> Result<(), TrailFault> {
        let broken = self.open_break().map(|broken| (broken.id.event().sequence(), TrailFault::Chain(broken.fault)));
        let first = broken.into_iter().chain(self.fault).min_by_key(|(sequence, _)| *sequence);
        first.map_or(Ok(()), |(_, fault)| Err(fault))
    }

    pub(super) fn first(&self) -> Option<EventId> {
        self.first
    }

    /// Number of events that were read.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn head(&self) -> Option<ChainHead> {
        self.chain.as_ref().map(ChainVerifier::head)
    }

    /// Returns the head before the first open break, or the last head.
    pub(super) fn proven_head(&self) -> Option<ChainHead> {
        match self.open_break() {
            Some(broken) if self.first != Some(broken.id.event()) => Some(broken.before),
            Some(_) => None,
            None => self.head(),
        }
    }

    pub(super) fn accepted_breaks(&self) -> impl Iterator<Item = &AcceptedChainBreak> {
        self.chain.iter().flat_map(ChainVerifier::accepted)
    }

    pub(super) fn is_from_beginning(&self) -> bool {
        self.first.is_some_and(|first| first.sequence() == 1)
    }

    pub(super) fn earlier(&self) -> Option<EarlierTrail> {
        self.earlier
    }

    /// Returns true if the trail has no fault and contains or continues the earlier one.
    pub(super) fn is_continuous(&self) -> bool {
        self.found_earlier_head && self.verdict().is_ok()
    }
}

//! Check that the database holds the last commit that a broker saw.

use tokio_postgres::Row;

use super::{
    codec::{bytes, get, unsigned},
    remembered::Seen,
};
use crate::{
    audit::{ChainHead, EventHash},
    store::{
        StoreError,
        codec::{from_micros, signed},
        lost_history::LostHistory,
    },
};

/// Statement that reads the head row, the first event from `$1` on, and whether the server is a standby; and `more` columns.
macro_rules! check {
    ($more:literal) => {
        concat!(
            "SELECT head.identity, head.epoch, head.audit_seq, head.audit_hash, head.last_time, event.seq, event.hash, \
             pg_is_in_recovery()",
            $more,
            " FROM head LEFT JOIN LATERAL (SELECT seq, hash FROM audit_events WHERE seq >= $1 ORDER BY seq LIMIT 1) AS event \
             ON true WHERE head.one = 1"
        )
    };
}
pub(super) use check;

pub(super) const CHECK: &str = check!("");
/// Commit to look up before a transaction or a reading relies on the database.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) seen: Option<Seen>,
    /// Number of lost histories before the question.
    pub(super) losses: u64,
}

impl Question {
    /// Parameter of [`CHECK`].
    pub(super) fn sequence(&self) -> i64 {
        self.seen.as_ref().map_or(0, |seen| signed(seen.event.sequence))
    }
}

/// Compares the row of [`CHECK`] with what this broker saw. Returns the history that is lost, if it is, and the commit of
/// the row.
pub(super) fn compare(question: &Question, row: &Row) -> Result<(Option<LostHistory>, Seen), StoreError> {
    if get(row, 7)? {
        return Err(unavailable("the server is a standby"));
    }
    let found = Seen {
        identity: get(row, 0)?,
        epoch: get(row, 1)?,
        event: ChainHead { sequence: unsigned(row, 2)?, hash: EventHash::from_bytes(bytes(row, 3)?) },
        at: from_micros(get(row, 4)?),
    };
    if let Some(seen) = &question.seen {
        if seen.identity != found.identity {
            return Err(unavailable("the server holds another database than before"));
        }
        let event = match get::<Option<i64>>(row, 5)? {
            Some(_) => Some(ChainHead { sequence: unsigned(row, 5)?, hash: EventHash::from_bytes(bytes(row, 6)?) }),
            None => None,
        };
        if !holds(seen.event, found.event, event) {
            let lost = LostHistory {
                seen: seen.event,
                found: found.event,
                epoch: seen.epoch.clone(),
                until: seen.at,
                withdrawn_keys: Vec::new(),
            };
            return Ok((Some(lost), found));
        }
    }
    Ok((None, found))
}

/// Returns whether a trail that ends at `last` holds the event `seen`, if `event` is its first one from that number on.
fn holds(seen: ChainHead, last: ChainHead, event: Option<ChainHead>) -> bool {
    match event {
        Some(event) if event.sequence == seen.sequence => event.hash == seen.hash,
        Some(_) => true,
        None => seen.sequence == 0 || seen == last,
    }
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, hash: u8) -> ChainHead {
        ChainHead { sequence, hash: EventHash::from_bytes([hash; 32]) }
    }

    #[test]
    fn trail_holds_event_that_is_in_it_or_was_archived() {
        let seen = event(5, 1);
        for (last, first, held) in [
            (event(5, 1), Some(event(5, 1)), true),
            (event(9, 9), Some(event(5, 1)), true),
            (event(9, 9), Some(event(5, 2)), false),
            (event(9, 9), Some(event(7, 7)), true),
            (event(5, 1), None, true),
            (event(5, 2), None, false),
            (event(4, 4), None, false),
            (ChainHead::GENESIS, None, false),
        ] {
            assert_eq!(holds(seen, last, first), held, "{last:?} {first:?}");
        }
        assert!(holds(ChainHead::GENESIS, ChainHead::GENESIS, None));
    }
}

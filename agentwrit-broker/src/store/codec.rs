//! Between the types of the domain and what the stores keep.

use std::{fmt::Write, time::Duration};

use agentwrit_verify::{ScopeSet, UnixTime};

use crate::audit::Timestamp;

pub(super) fn micros(time: UnixTime) -> i64 {
    Timestamp::from(time).0
}

pub(super) fn from_micros(micros: i64) -> UnixTime {
    UnixTime::since_epoch(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Numbers that never reach 2⁶³.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn joined(scopes: &ScopeSet) -> String {
    let mut text = String::with_capacity(64);
    for scope in scopes {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a `String` cannot fail.
        write!(text, "{separator}{scope}").unwrap_or_default();
    }
    text
}

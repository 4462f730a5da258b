//! One entry of the feed, in the form that followers get.

use std::fmt::Write;

use agentwrit_verify::{Level, RevocationKey, UnixTime};
use data_encoding::BASE64URL_NOPAD;

use crate::{domain::Revocation, store::FeedRow};

/// `[level, key, revoked_at, expires_at]`. The key tells nothing of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    level: Level,
    key: RevocationKey,
    pub(super) revoked_at: UnixTime,
    pub(super) expires_at: UnixTime,
}

impl Entry {
    /// About how long an entry is when it is written and encoded, in bytes.
    pub(super) const ENCODED: usize = 72;

    pub(crate) fn of(issuer: &str, revocation: &Revocation) -> Self {
        Self {
            level: revocation.level,
            key: RevocationKey::of(revocation.level, issuer, &revocation.target),
            revoked_at: revocation.revoked_at,
            expires_at: revocation.expires_at,
        }
    }

    pub(crate) fn of_row(issuer: &str, row: &FeedRow<'_>) -> Self {
        Self {
            level: row.level,
            key: RevocationKey::of(row.level, issuer, row.target),
            revoked_at: row.revoked_at,
            expires_at: row.expires_at,
        }
    }

    pub(super) fn write(&self, text: &mut String) {
        text.push_str("[\"");
        text.push(self.level.letter());
        text.push_str("\",\"");
        if self.level != Level::Issuer {
            BASE64URL_NOPAD.encode_append(self.key.as_bytes(), text);
        }
        // Writing to a string does not fail.
        write!(text, "\",{},{}]", self.revoked_at.seconds(), self.expires_at.seconds()).unwrap_or_default();
    }
}

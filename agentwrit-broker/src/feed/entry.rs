//! Entries of the feed, made of revocations.

use agentwrit_verify::{RevocationKey, feed::FeedEntry};

use crate::{domain::Revocation, store::FeedRow};

/// Entry of a revocation that is being published.
pub(super) fn entry_of(issuer: &str, revocation: &Revocation) -> FeedEntry {
    FeedEntry {
        level: revocation.level,
        key: RevocationKey::of(revocation.level, issuer, &revocation.target),
        revoked_at: revocation.revoked_at,
        expires_at: revocation.expires_at,
    }
}

/// Entry of a revocation that is read from the store.
pub(crate) fn entry_of_row(issuer: &str, row: &FeedRow<'_>) -> FeedEntry {
    FeedEntry {
        level: row.level,
        key: RevocationKey::of(row.level, issuer, row.target),
        revoked_at: row.revoked_at,
        expires_at: row.expires_at,
    }
}

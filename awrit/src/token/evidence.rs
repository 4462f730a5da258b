//! Options of a verification, and the keys and revocations that it uses.

use std::path::PathBuf;

use agentwrit_verify::{FeedError, KeySet, RevocationList, Staleness, SystemClock};
use clap::Args;

/// Conditions that the token must meet, and the use of revocations.
#[derive(Args)]
pub(crate) struct VerificationOptions {
    /// Snapshot of the revocation feed, in place of fetching it
    #[arg(long, value_name = "FILE", requires = "jwks")]
    pub(super) revocations: Option<PathBuf>,
    /// Verify without revocations: a revoked token passes
    #[arg(long, conflicts_with = "revocations")]
    pub(super) without_revocations: bool,
    /// Accept a snapshot of any age: a token that was revoked since passes
    #[arg(long, requires = "revocations")]
    pub(super) accept_stale_revocations: bool,
    /// Issuer to require [default: the one that the token names, if the revocation feed is of the same issuer]
    #[arg(long)]
    pub(super) issuer: Option<String>,
    /// Audience to require
    #[arg(long)]
    pub(super) audience: Option<String>,
}

/// Keys and revocations to verify the token with, and the file or broker that each is from.
pub(super) struct Evidence {
    pub(super) keys: KeySet,
    pub(super) keys_source: String,
    pub(super) feed: Option<Feed>,
}

pub(super) struct Feed {
    pub(super) snapshot: String,
    pub(super) source: String,
}

impl Evidence {
    /// Verifies the snapshot and returns its revocations.
    pub(super) fn list(&self, issuer: &str, accept_stale: bool) -> Result<Option<RevocationList>, FeedError> {
        let Some(Feed { snapshot, .. }) = &self.feed else { return Ok(None) };
        let staleness = Staleness::default();
        let staleness = if accept_stale { staleness.accept_stale() } else { staleness };
        RevocationList::from_snapshot(snapshot, issuer, &self.keys, staleness, &SystemClock).map(Some)
    }
}

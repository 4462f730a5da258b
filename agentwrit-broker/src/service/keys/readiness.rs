//! Check that verifiers have the published keys, before one of these begins to sign.
//!
//! 1. An instance has them when it reported the digest of exactly these keys.
//! 2. An instance that has been silent for longer than its bound, and than it may be between reports, rejects every token or
//!    has read the announcement of the keys since: it is no obstacle.
//! 3. An instance without a bound is one for as long as it lacks the keys: until it reports, leaves, or its verifier is
//!    removed.

use std::{fmt, time::Duration};

use agentwrit_verify::{
    UnixTime,
    report::{InstanceId, ReportedBound, VerifierName},
};

use super::KeyError;

/// Longest interval between two reports of a live instance that has no news, and a margin.
const LONGEST_SILENCE: Duration = Duration::from_secs(150);
/// Number of instances that an error names.
const NAMED: usize = 3;

/// Result: instances that lack keys, and the time from which all instances are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Live instances without some of the published keys.
    pub(crate) missing: Vec<InstanceName>,
    /// Time from which every instance is known, if that is in the future.
    pub(crate) known_from: Option<UnixTime>,
}

/// Names of a verifier and one of its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceName {
    pub(crate) verifier: VerifierName,
    pub(crate) instance: InstanceId,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.verifier, self.instance)
    }
}

impl Readiness {
    /// Nothing is known about verifiers.
    pub(super) fn unknown(now: UnixTime) -> Self {
        Self { missing: Vec::new(), known_from: Some(now) }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.missing.is_empty() && self.known_from.is_none()
    }

    /// Number of obstacles: instances that are not known yet count as one.
    pub(crate) fn obstacles(&self) -> u64 {
        self.missing.len() as u64 + u64::from(self.known_from.is_some())
    }

    pub(super) fn check(&self) -> Result<(), KeyError> {
        if !self.missing.is_empty() {
            return Err(KeyError::NotEverywhere { count: self.missing.len(), named: self.named() });
        }
        self.known_from.map_or(Ok(()), |from| Err(KeyError::InstancesUnknown { from }))
    }

    /// Returns the first obstacles by name.
    pub(crate) fn named(&self) -> String {
        let names: Vec<String> = self.missing.iter().take(NAMED).map(ToString::to_string).collect();
        names.join(", ")
    }
}

/// Returns true if an instance that lacks keys, and was heard last at `heard_at`, may accept tokens at `now`.
pub(crate) fn is_obstacle(bound: ReportedBound, heard_at: UnixTime, now: UnixTime) -> bool {
    match bound.duration() {
        Some(bound) => {
            let silence = bound.saturating_add(Duration::from_secs(1)).max(LONGEST_SILENCE);
            now < heard_at.saturating_add(silence)
        }
        None => true,
    }
}

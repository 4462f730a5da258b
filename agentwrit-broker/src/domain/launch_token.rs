//! Launch tokens and their ids.

use std::fmt;

use agentwrit_verify::{AppId, PathSegment, ScopeSet, Subject, TokenId, UnixTime};
use data_encoding::HEXLOWER;

use super::Digest;

/// Permission for one agent to register, or for several unless it is for single use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchToken {
    /// Id, which reveals nothing of the launch token.
    pub id: LaunchTokenId,
    /// Digest of the launch token.
    pub digest: Digest,
    /// Creator's label of the agent.
    pub agent_name: String,
    /// Scopes that an agent may register with at most.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agent's tokens, in seconds.
    pub max_ttl: u64,
    /// True if it registers one agent only.
    pub single_use: bool,
    /// True if the agent's tokens are bound to its key.
    pub sender_constrained: bool,
    /// Time of its issue.
    pub created_at: UnixTime,
    /// Time from which it cannot be used.
    pub expires_at: UnixTime,
    /// Subject that requested it.
    pub created_by: Subject,
    /// Session of the token that requested it, with which it is revoked; none when the broker itself did.
    pub minted_in: Option<TokenId>,
    /// App that it belongs to; none when the operator issued it.
    pub app_id: Option<AppId>,
    /// `orch_id` that the registration must name.
    pub orch_id: Option<PathSegment>,
    /// `task_id` that the registration must name.
    pub task_id: Option<PathSegment>,
    /// Time at which a single-use launch token was used.
    pub consumed_at: Option<UnixTime>,
}

/// Id of a launch token: `lt-` and 16 hexadecimal characters, which reveal nothing of the token but the time of its issue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaunchTokenId([u8; 8]);

impl LaunchTokenId {
    const PREFIX: &str = "lt-";

    /// Number of random bits at the end of an id.
    const RANDOM_BITS: u32 = 29;

    /// Wraps the 8 bytes of an id.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Returns an id for a launch token that is issued at `at`: the time in units of 65 ms, then random bits. Ids that are
    /// added together lie together in a store's index.
    #[must_use]
    pub fn issued_at(at: UnixTime, random: [u8; 4]) -> Self {
        let units = at.elapsed_since_epoch().as_micros() >> 16;
        let time = u64::try_from(units).unwrap_or(u64::MAX) << Self::RANDOM_BITS;
        Self((time | u64::from(u32::from_be_bytes(random) >> (u32::BITS - Self::RANDOM_BITS))).to_be_bytes())
    }

    /// Parses `lt-` and 16 lower-case hexadecimal characters.
    ///
    /// # Errors
    ///
    /// [`LaunchTokenIdError`].
    pub fn parse(text: &str) -> Result<Self, LaunchTokenIdError> {
        let hex = text.strip_prefix(Self::PREFIX).filter(|hex| hex.len() == 16).ok_or(LaunchTokenIdError)?;
        let mut bytes = [0; 8];
        HEXLOWER.decode_mut(hex.as_bytes(), &mut bytes).map_err(|_| LaunchTokenIdError)?;
        Ok(Self(bytes))
    }

    /// The 8 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for LaunchTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for LaunchTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaunchTokenId({self})")
    }
}

/// A text that is no launch token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a launch token id is `lt-` and 16 lower-case hexadecimal characters")]
pub struct LaunchTokenIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_order_of_issue_and_differ_at_one_time() {
        let id = |seconds, random| LaunchTokenId::issued_at(UnixTime::from_seconds(seconds), random);
        assert_eq!(id(1_795_248_000, [0xff; 4]).to_string(), "lt-cc1897ea5fffffff");
        assert!(id(1_795_248_000, [0xff; 4]) < id(1_795_248_001, [0; 4]));
        assert_ne!(id(1_795_248_000, [0; 4]), id(1_795_248_000, [0, 0, 0, 0x80]));
        assert_ne!(id(UnixTime::MAX.seconds(), [0; 4]), id(UnixTime::MAX.seconds(), [0x80; 4]));
    }

    #[test]
    fn parses_only_lower_case_launch_token_ids() {
        let id = LaunchTokenId::from_bytes([0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string(), "lt-00010203040506ff");
        assert_eq!(LaunchTokenId::parse("lt-00010203040506ff"), Ok(id));
        for text in ["", "lt-", "00010203040506ff", "lt-00010203040506FF", "lt-00010203040506ff0", "lt-é0010203040506"]
        {
            assert_eq!(LaunchTokenId::parse(text), Err(LaunchTokenIdError), "{text:?}");
        }
    }
}

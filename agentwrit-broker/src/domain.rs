//! What the broker keeps: plain records, whose fields are already valid.
//!
//! 1. No record holds a secret: launch tokens and client secrets are kept as a [`Digest`].
//! 2. A record says what is; whether that allows something is decided in `service`.

use std::fmt;

pub use agentwrit_protocol::AppStatus;
use agentwrit_verify::{
    AgentId, AppId, Level, PathSegment, ScopeSet, Subject, TokenId, UnixTime, identity::is_app_name,
};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// An application, which obtains launch tokens for its agents within its ceiling of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// `app-<name>-<6 hex>`.
    pub app_id: AppId,
    /// Unique among the apps that are not deregistered.
    pub name: AppName,
    /// What the app authenticates as, unique among all apps.
    pub client_id: String,
    /// Of the client secret.
    pub secret_digest: Digest,
    /// The ceiling: no agent of the app can hold more.
    pub scopes: ScopeSet,
    /// Lifetime of the app's own tokens, in seconds.
    pub token_ttl: u64,
    /// Whether the app may still act.
    pub status: AppStatus,
    /// When the app was registered.
    pub created_at: UnixTime,
    /// When the app was last changed.
    pub updated_at: UnixTime,
    /// When the app was deregistered.
    pub deregistered_at: Option<UnixTime>,
}

/// What lets one agent (or several, unless it is for single use) register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchToken {
    /// Names the launch token without revealing it.
    pub id: LaunchTokenId,
    /// Of the launch token itself.
    pub digest: Digest,
    /// What its creator calls the agent.
    pub agent_name: String,
    /// The most that an agent may register with.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agent's tokens, in seconds.
    pub max_ttl: u64,
    /// Whether it registers one agent only.
    pub single_use: bool,
    /// When it was issued.
    pub created_at: UnixTime,
    /// When it can no longer be used.
    pub expires_at: UnixTime,
    /// Who issued it.
    pub created_by: Subject,
    /// The session of the token that asked for it, with which it dies; none when the broker itself did.
    pub minted_in: Option<TokenId>,
    /// The app that it belongs to; none when the operator issued it.
    pub app_id: Option<AppId>,
    /// The `orch_id` that the registration must name.
    pub orch_id: Option<PathSegment>,
    /// The `task_id` that the registration must name.
    pub task_id: Option<PathSegment>,
    /// When a single-use launch token was used.
    pub consumed_at: Option<UnixTime>,
}

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// Its SPIFFE id.
    pub agent_id: AgentId,
    /// The app whose launch token it came with.
    pub app_id: Option<AppId>,
    /// What it registered for.
    pub scope: ScopeSet,
    /// Its Ed25519 key.
    pub public_key: [u8; 32],
    /// The launch token that it came with.
    pub launch_token_id: LaunchTokenId,
    /// When it registered.
    pub registered_at: UnixTime,
    /// When the latest of its tokens expires.
    pub expires_at: UnixTime,
    /// When it was barred from ever receiving another token.
    pub revoked_at: Option<UnixTime>,
}

/// A token that left the broker: what revocation and renewal need to know about it, not the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token.
    pub jti: TokenId,
    /// The session: the `jti` of the first token of its renewal family.
    pub sid: TokenId,
    /// Whom it speaks for.
    pub subject: Subject,
    /// The app that it belongs to.
    pub app_id: Option<AppId>,
    /// The task that it was issued for.
    pub task_id: Option<PathSegment>,
    /// The first delegator of its chain.
    pub root: Option<AgentId>,
    /// Every delegator of its chain, root first.
    pub delegators: Vec<AgentId>,
    /// The session of each delegator, in the same order.
    pub delegator_sids: Vec<TokenId>,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
    /// What a renewal starts from again, in seconds.
    pub original_ttl: u64,
    /// `iat` of the first token of its session.
    pub session_started_at: UnixTime,
}

/// An entry of the revocation feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What the target names.
    pub level: Level,
    /// The jti, session, subject or task that is revoked; empty at issuer level.
    pub target: String,
    /// The not-before mark.
    pub revoked_at: UnixTime,
    /// When every token that it could affect has expired.
    pub expires_at: UnixTime,
    /// Who revoked it.
    pub revoked_by: Subject,
    /// Why, in the words of who did it.
    pub reason: Option<String>,
    /// Whether somebody revoked; false for what follows from a release, a renewal or another revocation.
    pub listed: bool,
}

impl Revocation {
    /// An entry for each of `ahead`: tokens (with their expiry) dated after the second of this entry, which its
    /// not-before mark does not reach.
    pub(crate) fn of_those_ahead<'a>(&'a self, ahead: &'a [(TokenId, UnixTime)]) -> impl Iterator<Item = Self> + 'a {
        ahead.iter().map(|(jti, expires_at)| Self {
            level: Level::Token,
            target: jti.to_string(),
            expires_at: *expires_at,
            listed: false,
            ..self.clone()
        })
    }
}

/// SHA-256 of a secret. Compares in constant time.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `secret`.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// A digest that was stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beginning = self.0.first_chunk::<4>().map(|bytes| HEXLOWER.encode(bytes)).unwrap_or_default();
        write!(f, "Digest({beginning}…)")
    }
}

/// What an app is called: `^[a-z][a-z0-9]*(-[a-z0-9]+)*$`, 2 to 64 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppName(Box<str>);

impl AppName {
    /// Parses an app's name.
    ///
    /// # Errors
    ///
    /// [`AppNameError`].
    pub fn parse(text: &str) -> Result<Self, AppNameError> {
        if is_app_name(text) { Ok(Self(text.into())) } else { Err(AppNameError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppName({})", self.0)
    }
}

/// A text can't name an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 2 to 64 of `a-z 0-9 -`, start with a letter, and have no `-` at its end or beside another")]
pub struct AppNameError;

/// Names a launch token: `lt-` and 16 hexadecimal characters, which reveal nothing of the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaunchTokenId([u8; 8]);

impl LaunchTokenId {
    const PREFIX: &str = "lt-";

    /// Wraps bytes from a cryptographic random source.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
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

/// A text isn't the id of a launch token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a launch token id is `lt-` and 16 lower-case hexadecimal characters")]
pub struct LaunchTokenIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_shows_no_more_than_its_beginning() {
        let digest = Digest::of(b"abc");
        assert_eq!(format!("{digest:?}"), "Digest(ba7816bf…)");
        assert_eq!(digest, Digest::from_bytes(*digest.as_bytes()));
        assert_ne!(digest, Digest::of(b"abd"));
    }

    #[test]
    fn launch_token_ids_have_one_spelling() {
        let id = LaunchTokenId::from_bytes([0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string(), "lt-00010203040506ff");
        assert_eq!(LaunchTokenId::parse("lt-00010203040506ff"), Ok(id));
        for text in ["", "lt-", "00010203040506ff", "lt-00010203040506FF", "lt-00010203040506ff0", "lt-é0010203040506"]
        {
            assert_eq!(LaunchTokenId::parse(text), Err(LaunchTokenIdError), "{text:?}");
        }
    }

    #[test]
    fn app_names_match_their_pattern() {
        assert_eq!(AppName::parse("web-app").unwrap().as_str(), "web-app");
        for text in ["a", "Web", "-a", "a-", "a--b", "a_b"] {
            assert_eq!(AppName::parse(text), Err(AppNameError), "{text:?}");
        }
    }
}

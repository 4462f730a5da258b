//! Apps and their names.

use std::fmt;

pub use agentwrit_protocol::AppStatus;
use agentwrit_verify::{AppId, ScopeSet, UnixTime, identity::is_app_name};

use super::Digest;

/// An application, which requests launch tokens for its agents within its ceiling of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// `app-<name>-<6 hex>`.
    pub app_id: AppId,
    /// Unique among the apps that are not deregistered.
    pub name: AppName,
    /// Public part of the app's credentials, unique among all apps.
    pub client_id: String,
    /// Digest of the client secret.
    pub secret_digest: Digest,
    /// The secret before the latest rotation.
    pub former_secret: Option<FormerSecret>,
    /// Ceiling: no agent of the app can hold more.
    pub scopes: ScopeSet,
    /// Lifetime of the app's own tokens, in seconds.
    pub token_ttl: u64,
    /// True if the tokens of its agents are bound to the agent's key.
    pub sender_constrained: bool,
    /// State of the app: only an active one may act.
    pub status: AppStatus,
    /// Time of its registration.
    pub created_at: UnixTime,
    /// Time of its latest change.
    pub updated_at: UnixTime,
    /// Time of its deregistration.
    pub deregistered_at: Option<UnixTime>,
}

/// A secret that was replaced, and is accepted beside the new one for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerSecret {
    /// Digest of the secret.
    pub digest: Digest,
    /// Time from which it is not accepted any more.
    pub expires_at: UnixTime,
}

impl App {
    /// Returns whether `offered` is the digest of a secret of the app. Compares with both secrets, whichever matches.
    pub(crate) fn accepts_secret(&self, offered: &Digest, now: UnixTime) -> bool {
        let is_current = self.secret_digest == *offered;
        let former = self.former_secret.unwrap_or(FormerSecret { digest: self.secret_digest, expires_at: now });
        let is_former = former.digest == *offered;
        is_current || (is_former && now < former.expires_at)
    }

    /// Returns the time until which the secret before the latest rotation is accepted, if it is at `now`.
    pub(crate) fn former_secret_expires_at(&self, now: UnixTime) -> Option<UnixTime> {
        self.former_secret.map(|former| former.expires_at).filter(|expires_at| now < *expires_at)
    }
}

/// Name of an app: `^[a-z][a-z0-9]*(-[a-z0-9]+)*$`, 2 to 64 characters.
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

/// A text that is no app name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 2 to 64 of `a-z 0-9 -`, start with a letter, and have no `-` at its end or beside another")]
pub struct AppNameError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_app_names_outside_pattern() {
        assert_eq!(AppName::parse("web-app").unwrap().as_str(), "web-app");
        for text in ["a", "Web", "-a", "a-", "a--b", "a_b"] {
            assert_eq!(AppName::parse(text), Err(AppNameError), "{text:?}");
        }
    }
}

//! Subjects of credentials: agents (SPIFFE ids), apps and the admin.
//!
//! 1. An agent is `spiffe://<trust domain>/agent/<orch_id>/<task_id>/<instance>`; the instance is 16 lower-case
//!    hexadecimal characters.
//! 2. `orch_id` and `task_id` are SPIFFE path segments: 1 to 128 of `A-Z a-z 0-9 . _ -`, not `.` or `..`.
//! 3. A trust domain is 1 to 255 of `a-z 0-9 . _ -` (SPIFFE-ID §2.1).
//! 4. A subject (`sub`) is an agent's id, `app:<app_id>` or `admin`.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Implements `Display`, `Debug`, `FromStr` and serde for a type that is a validated text.
macro_rules! text_type {
    ($type:ident) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The name of the authority's realm, as in `spiffe://<trust domain>/…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// Parses 1 to 255 of `a-z 0-9 . _ -`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::TrustDomain`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(IdentityError::TrustDomain) }
    }

    fn is_valid(text: &str) -> bool {
        matches!(text.len(), 1..=255)
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_type!(TrustDomain);

/// A SPIFFE path segment: what an `orch_id` and a `task_id` are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathSegment(Box<str>);

impl PathSegment {
    /// The longest segment, in bytes.
    pub const MAX_LENGTH: usize = 128;

    /// Parses 1 to 128 of `A-Z a-z 0-9 . _ -`, not `.` or `..`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::PathSegment`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(IdentityError::PathSegment) }
    }

    fn is_valid(text: &str) -> bool {
        matches!(text.len(), 1..=Self::MAX_LENGTH)
            && !matches!(text, "." | "..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_type!(PathSegment);

/// SPIFFE id of an agent: `spiffe://<trust domain>/agent/<orch_id>/<task_id>/<instance>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Box<str>);

impl AgentId {
    const SCHEME: &str = "spiffe://";
    /// The longest id, in bytes (SPIFFE-ID §2.3).
    pub const MAX_LENGTH: usize = 2048;

    /// Names an agent; `instance` comes from a cryptographic random source.
    #[must_use]
    pub fn new(domain: &TrustDomain, orch_id: &PathSegment, task_id: &PathSegment, instance: [u8; 8]) -> Self {
        let instance = HEXLOWER.encode(&instance);
        Self(format!("{}{domain}/agent/{orch_id}/{task_id}/{instance}", Self::SCHEME).into())
    }

    /// Parses an agent's SPIFFE id.
    ///
    /// # Errors
    ///
    /// [`IdentityError::AgentId`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        Self::split(text).map(|_| Self(text.into())).ok_or(IdentityError::AgentId)
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The realm that issued it.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        Self::split(&self.0).map_or("", |parts| parts.domain)
    }

    /// The orchestrator that started the agent.
    #[must_use]
    pub fn orch_id(&self) -> &str {
        Self::split(&self.0).map_or("", |parts| parts.orch)
    }

    /// The task that the agent works on.
    #[must_use]
    pub fn task_id(&self) -> &str {
        Self::split(&self.0).map_or("", |parts| parts.task)
    }

    /// Returns the instance, which distinguishes the agents of one task: 16 hexadecimal characters.
    #[must_use]
    pub fn instance(&self) -> &str {
        Self::split(&self.0).map_or("", |parts| parts.instance)
    }

    fn split(text: &str) -> Option<AgentIdParts<'_>> {
        if text.len() > Self::MAX_LENGTH {
            return None;
        }
        let mut parts = text.strip_prefix(Self::SCHEME)?.split('/');
        let domain = parts.next()?;
        if parts.next()? != "agent" {
            return None;
        }
        let (orch, task, instance) = (parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = instance.len() == 16 && instance.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let valid = parts.next().is_none()
            && hexadecimal
            && TrustDomain::is_valid(domain)
            && PathSegment::is_valid(orch)
            && PathSegment::is_valid(task);
        valid.then_some(AgentIdParts { domain, orch, task, instance })
    }
}

struct AgentIdParts<'a> {
    domain: &'a str,
    orch: &'a str,
    task: &'a str,
    instance: &'a str,
}

text_type!(AgentId);

/// Id of a registered application: `app-<name>-<6 hex>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(Box<str>);

impl AppId {
    /// Names an app; `suffix` comes from a cryptographic random source.
    ///
    /// # Errors
    ///
    /// [`IdentityError::AppId`] when `name` is not `^[a-z][a-z0-9]*(-[a-z0-9]+)*$` of 2 to 64 characters.
    pub fn new(name: &str, suffix: [u8; 3]) -> Result<Self, IdentityError> {
        Self::parse(&format!("app-{name}-{}", HEXLOWER.encode(&suffix)))
    }

    /// Parses `app-<name>-<6 hex>`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::AppId`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let valid = text.strip_prefix("app-").and_then(|rest| rest.rsplit_once('-')).is_some_and(|(name, suffix)| {
            is_app_name(name) && suffix.len() == 6 && suffix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if valid { Ok(Self(text.into())) } else { Err(IdentityError::AppId) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_type!(AppId);

/// Returns true for a valid app name: `^[a-z][a-z0-9]*(-[a-z0-9]+)*$`, 2 to 64 characters.
#[must_use]
pub fn is_app_name(text: &str) -> bool {
    matches!(text.len(), 2..=64)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// Subject of a token: the `sub` claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "callers that branch on the kind of subject must handle each")]
pub enum Subject {
    /// An agent, by its SPIFFE id.
    Agent(AgentId),
    /// An app, written `app:<app_id>`.
    App(AppId),
    /// The operator, written `admin`.
    Admin,
}

impl Subject {
    /// Parses a `sub` claim.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Subject`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text == "admin" {
            return Ok(Self::Admin);
        }
        let subject = match text.strip_prefix("app:") {
            Some(id) => AppId::parse(id).map(Self::App),
            None => AgentId::parse(text).map(Self::Agent),
        };
        subject.map_err(|_| IdentityError::Subject)
    }

    /// The agent's id, if the subject is one.
    #[must_use]
    pub fn as_agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(id) => Some(id),
            Self::App(_) | Self::Admin => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => f.write_str(id.as_str()),
            Self::App(id) => write!(f, "app:{id}"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Subject {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A subject that a list is filtered by: an agent's id, `app:<app_id>` or `admin`; or any other SPIFFE id, which no subject
/// of this broker has.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectFilter(Box<str>);

impl SubjectFilter {
    /// Parses a subject, or a well-formed SPIFFE id of any kind.
    ///
    /// # Errors
    ///
    /// [`IdentityError::SubjectFilter`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let valid = Subject::parse(text).is_ok() || is_spiffe_id(text);
        if valid { Ok(Self(text.into())) } else { Err(IdentityError::SubjectFilter) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_type!(SubjectFilter);

impl From<&Subject> for SubjectFilter {
    fn from(subject: &Subject) -> Self {
        Self(subject.to_string().into())
    }
}

impl From<Subject> for SubjectFilter {
    fn from(subject: Subject) -> Self {
        Self::from(&subject)
    }
}

/// Returns true for `spiffe://<trust domain>`, optionally with a path of segments of any length (SPIFFE-ID §2).
fn is_spiffe_id(text: &str) -> bool {
    let segment = |text: &str| {
        !matches!(text, "" | "." | "..")
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    text.len() <= AgentId::MAX_LENGTH
        && text.strip_prefix(AgentId::SCHEME).is_some_and(|rest| {
            let mut parts = rest.split('/');
            parts.next().is_some_and(|domain| TrustDomain::parse(domain).is_ok()) && parts.all(segment)
        })
}

/// The name of one token (`jti`) or of a renewal family (`sid`): 16 random bytes, 32 hexadecimal characters on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// Wraps bytes from a cryptographic random source.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses 32 lower-case hexadecimal characters.
    ///
    /// # Errors
    ///
    /// [`IdentityError::TokenId`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let mut bytes = [0; 16];
        if text.len() != 32 {
            return Err(IdentityError::TokenId);
        }
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| IdentityError::TokenId)?;
        Ok(Self(bytes))
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// Reason why a text is not a valid identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Invalid trust domain.
    #[error("a trust domain is 1 to 255 of `a-z 0-9 . _ -`")]
    TrustDomain,
    /// Invalid SPIFFE path segment.
    #[error("must be 1 to 128 of `A-Z a-z 0-9 . _ -`, and not `.` or `..`")]
    PathSegment,
    /// Invalid SPIFFE id of an agent.
    #[error("an agent id is `spiffe://<trust domain>/agent/<orch_id>/<task_id>/<16 hex>`")]
    AgentId,
    /// Invalid app id.
    #[error("an app id is `app-<name>-<6 hex>`")]
    AppId,
    /// Invalid subject.
    #[error("a subject is an agent id, `app:<app_id>` or `admin`")]
    Subject,
    /// Neither a subject nor a SPIFFE id.
    #[error("must be a SPIFFE id, `app:<app_id>` or `admin`")]
    SubjectFilter,
    /// Invalid token id.
    #[error("a token id is 32 lower-case hexadecimal characters")]
    TokenId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_id_returns_its_parts() {
        let segment = |text| PathSegment::parse(text).unwrap();
        let domain = TrustDomain::parse("agentwrit.local").unwrap();
        let id = AgentId::new(&domain, &segment("orch"), &segment("task-1"), [0xab; 8]);
        assert_eq!(id.as_str(), "spiffe://agentwrit.local/agent/orch/task-1/abababababababab");
        assert_eq!(AgentId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(
            (id.trust_domain(), id.orch_id(), id.task_id(), id.instance()),
            ("agentwrit.local", "orch", "task-1", "abababababababab")
        );
    }

    #[test]
    fn subject_filter_accepts_subjects_and_any_spiffe_id() {
        let long = format!("spiffe://example.com/{}", "a".repeat(200));
        for text in [
            "admin",
            "app:app-desk-0a1b2c",
            "spiffe://d/agent/o/t/abababababababab",
            "spiffe://example.com/agent/crawler",
            "spiffe://example.com",
            "spiffe://example.com/ns/default/sa/Web_1.0",
            long.as_str(),
        ] {
            assert_eq!(SubjectFilter::parse(text).unwrap().as_str(), text);
        }
        let too_long = format!("spiffe://example.com/{}", "a".repeat(2048));
        for text in [
            "",
            "x",
            "Admin",
            "app:desk",
            "spiffe://",
            "spiffe:///agent",
            "spiffe://example.com/",
            "spiffe://example.com/a//b",
            "spiffe://example.com/a/../b",
            "spiffe://example.com/./b",
            "spiffe://example.com/a%2Fb",
            "spiffe://example.com/a b",
            "spiffe://example.com:443/a",
            "spiffe://EXAMPLE.com/a",
            "SPIFFE://example.com/a",
            "https://example.com/a",
            "spiffe://example.com/a?b",
            too_long.as_str(),
        ] {
            assert_eq!(SubjectFilter::parse(text), Err(IdentityError::SubjectFilter), "{text:?}");
        }
    }

    #[test]
    fn rejects_malformed_agent_ids() {
        for text in [
            "",
            "admin",
            "spiffe://d/agent/o/t",
            "spiffe://d/agent/o/t/abababababababab/",
            "spiffe://d/agent/o/t/ABABABABABABABAB",
            "spiffe://d/agent/../t/abababababababab",
            "spiffe://d/agent/o//abababababababab",
            "spiffe://D/agent/o/t/abababababababab",
            "spiffe://d/agents/o/t/abababababababab",
            "spiffe://d/agent/o%2F/t/abababababababab",
        ] {
            assert_eq!(AgentId::parse(text), Err(IdentityError::AgentId), "{text:?}");
        }
    }

    #[test]
    fn rejects_malformed_path_segments() {
        assert!(PathSegment::parse(&"a".repeat(128)).is_ok());
        for text in ["", ".", "..", "a/b", "a b", "é", &"a".repeat(129)] {
            assert_eq!(PathSegment::parse(text), Err(IdentityError::PathSegment), "{text:?}");
        }
    }

    #[test]
    fn subjects_round_trip() {
        for text in ["admin", "app:app-web-01ab23", "spiffe://d/agent/o/t/0123456789abcdef"] {
            assert_eq!(Subject::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "Admin", "app:", "app:web", "app:app-web-XYZ123"] {
            assert_eq!(Subject::parse(text), Err(IdentityError::Subject), "{text:?}");
        }
    }

    #[test]
    fn app_names_match_their_pattern() {
        for name in ["ab", "web-app", "a1-2b", &"a".repeat(64)] {
            assert!(is_app_name(name), "{name:?}");
        }
        for name in ["", "a", "Web", "1a", "a-", "-a", "a--b", "a_b", &"a".repeat(65)] {
            assert!(!is_app_name(name), "{name:?}");
        }
    }

    #[test]
    fn rejects_token_id_in_other_encodings() {
        let id = TokenId::from_bytes([0xa5; 16]);
        assert_eq!(TokenId::parse(&id.to_string()), Ok(id));
        assert_eq!(TokenId::parse(&id.to_string().to_uppercase()), Err(IdentityError::TokenId));
        assert_eq!(TokenId::parse("a5"), Err(IdentityError::TokenId));
    }
}

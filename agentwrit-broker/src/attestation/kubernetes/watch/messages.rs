//! Messages of the API server: parts of lists, and events of watches.

use agentwrit_json::{Object, object_from_slice};
use serde::Deserialize;

use crate::attestation::kubernetes::{api::KubernetesError, service_account::is_uid};

const MAX_DEPTH: usize = 32;

/// State of a pod in an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Added, modified, or a bookmark, which is of no pod.
    Present {
        uid: Option<String>,
        version: String,
    },
    Deleted {
        uid: String,
        version: String,
    },
    /// `410 Gone`, or another error of the watch.
    Ended {
        reason: String,
    },
}

/// Metadata of a pod.
#[derive(Deserialize)]
struct RawPod {
    metadata: Object<RawMetadata>,
}

#[derive(Deserialize)]
struct RawMetadata {
    #[serde(default)]
    uid: Option<String>,
    #[serde(default, rename = "resourceVersion")]
    version: Option<String>,
}

impl Event {
    pub(super) fn parse(line: &[u8]) -> Result<Self, KubernetesError> {
        #[derive(Deserialize)]
        struct RawKind {
            #[serde(rename = "type")]
            kind: String,
        }
        #[derive(Deserialize)]
        struct RawEvent {
            object: Object<RawPod>,
        }
        #[derive(Deserialize)]
        struct RawError {
            object: Object<RawStatus>,
        }
        #[derive(Deserialize)]
        struct RawStatus {
            #[serde(default)]
            code: Option<u16>,
        }
        let RawKind { kind } = object_from_slice(line, MAX_DEPTH).map_err(unreadable)?;
        if kind == "ERROR" {
            let RawError { object: Object(status) } = object_from_slice(line, MAX_DEPTH).map_err(unreadable)?;
            let code = status.code.unwrap_or_default();
            return Ok(Self::Ended { reason: format!("the watch ended with status {code}") });
        }
        let RawEvent { object: Object(RawPod { metadata: Object(metadata) }) } =
            object_from_slice(line, MAX_DEPTH).map_err(unreadable)?;
        let version = metadata.version.filter(|version| is_version(version));
        let version = version.ok_or_else(|| malformed("an event without version"))?;
        let uid = || metadata.uid.filter(|uid| is_uid(uid)).ok_or_else(|| malformed("an event without uid"));
        match &*kind {
            "BOOKMARK" => Ok(Self::Present { uid: None, version }),
            "ADDED" | "MODIFIED" => Ok(Self::Present { uid: Some(uid()?), version }),
            "DELETED" => Ok(Self::Deleted { uid: uid()?, version }),
            _ => Err(malformed("an event of an unknown type")),
        }
    }
}

/// Part of a list.
pub(super) struct Page {
    pub(super) uids: Vec<String>,
    pub(super) version: String,
    /// Continues the list.
    pub(super) next: Option<String>,
}

impl Page {
    pub(super) fn parse(body: &[u8]) -> Result<Self, KubernetesError> {
        #[derive(Deserialize)]
        struct RawPage {
            kind: String,
            metadata: Object<RawListMetadata>,
            /// Null if there are none.
            items: Option<Vec<Object<RawPod>>>,
        }
        #[derive(Deserialize)]
        struct RawListMetadata {
            #[serde(rename = "resourceVersion")]
            version: String,
            #[serde(default, rename = "continue")]
            next: Option<String>,
        }
        let RawPage { kind, metadata: Object(metadata), items } =
            object_from_slice(body, MAX_DEPTH).map_err(unreadable)?;
        if !kind.ends_with("List") {
            return Err(malformed("not a list"));
        }
        let version = Some(metadata.version).filter(|version| is_version(version));
        let uid = |Object(RawPod { metadata: Object(metadata) }): Object<RawPod>| {
            metadata.uid.filter(|uid| is_uid(uid)).ok_or_else(|| malformed("a pod without uid"))
        };
        Ok(Self {
            uids: items.into_iter().flatten().map(uid).collect::<Result<_, _>>()?,
            version: version.ok_or_else(|| malformed("a list without version"))?,
            next: metadata.next.filter(|next| !next.is_empty()),
        })
    }
}

/// Returns whether a text is a `resourceVersion`, which is opaque and short.
fn is_version(text: &str) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

pub(super) fn malformed(reason: &str) -> KubernetesError {
    KubernetesError::Malformed { reason: reason.to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to `map_err`")]
fn unreadable(error: agentwrit_json::JsonError) -> KubernetesError {
    KubernetesError::Malformed { reason: error.to_string() }
}

//! Identity of a service account's token.

use serde_json::{Map, Value};

use crate::attestation::error::AttestationError;

/// Longest name of a Kubernetes object, a DNS subdomain, in bytes.
const MAX_NAME: usize = 253;
/// Longest uid in bytes.
const MAX_UID: usize = 64;

/// Pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name, which a later pod may have again.
    pub(crate) name: String,
    /// Uid, which no other pod ever has.
    pub(crate) uid: String,
}

/// Returns the pod of a service account's token; `None` for a token that is not bound to one.
pub(in crate::attestation) fn pod_of(claims: &Map<String, Value>) -> Result<Option<Pod>, AttestationError> {
    let malformed = AttestationError::MalformedClaims;
    let Some(own) = claims.get("kubernetes.io") else { return Ok(None) };
    let own = own.as_object().ok_or(malformed)?;
    let Some(pod) = own.get("pod") else { return Ok(None) };
    let pod = pod.as_object().ok_or(malformed)?;
    let text = |object: &Map<String, Value>, name: &str, is_valid: fn(&str) -> bool| {
        object.get(name).and_then(Value::as_str).filter(|text| is_valid(text)).map(str::to_owned).ok_or(malformed)
    };
    let (namespace, name) = (text(own, "namespace", is_name)?, text(pod, "name", is_name)?);
    Ok(Some(Pod { namespace, name, uid: text(pod, "uid", is_uid)? }))
}

/// Returns whether a subject is a service account: `system:serviceaccount:<namespace>:<name>`.
pub(in crate::attestation) fn is_service_account(subject: &str) -> bool {
    let names = subject.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    names.is_some_and(|(namespace, name)| is_name(namespace) && is_name(name))
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    matches!(text.len(), 1..=MAX_NAME) && text.bytes().all(is_allowed)
}

pub(super) fn is_uid(text: &str) -> bool {
    matches!(text.len(), 1..=MAX_UID) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(own: &Value) -> Result<Option<Pod>, AttestationError> {
        pod_of(json!({ "kubernetes.io": own }).as_object().unwrap())
    }

    #[test]
    fn reads_pod_that_token_is_bound_to() {
        let expected = Pod { namespace: "prod".into(), name: "agent-0".into(), uid: "6a1f-0".into() };
        let bound = json!({ "namespace": "prod", "pod": { "name": "agent-0", "uid": "6a1f-0" } });
        assert_eq!(pod(&bound), Ok(Some(expected)));
        assert_eq!(pod(&json!({ "namespace": "prod" })), Ok(None));
        assert_eq!(pod_of(&Map::new()), Ok(None));
    }

    #[test]
    fn rejects_malformed_pod_claims() {
        for own in [
            json!(null),
            json!("prod"),
            json!({ "namespace": "prod", "pod": null }),
            json!({ "namespace": "prod", "pod": {} }),
            json!({ "namespace": "prod", "pod": { "name": "a" } }),
            json!({ "namespace": "prod", "pod": { "name": "a", "uid": "" } }),
            json!({ "namespace": "prod", "pod": { "name": "a", "uid": 7 } }),
            json!({ "namespace": "prod", "pod": { "name": "a", "uid": "u\n" } }),
            json!({ "namespace": "prod", "pod": { "name": "A", "uid": "u" } }),
            json!({ "pod": { "name": "a", "uid": "u" } }),
        ] {
            assert_eq!(pod(&own), Err(AttestationError::MalformedClaims), "{own}");
        }
    }

    #[test]
    fn tells_service_accounts_from_other_subjects() {
        assert!(is_service_account("system:serviceaccount:prod:agent"));
        for other in [
            "system:serviceaccount:prod",
            "system:serviceaccount::agent",
            "system:serviceaccount:prod:",
            "system:serviceaccount:prod:agent:x",
            "system:ServiceAccount:prod:agent",
            "system:node:prod:agent",
            "prod:agent",
            "",
        ] {
            assert!(!is_service_account(other), "{other}");
        }
    }
}

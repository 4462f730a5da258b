//! `TokenReview` (`authentication.k8s.io/v1`): the API server judges a token.
//!
//! The server must authenticate the token, confirm the audience (one that ignores audiences returns none), and name the same
//! service account as the token does, and its pod.

use std::fmt;

use agentwrit_json::{Object, non_null, object_from_slice};
use serde::Deserialize;
use serde_json::json;

use super::{KubernetesApi, KubernetesError, Pod};
use crate::attestation::error::AttestationError;

const PATH: &str = "apis/authentication.k8s.io/v1/tokenreviews";
/// Longest response in bytes: it repeats the token.
const MAX_BODY: usize = 64 * 1024;
const MAX_DEPTH: usize = 16;

/// Claims of a token that the API server must confirm.
#[derive(Clone, Copy)]
pub(in crate::attestation) struct Reviewed<'t> {
    pub(in crate::attestation) token: &'t str,
    pub(in crate::attestation) audience: &'t str,
    pub(in crate::attestation) subject: &'t str,
    pub(in crate::attestation) pod: Option<&'t Pod>,
}

/// Without the token: it registers an agent.
impl fmt::Debug for Reviewed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviewed").field("subject", &self.subject).field("pod", &self.pod).finish_non_exhaustive()
    }
}

/// Has the API server judge a token.
pub(in crate::attestation) async fn review(api: &KubernetesApi, token: Reviewed<'_>) -> Result<(), AttestationError> {
    let status = match request(api, token).await {
        Ok(status) => status,
        Err(error) => {
            tracing::warn!(component = "attestation", %error, "the API server did not review a token; it is rejected");
            return Err(AttestationError::TokenReviewUnavailable);
        }
    };
    if status.confirms(token) { Ok(()) } else { Err(AttestationError::TokenReviewRejected) }
}

async fn request(api: &KubernetesApi, token: Reviewed<'_>) -> Result<Status, KubernetesError> {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token.token, "audiences": [token.audience] },
    });
    let body = api.post(api.url(PATH)?, review.to_string().into_bytes(), MAX_BODY).await?;
    Status::parse(&body)
}

/// `status` of a review.
#[derive(Debug, Default)]
struct Status {
    authenticated: bool,
    username: Option<String>,
    audiences: Vec<String>,
    /// Values of `authentication.kubernetes.io/pod-uid`.
    pod_uids: Vec<String>,
}

impl Status {
    fn parse(body: &[u8]) -> Result<Self, KubernetesError> {
        #[derive(Deserialize)]
        struct RawReview {
            kind: String,
            status: Object<RawStatus>,
        }
        #[derive(Deserialize)]
        struct RawStatus {
            #[serde(default, deserialize_with = "non_null")]
            authenticated: Option<bool>,
            #[serde(default)]
            user: Option<Object<RawUser>>,
            #[serde(default)]
            audiences: Option<Vec<String>>,
        }
        #[derive(Deserialize)]
        struct RawUser {
            #[serde(default)]
            username: Option<String>,
            #[serde(default)]
            extra: Option<Object<RawExtra>>,
        }
        #[derive(Deserialize)]
        struct RawExtra {
            #[serde(default, rename = "authentication.kubernetes.io/pod-uid")]
            pod_uid: Option<Vec<String>>,
        }
        let malformed = |reason: String| KubernetesError::Malformed { reason };
        let RawReview { kind, status: Object(status) } =
            object_from_slice(body, MAX_DEPTH).map_err(|error| malformed(error.to_string()))?;
        if kind != "TokenReview" {
            return Err(malformed(String::from("not a TokenReview")));
        }
        let user = status.user.map(|Object(user)| user);
        let (username, extra) = user.map_or((None, None), |user| (user.username, user.extra));
        Ok(Self {
            authenticated: status.authenticated.unwrap_or_default(),
            username,
            audiences: status.audiences.unwrap_or_default(),
            pod_uids: extra.and_then(|Object(extra)| extra.pod_uid).unwrap_or_default(),
        })
    }

    fn confirms(&self, token: Reviewed<'_>) -> bool {
        let is_of_pod = token.pod.is_none_or(|pod| self.pod_uids.iter().all(|uid| *uid == pod.uid));
        self.authenticated
            && self.username.as_deref() == Some(token.subject)
            && self.audiences.iter().any(|audience| audience == token.audience)
            && is_of_pod
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SUBJECT: &str = "system:serviceaccount:prod:agent";

    fn review(change: impl FnOnce(&mut Value)) -> Result<bool, KubernetesError> {
        let mut review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": { "token": "t" },
            "status": {
                "authenticated": true, "audiences": ["https://broker.example"],
                "user": { "username": SUBJECT, "extra": { "authentication.kubernetes.io/pod-uid": ["uid-1"] } },
            },
        });
        change(&mut review);
        let pod = Pod { namespace: "prod".into(), name: "agent-0".into(), uid: "uid-1".into() };
        let token = Reviewed { token: "t", audience: "https://broker.example", subject: SUBJECT, pod: Some(&pod) };
        Status::parse(review.to_string().as_bytes()).map(|status| status.confirms(token))
    }

    #[test]
    fn confirms_authenticated_token_of_same_account_pod_and_audience() {
        assert_eq!(review(|_| ()), Ok(true));
        // Clusters before 1.22 do not tell the pod.
        assert_eq!(review(|review| review["status"]["user"]["extra"] = Value::Null), Ok(true));
    }

    #[test]
    fn rejects_review_that_does_not_confirm_each_part() {
        let status = |name: &'static str, value: Value| review(move |review| review["status"][name] = value);
        assert_eq!(status("authenticated", json!(false)), Ok(false));
        assert_eq!(status("audiences", json!(["https://kubernetes.default.svc"])), Ok(false));
        assert_eq!(status("audiences", json!([])), Ok(false));
        assert_eq!(status("audiences", Value::Null), Ok(false));
        assert_eq!(status("user", json!({ "username": "system:serviceaccount:prod:other" })), Ok(false));
        assert_eq!(status("user", Value::Null), Ok(false));
        let of_other_pod =
            json!({ "username": SUBJECT, "extra": { "authentication.kubernetes.io/pod-uid": ["uid-2"] } });
        assert_eq!(status("user", of_other_pod), Ok(false));
        assert_eq!(review(|review| drop(review["status"].as_object_mut().unwrap().remove("authenticated"))), Ok(false));
    }

    #[test]
    fn debug_shows_no_token() {
        let reviewed = Reviewed { token: "secret", audience: "https://broker.example", subject: SUBJECT, pod: None };
        assert!(!format!("{reviewed:?}").contains("secret"));
    }

    #[test]
    fn rejects_response_that_is_no_review() {
        assert!(review(|review| review["kind"] = json!("Status")).is_err());
        assert!(review(|review| review["status"] = Value::Null).is_err());
        assert!(review(|review| review["status"]["authenticated"] = json!("true")).is_err());
        assert!(Status::parse(b"<html>").is_err());
        assert!(
            Status::parse(br#"{"kind":"TokenReview","status":{"authenticated":false,"authenticated":true}}"#).is_err()
        );
    }
}

//! Paths of the API. `{id}` stands for a segment that names an app, a launch token or a trust rule.

use agentwrit_verify::{
    AppId, FeedCursor, KeyId,
    report::{InstanceId, VerifierName},
};

/// Health of the broker.
pub const HEALTH: &str = "/v1/health";
/// Metrics in the Prometheus text format.
pub const METRICS: &str = "/v1/metrics";
/// Description of the API for machines.
pub const OPENAPI: &str = "/v1/openapi.json";
/// Nonces for registrations.
pub const CHALLENGE: &str = "/v1/challenge";
/// Public keys that tokens are verified with.
pub const KEY_SET: &str = "/.well-known/jwks.json";
/// Validity of a token.
pub const TOKEN_VALIDATE: &str = "/v1/token/validate";
/// Login of the operator.
pub const ADMIN_AUTH: &str = "/v1/admin/auth";
/// Login of an app.
pub const APP_AUTH: &str = "/v1/app/auth";
/// Registration of an agent.
pub const REGISTER: &str = "/v1/register";
/// Renewal of a token.
pub const TOKEN_RENEW: &str = "/v1/token/renew";
/// Release of a token.
pub const TOKEN_RELEASE: &str = "/v1/token/release";
/// Delegation to another agent.
pub const DELEGATE: &str = "/v1/delegate";
/// Revocation feed.
pub const REVOCATIONS: &str = "/v1/revocations";
/// Revocation by the operator.
pub const REVOKE: &str = "/v1/revoke";
/// Revocations in force.
pub const ADMIN_REVOCATIONS: &str = "/v1/admin/revocations";
/// Confirmation of a revocation; see [`revocation_confirmation`].
pub const REVOCATION_CONFIRMATION: &str = "/v1/revocations/{cursor}/confirmation";
/// Evidence of a confirmation; see [`confirmation_evidence`].
pub const CONFIRMATION_EVIDENCE: &str = "/v1/revocations/{cursor}/confirmation/evidence";
/// Reports of verifiers.
pub const VERIFIER_REPORTS: &str = "/v1/verifiers/reports";
/// Enrolled verifiers.
pub const ADMIN_VERIFIERS: &str = "/v1/admin/verifiers";
/// One verifier; see [`admin_verifier`].
pub const ADMIN_VERIFIER: &str = "/v1/admin/verifiers/{name}";
/// One instance of a verifier; see [`admin_verifier_instance`].
pub const ADMIN_VERIFIER_INSTANCE: &str = "/v1/admin/verifiers/{name}/instances/{instance}";
/// Signing keys: the list, and `POST` prepares one.
pub const ADMIN_KEYS: &str = "/v1/admin/keys";
/// Rotation of the signing key.
pub const ADMIN_KEY_ROTATION: &str = "/v1/admin/keys/rotate";
/// Activation of a key; see [`admin_key`].
pub const ADMIN_KEY_ACTIVATE: &str = "/v1/admin/keys/{kid}/activate";
/// Retirement of a key; see [`admin_key`].
pub const ADMIN_KEY_RETIRE: &str = "/v1/admin/keys/{kid}/retire";
/// Withdrawal of a key; see [`admin_key`].
pub const ADMIN_KEY_WITHDRAW: &str = "/v1/admin/keys/{kid}/withdraw";
/// Audit trail.
pub const AUDIT_EVENTS: &str = "/v1/audit/events";
/// Audit trail of one app and its agents.
pub const APP_AUDIT_EVENTS: &str = "/v1/app/audit/events";
/// Agents of one app.
pub const APP_AGENTS: &str = "/v1/app/agents";
/// Agents of every app.
pub const ADMIN_AGENTS: &str = "/v1/admin/agents";
/// Issued tokens, without the tokens themselves.
pub const ADMIN_TOKENS: &str = "/v1/admin/tokens";
/// Launch tokens of the operator, and the list of all.
pub const ADMIN_LAUNCH_TOKENS: &str = "/v1/admin/launch-tokens";
/// One launch token; see [`admin_launch_token`].
pub const ADMIN_LAUNCH_TOKEN: &str = "/v1/admin/launch-tokens/{id}";
/// Launch tokens of an app.
pub const APP_LAUNCH_TOKENS: &str = "/v1/app/launch-tokens";
/// Apps.
pub const ADMIN_APPS: &str = "/v1/admin/apps";
/// One app; see [`admin_app`].
pub const ADMIN_APP: &str = "/v1/admin/apps/{id}";
/// Suspension of an app; see [`admin_app_suspend`].
pub const ADMIN_APP_SUSPEND: &str = "/v1/admin/apps/{id}/suspend";
/// End of an app's suspension; see [`admin_app_resume`].
pub const ADMIN_APP_RESUME: &str = "/v1/admin/apps/{id}/resume";
/// Rotation of an app's secret; see [`admin_app_rotate_secret`].
pub const ADMIN_APP_ROTATE_SECRET: &str = "/v1/admin/apps/{id}/rotate-secret";
/// Trust rules.
pub const ADMIN_TRUST_RULES: &str = "/v1/admin/trust-rules";
/// One trust rule; see [`admin_trust_rule`].
pub const ADMIN_TRUST_RULE: &str = "/v1/admin/trust-rules/{id}";

/// Names the instances of a verifier whose reports were lost, in place of an id.
pub const UNKNOWN_INSTANCE: &str = "unknown";

/// Path of one app.
#[must_use]
pub fn admin_app(id: &AppId) -> String {
    ADMIN_APP.replace("{id}", id.as_str())
}

/// Path that suspends an app.
#[must_use]
pub fn admin_app_suspend(id: &AppId) -> String {
    ADMIN_APP_SUSPEND.replace("{id}", id.as_str())
}

/// Path that resumes an app.
#[must_use]
pub fn admin_app_resume(id: &AppId) -> String {
    ADMIN_APP_RESUME.replace("{id}", id.as_str())
}

/// Path that gives an app a new secret.
#[must_use]
pub fn admin_app_rotate_secret(id: &AppId) -> String {
    ADMIN_APP_ROTATE_SECRET.replace("{id}", id.as_str())
}

/// Path of the confirmation of a revocation.
#[must_use]
pub fn revocation_confirmation(cursor: &FeedCursor) -> String {
    REVOCATION_CONFIRMATION.replace("{cursor}", &cursor.to_string())
}

/// Path of the evidence of a confirmation.
#[must_use]
pub fn confirmation_evidence(cursor: &FeedCursor) -> String {
    CONFIRMATION_EVIDENCE.replace("{cursor}", &cursor.to_string())
}

/// Path of one verifier.
#[must_use]
pub fn admin_verifier(name: &VerifierName) -> String {
    ADMIN_VERIFIER.replace("{name}", name.as_str())
}

/// Path of an instance of a verifier; of those whose reports were lost, without an id.
#[must_use]
pub fn admin_verifier_instance(name: &VerifierName, instance: Option<InstanceId>) -> String {
    let instance = instance.map_or_else(|| UNKNOWN_INSTANCE.to_owned(), |id| id.to_string());
    ADMIN_VERIFIER_INSTANCE.replace("{name}", name.as_str()).replace("{instance}", &instance)
}

/// Path of a change to a key: `change` is [`ADMIN_KEY_ACTIVATE`], [`ADMIN_KEY_RETIRE`] or [`ADMIN_KEY_WITHDRAW`].
/// `None` for an id that is more than a segment of a path.
#[must_use]
pub fn admin_key(change: &str, kid: &KeyId) -> Option<String> {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    kid.as_str().bytes().all(is_unreserved).then(|| change.replace("{kid}", kid.as_str()))
}

/// Path of one launch token; `None` for a text that cannot be an id, which must not become more than a segment.
#[must_use]
pub fn admin_launch_token(id: &str) -> Option<String> {
    is_id(id).then(|| ADMIN_LAUNCH_TOKEN.replace("{id}", id))
}

/// Path of one trust rule; `None` for a text that cannot be an id, which must not become more than a segment.
#[must_use]
pub fn admin_trust_rule(id: &str) -> Option<String> {
    is_id(id).then(|| ADMIN_TRUST_RULE.replace("{id}", id))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_app_names_app() {
        let id = AppId::parse("app-web-0123ab").unwrap();
        assert_eq!(admin_app(&id), "/v1/admin/apps/app-web-0123ab");
        assert_eq!(admin_app_suspend(&id), "/v1/admin/apps/app-web-0123ab/suspend");
        assert_eq!(admin_app_resume(&id), "/v1/admin/apps/app-web-0123ab/resume");
        assert_eq!(admin_app_rotate_secret(&id), "/v1/admin/apps/app-web-0123ab/rotate-secret");
    }

    #[test]
    fn paths_of_cursor_verifier_and_key_name_them() {
        let cursor = FeedCursor::parse("9f2c.1842").unwrap();
        assert_eq!(revocation_confirmation(&cursor), "/v1/revocations/9f2c.1842/confirmation");
        let name = VerifierName::parse("payments-api").unwrap();
        assert_eq!(admin_verifier(&name), "/v1/admin/verifiers/payments-api");
        assert_eq!(admin_verifier_instance(&name, None), "/v1/admin/verifiers/payments-api/instances/unknown");
        let id = InstanceId::from_bytes([10; 16]);
        let path = format!("/v1/admin/verifiers/payments-api/instances/{}", "0a".repeat(16));
        assert_eq!(admin_verifier_instance(&name, Some(id)), path);
        let kid = |text| KeyId::parse(text).unwrap();
        let path = admin_key(ADMIN_KEY_WITHDRAW, &kid("ab_-9"));
        assert_eq!(path.as_deref(), Some("/v1/admin/keys/ab_-9/withdraw"));
        assert_eq!(admin_key(ADMIN_KEY_WITHDRAW, &kid("../x")), None);
    }

    #[test]
    fn rejects_id_that_is_more_than_a_segment() {
        assert_eq!(admin_launch_token("lt-0a").as_deref(), Some("/v1/admin/launch-tokens/lt-0a"));
        assert_eq!(admin_trust_rule("rule-ci-0a").as_deref(), Some("/v1/admin/trust-rules/rule-ci-0a"));
        for text in ["", "a/b", "..", "a?b", "é", "%2e"] {
            assert_eq!((admin_launch_token(text), admin_trust_rule(text)), (None, None), "{text:?}");
        }
    }
}

//! Conditions that tell the holders of an issuer's tokens apart.
//!
//! 1. An issuer such as that of a CI service issues tokens to everyone, for any audience. At least one condition of a rule must
//!    be on a claim that other holders can't have with the same value: not a branch, an event, or a flag.
//! 2. A prefix counts if it ends after a name, so that no longer name begins with it: `repo:acme/`, not `repo:acme`, which is
//!    also the beginning of `repo:acme-evil`. For `sub` a name must follow the type: `repo:` is all of GitHub.
//! 3. A subject may begin with the name of such a claim, as GitHub's customised ones do: it is judged as that claim.
//! 4. Service accounts have rules of the kind `kubernetes`, which know their namespaces and pods.
//! 5. In a cluster the namespace separates tenants: an account's name alone exists in every namespace.

use agentwrit_protocol::{AttestationKind, ClaimMatch, ClaimValue};
use agentwrit_verify::TrustDomain;

use super::{TrustRule, TrustRuleError, fault};
use crate::domain::ClaimName;

/// Claims with values that other holders of the issuer's tokens can have too: of `OpenID` Connect and of providers of identities.
const OF_OPENID: &str = "iss aud exp iat nbf jti typ nonce auth_time at_hash c_hash s_hash acr amr azp ver tid locale zoneinfo \
                         updated_at email_verified phone_number_verified idtyp appidacr gty token_use scp scope client_auth";
/// Such claims of GitHub Actions: what any repository can choose. Any may call a public reusable workflow, and an actor's comment
/// starts workflows of repositories that are not the actor's.
const OF_GITHUB_ACTIONS: &str = "ref ref_type ref_protected base_ref head_ref event_name environment runner_environment \
                                 repository_visibility run_attempt run_number sha workflow workflow_sha job_workflow_sha \
                                 job_workflow_ref actor actor_id triggering_actor";
/// Such claims of GitLab CI.
const OF_GITLAB_CI: &str = "ref_path pipeline_source environment_protected environment_action deployment_tier ci_config_sha \
                            project_visibility user_access_level runner_id";
/// Beginning of a service account's subject, before its namespace.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Checks that a rule restricts the holders of tokens, as its kind requires.
pub(super) fn check_restriction(rule: &TrustRule) -> Result<(), TrustRuleError> {
    let (restricts, problem): (fn(&TrustRule, &str, &ClaimMatch) -> bool, _) = match rule.kind {
        AttestationKind::Oidc => (
            restricts_holder,
            "must restrict a claim that tells the issuer's subjects apart, such as `sub`, by `equals`, or by a `prefix` that ends \
             after a name, such as `repo:acme/`: else the rule would trust tokens that others can get",
        ),
        AttestationKind::Kubernetes => (
            restricts_namespace,
            "must restrict `sub` by `equals` or by a `prefix` such as `system:serviceaccount:payments:`, or \
             `/kubernetes.io/namespace`, or `/kubernetes.io/serviceaccount/uid`: else the rule would trust other namespaces",
        ),
        AttestationKind::Spiffe => (
            restricts_spiffe_id,
            "must restrict `sub` for the kind `spiffe`: by `equals` a SPIFFE id of the issuer's trust domain, or by a \
             `prefix` of one that ends in `/`",
        ),
    };
    if rule.kind == AttestationKind::Spiffe && !is_trust_domain(&rule.issuer) {
        return Err(fault("issuer", "must be `spiffe://` and the trust domain for the kind `spiffe`"));
    }
    if rule.kind == AttestationKind::Oidc
        && rule.claims.iter().any(|(name, condition)| is_of_cluster(plain(name), condition))
    {
        return Err(fault("kind", "must be `kubernetes` for the service accounts of a cluster"));
    }
    let is_restricted = rule.claims.iter().any(|(name, condition)| restricts(rule, plain(name), condition));
    if is_restricted { Ok(()) } else { Err(fault("claims", problem)) }
}

/// Returns a claim's name; that of a pointer to a member of the payload is the member.
fn plain(name: &ClaimName) -> &str {
    name.as_str().strip_prefix('/').filter(|rest| !rest.contains('/')).unwrap_or(name.as_str())
}

/// Returns whether a condition is on a service account or its pod.
fn is_of_cluster(name: &str, condition: &ClaimMatch) -> bool {
    let text = match condition {
        ClaimMatch::Equals(ClaimValue::Text(text)) | ClaimMatch::Prefix(text) => text.as_str(),
        ClaimMatch::Equals(ClaimValue::Number(_) | ClaimValue::Flag(_)) => "",
    };
    name.trim_start_matches('/').starts_with("kubernetes.io") || (name == "sub" && text.starts_with(SERVICE_ACCOUNT))
}

/// Returns whether others can get tokens with the same value of a claim.
fn is_shared(name: &str) -> bool {
    [OF_OPENID, OF_GITHUB_ACTIONS, OF_GITLAB_CI].iter().any(|claims| claims.split(' ').any(|claim| claim == name))
}

fn restricts_holder(_: &TrustRule, name: &str, condition: &ClaimMatch) -> bool {
    if is_shared(name) {
        return false;
    }
    let subject = match condition {
        ClaimMatch::Equals(ClaimValue::Text(text)) | ClaimMatch::Prefix(text) if name == "sub" => text.as_str(),
        ClaimMatch::Equals(_) | ClaimMatch::Prefix(_) => "",
    };
    if subject.split_once(':').is_some_and(|(claim, _)| is_shared(claim)) {
        return false;
    }
    match condition {
        ClaimMatch::Equals(value) => is_one_of_many(value),
        ClaimMatch::Prefix(prefix) => match name {
            // `ops@` is an address of any domain.
            "email" => false,
            "sub" => ends_after_name(prefix) && prefix.trim_end_matches(is_separator).contains(is_separator),
            _ => ends_after_name(prefix),
        },
    }
}

fn restricts_namespace(_: &TrustRule, name: &str, condition: &ClaimMatch) -> bool {
    match (name, condition) {
        ("sub", ClaimMatch::Prefix(prefix)) => {
            let account = prefix.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
            account.is_some_and(|(namespace, _)| !namespace.is_empty())
        }
        // The hyphen separates the words of a namespace, which has no other separator.
        ("/kubernetes.io/namespace", ClaimMatch::Prefix(prefix)) => prefix.len() > 1 && prefix.ends_with('-'),
        (
            "sub" | "/kubernetes.io/namespace" | "/kubernetes.io/serviceaccount/uid" | "/kubernetes.io/pod/uid",
            ClaimMatch::Equals(value),
        ) => is_one_of_many(value),
        _ => false,
    }
}

fn restricts_spiffe_id(rule: &TrustRule, name: &str, condition: &ClaimMatch) -> bool {
    let within = |id: &str| id.strip_prefix(&rule.issuer).is_some_and(|path| path.starts_with('/'));
    match (name, condition) {
        ("sub", ClaimMatch::Equals(ClaimValue::Text(id))) => within(id),
        ("sub", ClaimMatch::Prefix(prefix)) => within(prefix) && prefix.ends_with('/'),
        _ => false,
    }
}

fn is_trust_domain(issuer: &str) -> bool {
    issuer.strip_prefix("spiffe://").is_some_and(|domain| TrustDomain::parse(domain).is_ok())
}

/// Returns whether a value can be that of one holder: a flag has two values.
fn is_one_of_many(value: &ClaimValue) -> bool {
    match value {
        ClaimValue::Text(text) => !text.is_empty(),
        ClaimValue::Number(_) => true,
        ClaimValue::Flag(_) => false,
    }
}

fn ends_after_name(prefix: &str) -> bool {
    prefix.ends_with(is_separator) && !prefix.trim_end_matches(is_separator).is_empty()
}

/// Returns whether a character separates names. `-`, `_` and `.` are characters of names.
fn is_separator(character: char) -> bool {
    matches!(character, '/' | ':' | '|' | '@' | '#' | ',' | ';')
}

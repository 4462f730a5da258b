//! Trust rules: `/v1/admin/trust-rules` and what lies below it.

use std::collections::BTreeMap;

use agentwrit_verify::{AppId, ScopeSet, Subject, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    AttestationKind, ClaimMatch, JsonRequest, JwkSetText, ListEntry, RequestError,
    attestation::KindName,
    claim_match::Claims,
    jwk_set::JwkSetMember,
    lenient::is_false,
    limits::{MAX_TEMPLATE, MAX_TOKEN_TTL},
    members::{Member, Scopes, Seconds, Text, required},
    request::read,
};

/// Body of `POST /v1/admin/trust-rules`: assertions that attest agents of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct TrustRuleRequest {
    /// Name of the rule, of which the broker checks the form.
    pub name: String,
    /// App whose agents the rule attests.
    pub app_id: AppId,
    /// Kind of the assertions.
    pub kind: AttestationKind,
    /// Issuer of the assertions: their `iss`, or the SPIFFE trust domain.
    pub issuer: String,
    /// URL of the issuer's key set; this or `jwks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// The issuer's key set itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSetText>,
    /// Audience that assertions must name.
    pub audience: String,
    /// Conditions on the claims, all of which must hold.
    pub claims: BTreeMap<String, ClaimMatch>,
    /// Scopes that a registration may ask for.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agents' tokens, in seconds.
    pub max_ttl: u64,
    /// Task of the agents, with claims as `{claim}`; without it the registration names the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_template: Option<String>,
    /// Orchestration of the agents, with claims as `{claim}`; without it the registration names the orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orch_template: Option<String>,
    /// True when the Kubernetes API server must confirm each assertion.
    #[serde(skip_serializing_if = "is_false")]
    pub token_review: bool,
}

impl JsonRequest for TrustRuleRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            name: Member<Text<64>>,
            app_id: Member<Text<128>>,
            kind: Member<KindName>,
            issuer: Member<Text<512>>,
            jwks_url: Member<Text<1024>>,
            jwks: Member<JwkSetMember>,
            audience: Member<Text<512>>,
            claims: Member<Claims>,
            allowed_scope: Member<Scopes>,
            max_ttl: Member<Seconds>,
            task_template: Member<Text<MAX_TEMPLATE>>,
            orch_template: Member<Text<MAX_TEMPLATE>>,
            token_review: Member<bool>,
        }
        let members: Members = read(body)?;
        let name = members.name.stored_text("name")?;
        let app_id = AppId::parse(members.app_id.text("app_id")?);
        let app_id = app_id.map_err(|error| RequestError::invalid("app_id", error.to_string()))?;
        let kind = members.kind.kind("kind")?;
        let issuer = members.issuer.stored_text("issuer")?;
        let (jwks_url, jwks) = keys(&members.jwks_url, members.jwks)?;
        Ok(Self {
            name,
            app_id,
            kind,
            issuer,
            jwks_url,
            jwks,
            audience: members.audience.stored_text("audience")?,
            claims: members.claims.claims("claims")?,
            allowed_scope: members.allowed_scope.scopes("allowed_scope")?,
            max_ttl: required("max_ttl", members.max_ttl.lifetime("max_ttl", 1, MAX_TOKEN_TTL)?)?,
            task_template: members.task_template.optional_stored_text("task_template")?,
            orch_template: members.orch_template.optional_stored_text("orch_template")?,
            token_review: members.token_review.flag("token_review")?.unwrap_or_default(),
        })
    }
}

/// Exactly one of URL and key set.
fn keys(
    jwks_url: &Member<Text<1024>>,
    jwks: Member<JwkSetMember>,
) -> Result<(Option<String>, Option<JwkSetText>), RequestError> {
    let jwks_url = jwks_url.optional_stored_text("jwks_url")?;
    let jwks = jwks.into_typed("jwks", "an object")?.map(|JwkSetMember(set)| set).transpose();
    let jwks = jwks.map_err(|problem| RequestError::invalid("jwks", problem))?;
    if jwks_url.is_some() == jwks.is_some() {
        return Err(RequestError::invalid("jwks_url or jwks", "exactly one of them is required"));
    }
    Ok((jwks_url, jwks))
}

/// Entry of `GET /v1/admin/trust-rules`, and response of `POST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct TrustRuleRecord {
    /// Id that deletes the rule: `rule-<name>-<6 hex>`.
    pub trust_rule_id: String,
    /// Name that the operator chose.
    pub name: String,
    /// App whose agents the rule attests.
    pub app_id: AppId,
    /// Kind of the assertions.
    pub kind: AttestationKind,
    /// Issuer of the assertions.
    pub issuer: String,
    /// URL of the issuer's key set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// The issuer's key set itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwkSetText>,
    /// Audience that assertions must name.
    pub audience: String,
    /// Conditions on the claims, all of which must hold.
    pub claims: BTreeMap<String, ClaimMatch>,
    /// Scopes that a registration may ask for.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agents' tokens, in seconds.
    pub max_ttl: u64,
    /// Task of the agents, with claims as `{claim}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_template: Option<String>,
    /// Orchestration of the agents, with claims as `{claim}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orch_template: Option<String>,
    /// True when the Kubernetes API server must confirm each assertion.
    #[serde(default, skip_serializing_if = "is_false")]
    pub token_review: bool,
    /// Time of its creation.
    pub created_at: UnixTime,
    /// Subject that created it.
    pub created_by: Subject,
}

impl ListEntry for TrustRuleRecord {
    const MEMBER: &'static str = "trust_rules";
}

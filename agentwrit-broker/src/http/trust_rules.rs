//! `/v1/admin/trust-rules`: rules by which assertions of other issuers register agents.

use agentwrit_protocol::{ListResponse, Page, TrustRuleRecord, TrustRuleRequest};
use agentwrit_tower::Verified;
use axum::{Json, extract::State};
use http::StatusCode;

use super::{
    Shared,
    body::{DrainedBody, JsonBody},
    client::Client,
    errors::HttpError,
    query::{Id, NoParameters, Parameters, list_response},
};
use crate::{
    domain::{IdTemplate, RuleKeys, TrustRule, TrustRuleId},
    service::Error,
};

pub(super) async fn add(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<TrustRuleRequest>,
) -> Result<(StatusCode, Json<TrustRuleRecord>), HttpError> {
    let (by, bearer) = (verified.subject().clone(), Some(verified.token().clone().into()));
    let rule = services.trust_rules.add(by, bearer, request, client).await?;
    Ok((StatusCode::CREATED, Json(record(rule))))
}

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<TrustRuleRecord>>, HttpError> {
    parameters.only(&Page::PARAMETERS)?;
    let page = parameters.page()?;
    let (rules, total) = services.trust_rules.list(page).await?;
    let entries = rules.into_iter().map(|(cursor, rule)| (cursor, record(rule)));
    Ok(Json(list_response(entries, total, &page)))
}

pub(super) async fn remove(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<StatusCode, HttpError> {
    let id = TrustRuleId::parse(&id).map_err(|_| Error::NoSuchTrustRule)?;
    let (by, bearer) = (verified.subject().clone(), Some(verified.token().clone().into()));
    services.trust_rules.remove(by, bearer, id, client).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn record(rule: TrustRule) -> TrustRuleRecord {
    let (jwks_url, jwks) = match rule.keys {
        RuleKeys::Url(url) => (Some(url), None),
        RuleKeys::Set(set) => (None, Some(set)),
    };
    let template = |template: Option<IdTemplate>| template.map(|template| template.as_str().to_owned());
    TrustRuleRecord {
        trust_rule_id: rule.id.to_string(),
        name: rule.name.as_str().to_owned(),
        app_id: rule.app_id,
        kind: rule.kind,
        issuer: rule.issuer,
        jwks_url,
        jwks,
        audience: rule.audience,
        claims: rule.claims.into_iter().map(|(name, condition)| (name.as_str().to_owned(), condition)).collect(),
        allowed_scope: rule.allowed_scope,
        max_ttl: rule.max_ttl,
        task_template: template(rule.task_template),
        orch_template: template(rule.orch_template),
        token_review: rule.token_review,
        created_at: rule.created_at,
        created_by: rule.created_by,
    }
}

//! `POST /v1/revoke`, `GET /v1/admin/revocations` and the feed, `GET /v1/revocations`.

use std::time::Duration;

use agentwrit_protocol::{RevocationRequest, RevocationTarget};
use agentwrit_tower::Verified;
use agentwrit_verify::Level;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    client::Client,
    keys::names,
    large::respond,
    lists,
    members::{JsonBody, Member, Text},
    parameters::{NoParameters, Parameters},
    problem::Failure,
};
use crate::{service::Error, store::RevocationRow};

pub(super) async fn revoke(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    body: JsonBody<RevokeRequest>,
) -> Result<Json<Value>, Failure> {
    let level = match body.level.text("level")? {
        "token" => Level::Token,
        "agent" => Level::Agent,
        "task" => Level::Task,
        "chain" => Level::Chain,
        _ => return Err(Error::invalid("level", "must be token, agent, task or chain").into()),
    };
    let target = body.target.text("target")?.to_owned();
    let reason = body.reason.optional_text("reason")?.map(str::to_owned);
    let request =
        RevocationRequest { level, target: RevocationTarget::parse(level, &target), text: target.clone(), reason };
    let done =
        services.revocations.revoke(verified.subject().clone(), Some(verified.token_id()), request, client).await?;
    Ok(Json(json!({ "revoked": done.revoked, "level": level.as_str(), "target": target, "count": done.count })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RevokeRequest {
    level: Member<Text<16>>,
    target: Member<Text<2048>>,
    reason: Member<Text<512>>,
}

pub(super) async fn list(State(services): State<Shared>, parameters: Parameters) -> Result<Json<Value>, Failure> {
    parameters.only(&["limit", "offset", "cursor"])?;
    let page = parameters.page()?;
    let now = services.ledger.now();
    let (rows, total) =
        services.ledger.read(move |reader| Ok::<_, Error>(reader.listed_revocations(now, &page)?)).await?;
    let entries = rows.iter().map(|row| (row.cursor, view(row))).collect();
    Ok(Json(lists::answer("revocations", entries, total, &page)))
}

fn view(row: &RevocationRow) -> Value {
    let revocation = &row.revocation;
    let mut view = json!({
        "level": revocation.level.as_str(),
        "target": revocation.target,
        "revoked_at": revocation.revoked_at,
        "expires_at": revocation.expires_at,
        "revoked_by": revocation.revoked_by,
    });
    if let (Some(reason), Some(members)) = (&revocation.reason, view.as_object_mut()) {
        members.insert(String::from("reason"), json!(reason));
    }
    view
}

/// A number, however large: what can't be served gets a snapshot.
fn cursor(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX))
}

/// The longest that an answer is held, in seconds.
const LONGEST_WAIT: u64 = 25;

pub(super) async fn feed(
    State(services): State<Shared>,
    Client(client): Client,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    parameters.only(&["since", "wait"])?;
    let since = parameters.parsed("since", "a cursor: decimal digits", cursor)?;
    let wait = parameters.number("wait", 0, LONGEST_WAIT)?.unwrap_or(0);
    let answer = services.feed.since(since, Duration::from_secs(wait), client).await.map_err(Error::from)?;
    let revalidate = (CACHE_CONTROL, "no-cache");
    let Some(tag) = &answer.tag else {
        let fresh = (CACHE_CONTROL, "no-store");
        return Ok(([fresh, (CONTENT_TYPE, "application/jwt")], respond(&answer.document)).into_response());
    };
    if names(&headers, tag) {
        return Ok((StatusCode::NOT_MODIFIED, [revalidate], [(ETAG, tag.clone())]).into_response());
    }
    let headers = [revalidate, (CONTENT_TYPE, "application/jwt")];
    Ok((headers, [(ETAG, tag.clone())], respond(&answer.document)).into_response())
}

//! `GET /v1/admin/agents` and `GET /v1/admin/tokens`: what is registered and issued, never a token itself.

use agentwrit_protocol::{
    AgentQuery, AgentRecord, ListResponse, ListedState, RequestError, TokenQuery, TokenRecord, TokenState,
};
use agentwrit_verify::{AgentId, AppId, PathSegment, Scope, Subject, TokenId, UnixTime};
use axum::{Json, extract::State};

use super::{
    Shared,
    errors::HttpError,
    query::{Parameters, list_response},
    registration::agent_record,
};
use crate::{
    domain::ListedToken,
    service::{Error, Services},
    store::{AgentFilter, TokenFilter, TokenPage, Work},
};

/// Length of the longest cursor of the list of tokens.
const LONGEST_CURSOR: usize = 64;

pub(super) async fn agents(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<AgentRecord>>, HttpError> {
    parameters.only(&AgentQuery::PARAMETERS)?;
    let (page, now) = (parameters.page()?, services.ledger.now());
    let filter = AgentFilter {
        agent_id: parameters.identifier("agent_id", AgentId::parse)?,
        app_id: parameters.identifier("app_id", AppId::parse)?,
        work: work(&services, &parameters, parameters.identifier("task_id", PathSegment::parse)?.as_ref())?,
        scope: scope(&parameters)?,
        live_at: live_at(&parameters, now)?,
    };
    // As long as the filter makes it.
    let turn = services.pools.long_read().await;
    let (agents, total) = services
        .ledger
        .read(move |reader| {
            let _turn = turn;
            Ok::<_, Error>(reader.agents(&filter, &page)?)
        })
        .await?;
    let entries = agents.into_iter().map(|(cursor, agent)| Ok((cursor, agent_record(agent, now)?)));
    Ok(Json(list_response(entries.collect::<Result<Vec<_>, HttpError>>()?, total, &page)))
}

pub(super) async fn tokens(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<TokenRecord>>, HttpError> {
    parameters.only(&TokenQuery::PARAMETERS)?;
    let (page, now) = (token_page(&parameters)?, services.ledger.now());
    let filter = TokenFilter {
        subject: parameters.identifier("sub", Subject::parse)?,
        delegator: parameters.identifier("delegator", AgentId::parse)?,
        app_id: parameters.identifier("app_id", AppId::parse)?,
        task_id: parameters.identifier("task_id", PathSegment::parse)?,
        work: work(&services, &parameters, None)?,
        scope: scope(&parameters)?,
        live_at: live_at(&parameters, now)?,
    };
    let turn = services.pools.long_read().await;
    let (tokens, total) = services
        .ledger
        .read(move |reader| {
            let _turn = turn;
            Ok::<_, Error>(reader.tokens(&filter, &page)?)
        })
        .await?;
    let full = tokens.len() as u64 >= page.limit;
    let next_cursor = tokens.last().filter(|_| full).map(|last| cursor(&last.token.issued_at, &last.token.jti));
    let entries = tokens.into_iter().map(|token| token_record(token, now)).collect::<Result<Vec<_>, HttpError>>()?;
    Ok(Json(ListResponse::new(entries, total, page.limit, page.offset, next_cursor)))
}

fn work(services: &Services, parameters: &Parameters, task: Option<&PathSegment>) -> Result<Work, RequestError> {
    let orch = parameters.identifier("orch_id", PathSegment::parse)?;
    Ok(Work::of(&services.issuer.policy().trust_domain, orch.as_ref(), task))
}

fn scope(parameters: &Parameters) -> Result<Option<Scope>, RequestError> {
    let text = parameters.text("scope", Scope::MAX_LENGTH)?;
    text.map(|text| Scope::parse(text).map_err(|error| RequestError::invalid("scope", error.to_string()))).transpose()
}

fn live_at(parameters: &Parameters, now: UnixTime) -> Result<Option<UnixTime>, RequestError> {
    let state = parameters.parsed("state", "live or all", ListedState::parse)?.unwrap_or_default();
    Ok((state == ListedState::Live).then_some(now))
}

fn token_page(parameters: &Parameters) -> Result<TokenPage, RequestError> {
    let page = parameters.page_without_cursor()?;
    let after = match parameters.text("cursor", LONGEST_CURSOR)? {
        None => None,
        Some(text) => Some(
            parse_cursor(text)
                .ok_or_else(|| RequestError::invalid("cursor", "must be the `next_cursor` of a page of this list"))?,
        ),
    };
    Ok(TokenPage { limit: page.limit, offset: page.offset, after })
}

/// Returns the cursor of a token: whole seconds, as every token is issued at one, and its id.
fn cursor(issued_at: &UnixTime, jti: &TokenId) -> String {
    format!("{}-{jti}", issued_at.seconds())
}

fn parse_cursor(text: &str) -> Option<(UnixTime, TokenId)> {
    let (seconds, jti) = text.split_once('-')?;
    let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = seconds.parse().ok().filter(|_| digits)?;
    Some((UnixTime::from_seconds(seconds), TokenId::parse(jti).ok()?))
}

fn token_record(listed: ListedToken, now: UnixTime) -> Result<TokenRecord, HttpError> {
    let ListedToken { token, scope, ended_at } = listed;
    let state = match ended_at {
        Some(_) => TokenState::Ended,
        None if token.expires_at <= now => TokenState::Expired,
        None => TokenState::Live,
    };
    // A delegated token keeps the orchestration of the first delegator.
    let orch_id = token.root.as_ref().or(token.subject.as_agent()).map(AgentId::orch_id);
    let orch_id = orch_id
        .map(PathSegment::parse)
        .transpose()
        .map_err(|error| HttpError::Defect { cause: format!("the orchestration of token {}: {error}", token.jti) })?;
    Ok(TokenRecord {
        jti: token.jti,
        sub: token.subject,
        scope,
        sid: token.sid,
        app_id: token.app_id,
        task_id: token.task_id,
        orch_id,
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        state: Some(state),
        ended_at,
        delegated_by: token.delegators.last().cloned(),
        delegator_sid: token.delegator_sids.last().copied(),
        sender_constrained: token.sender_constrained,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cursors_that_it_wrote_and_no_others() {
        let (at, jti) = (UnixTime::from_seconds(1_800_000_000), TokenId::from_bytes([10; 16]));
        let text = cursor(&at, &jti);
        assert_eq!(parse_cursor(&text), Some((at, jti)));
        assert!(text.len() <= LONGEST_CURSOR);
        for text in ["", "-", "1800000000", "x-0a", "+1-0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "1-0a"] {
            assert_eq!(parse_cursor(text), None, "{text}");
        }
    }
}

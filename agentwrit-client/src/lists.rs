//! Lists of the broker: agents, tokens, launch tokens, revocations, an app's agents, and the audit trail.
//!
//! Lists have pages. [`ListResponse::next_cursor`] is the start of the next one; it stays right while the list grows.

use agentwrit_protocol::{
    AgentQuery, AgentRecord, AuditQuery, Event, LaunchTokenRecord, ListResponse, Page, RevocationRecord, TokenQuery,
    TokenRecord, paths,
};
use form_urlencoded::Serializer;

use crate::{admin::Admin, app::App, error::ClientError, request::ApiRequest};

impl Admin {
    /// Lists launch tokens: usable ones, and used ones that the broker has not removed yet.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn launch_tokens(&self, page: &Page) -> Result<ListResponse<LaunchTokenRecord>, ClientError> {
        self.session().fetch(&get(paths::ADMIN_LAUNCH_TOKENS, &page.parameters())).await
    }

    /// Deletes a launch token by its id, which ends registrations with it. Agents that it registered keep their tokens.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not an id; [`ClientError::Rejected`] with `not_found` when there is
    /// none of that id, also when an earlier attempt, whose response was lost, deleted it; any error of the network.
    pub async fn delete_launch_token(&self, id: &str) -> Result<(), ClientError> {
        let path = paths::admin_launch_token(id)
            .ok_or_else(|| ClientError::invalid("launch token id", "letters, digits and `-` only"))?;
        self.session().send(&ApiRequest::delete(path)).await
    }

    /// Lists agents, in the order of registration.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn agents(&self, query: &AgentQuery) -> Result<ListResponse<AgentRecord>, ClientError> {
        self.session().fetch(&get(paths::ADMIN_AGENTS, &query.parameters())).await
    }

    /// Lists issued tokens, in the order of issue: what the broker keeps of them, not the tokens themselves.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn tokens(&self, query: &TokenQuery) -> Result<ListResponse<TokenRecord>, ClientError> {
        self.session().fetch(&get(paths::ADMIN_TOKENS, &query.parameters())).await
    }

    /// Lists the revocations in force.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn revocations(&self, page: &Page) -> Result<ListResponse<RevocationRecord>, ClientError> {
        self.session().fetch(&get(paths::ADMIN_REVOCATIONS, &page.parameters())).await
    }

    /// Lists events of the audit trail. They are linked by hash, which [`agentwrit_verify::audit`] verifies.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn audit_events(&self, query: &AuditQuery) -> Result<ListResponse<Event>, ClientError> {
        self.session().fetch(&get(paths::AUDIT_EVENTS, &query.parameters())).await
    }
}

impl App {
    /// Lists the app's agents.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn agents(&self, page: &Page) -> Result<ListResponse<AgentRecord>, ClientError> {
        self.session().fetch(&get(paths::APP_AGENTS, &page.parameters())).await
    }

    /// Lists events of the audit trail that concern the app and its agents.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn audit_events(&self, query: &AuditQuery) -> Result<ListResponse<Event>, ClientError> {
        self.session().fetch(&get(paths::APP_AUDIT_EVENTS, &query.parameters())).await
    }
}

pub(crate) fn get(path: &str, parameters: &[(&str, String)]) -> ApiRequest {
    if parameters.is_empty() {
        return ApiRequest::get(path);
    }
    let (url, query_start) = (format!("{path}?"), path.len().saturating_add(1));
    let mut query = Serializer::for_suffix(url, query_start);
    query.extend_pairs(parameters);
    ApiRequest::get(query.finish())
}

//! Trust rules, which accept assertions of other issuers.

use agentwrit_protocol::{ListResponse, Page, TrustRuleRecord, TrustRuleRequest, paths};

use crate::{
    admin::{Admin, MAX_LIST_BYTES},
    error::ClientError,
    lists,
    request::ApiRequest,
};

impl Admin {
    /// Creates a trust rule: from now on assertions that meet it register agents of its app.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` when there is one of that name, also when an earlier attempt, whose
    /// response was lost, created it, and with `not_found` when there is no such app; any error of the network.
    pub async fn create_trust_rule(&self, rule: &TrustRuleRequest) -> Result<TrustRuleRecord, ClientError> {
        self.session().fetch(&ApiRequest::post(paths::ADMIN_TRUST_RULES, rule)?).await
    }

    /// Lists the trust rules.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn trust_rules(&self, page: &Page) -> Result<ListResponse<TrustRuleRecord>, ClientError> {
        let request = lists::get(paths::ADMIN_TRUST_RULES, &page.parameters()).max_response_bytes(MAX_LIST_BYTES);
        self.session().fetch(&request).await
    }

    /// Deletes a trust rule by its id, which ends registrations with it at once. Agents that it attested keep their
    /// tokens until they expire.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not an id; [`ClientError::Rejected`] with `not_found` when there is none
    /// of that id, also when an earlier attempt, whose response was lost, deleted it; any error of the network.
    pub async fn delete_trust_rule(&self, id: &str) -> Result<(), ClientError> {
        let path = paths::admin_trust_rule(id)
            .ok_or_else(|| ClientError::invalid("trust rule id", "letters, digits and `-` only"))?;
        self.session().send(&ApiRequest::delete(path)).await
    }
}

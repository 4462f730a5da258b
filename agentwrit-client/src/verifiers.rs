//! Verifiers that report to the broker: enrolment and the list.

use agentwrit_protocol::{ListResponse, Page, VerifierEnrolmentRequest, VerifierRecord, paths};
use agentwrit_verify::report::VerifierName;

use crate::{
    admin::{Admin, MAX_LIST_BYTES},
    error::ClientError,
    lists,
    request::ApiRequest,
};

impl Admin {
    /// Enrols a verifier: from now on a revocation is confirmed only when its instances have applied it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `conflict` when there is one of that name, also when an earlier attempt, whose
    /// response was lost, enrolled it; any error of the network.
    pub async fn enrol_verifier(&self, verifier: &VerifierEnrolmentRequest) -> Result<VerifierRecord, ClientError> {
        self.session().fetch(&ApiRequest::post(paths::ADMIN_VERIFIERS, verifier)?).await
    }

    /// Lists the enrolled verifiers with their instances.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn verifiers(&self, page: &Page) -> Result<ListResponse<VerifierRecord>, ClientError> {
        let request = lists::get(paths::ADMIN_VERIFIERS, &page.parameters()).max_response_bytes(MAX_LIST_BYTES);
        self.session().fetch(&request).await
    }

    /// Removes a verifier. The broker rejects further reports of its instances, which accept no token once their lease
    /// has ended; revocations do not wait for them any more.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is none of that name, also when an earlier attempt, whose
    /// response was lost, removed it; any error of the network.
    pub async fn remove_verifier(&self, name: &VerifierName) -> Result<(), ClientError> {
        self.session().send(&ApiRequest::delete(paths::admin_verifier(name))).await
    }
}

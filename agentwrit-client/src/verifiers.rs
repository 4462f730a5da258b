//! Verifiers that report to the broker: enrolment and the list.

use agentwrit_protocol::{ListResponse, Page, VerifierEnrolmentRequest, VerifierRecord, VerifierUpdateRequest, paths};
use agentwrit_verify::report::{InstanceId, VerifierName};

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

    /// Changes the key or the largest bound of a verifier. Revocations wait for instances under the bound that they reported,
    /// also when the broker rejects their reports from now on.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is none of that name; any error of the network.
    pub async fn update_verifier(
        &self,
        name: &VerifierName,
        change: &VerifierUpdateRequest,
    ) -> Result<VerifierRecord, ClientError> {
        self.session().fetch(&ApiRequest::put(paths::admin_verifier(name), change)?).await
    }

    /// Confirms that the process of an instance without a bound has ended, so that revocations do not wait for it any more;
    /// with `None`, that no instance without a bound runs whose report may be lost.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is no such instance, also when an earlier attempt, whose response
    /// was lost, did this, and with `conflict` for one with a bound, which the broker forgets by itself; any error of the
    /// network.
    pub async fn forget_verifier_instance(
        &self,
        name: &VerifierName,
        instance: Option<InstanceId>,
    ) -> Result<(), ClientError> {
        self.session().send(&ApiRequest::delete(paths::admin_verifier_instance(name, instance))).await
    }

    /// Removes a verifier. The broker rejects further reports of its instances, which accept no token from then on.
    /// Revocations wait for those that may not have heard of it until their bound has passed.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when there is none of that name, also when an earlier attempt, whose
    /// response was lost, removed it; any error of the network.
    pub async fn remove_verifier(&self, name: &VerifierName) -> Result<(), ClientError> {
        self.session().send(&ApiRequest::delete(paths::admin_verifier(name))).await
    }
}

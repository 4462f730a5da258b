//! Revocation of credentials.

use agentwrit_protocol::{RevocationRequest, RevocationResponse, RevocationTarget, paths};

use crate::{admin::Admin, error::ClientError, request::ApiRequest};

impl Admin {
    /// Revokes a target. Idempotent. The audit trail records `reason`, up to 512 bytes.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `unavailable` when the broker could not make it durable: nothing was revoked. Any
    /// error of the network, after which it may or may not have been: repeat it.
    pub async fn revoke(
        &self,
        target: &RevocationTarget,
        reason: Option<&str>,
    ) -> Result<RevocationResponse, ClientError> {
        let body = RevocationRequest::new(target.clone(), reason.map(str::to_owned));
        self.session().fetch(&ApiRequest::post(paths::REVOKE, &body)?.idempotent()).await
    }
}

//! Revocation of credentials, and its confirmation by the verifiers.

use std::time::Duration;

use agentwrit_protocol::{
    ConfirmationResponse, RevocationRequest, RevocationResponse, RevocationTarget, limits::MAX_FEED_WAIT, paths,
};
use agentwrit_verify::{FeedCursor, confirmation::ConfirmationEvidence};

use crate::{admin::Admin, error::ClientError, lists, request::ApiRequest};

/// Largest evidence of a confirmation, in bytes: of 10,000 instances.
const MAX_EVIDENCE: usize = 32 * 1024 * 1024;

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

    /// Revokes a target and waits, up to `wait` (whole seconds, at most 25), until every enrolled verifier has confirmed
    /// it: [`RevocationResponse::confirmation`]. [`Admin::confirmation`] waits longer. An older broker revokes without
    /// waiting, and its response has neither a confirmation nor a cursor.
    ///
    /// # Errors
    ///
    /// Those of [`Admin::revoke`].
    pub async fn revoke_and_wait(
        &self,
        target: &RevocationTarget,
        reason: Option<&str>,
        wait: Duration,
    ) -> Result<RevocationResponse, ClientError> {
        let (wait, seconds) = held(wait);
        let mut body = RevocationRequest::new(target.clone(), reason.map(str::to_owned));
        body.wait = Some(seconds);
        self.session().fetch(&ApiRequest::post(paths::REVOKE, &body)?.idempotent().wait(wait)).await
    }

    /// Returns what a revocation of the target would end: [`RevocationResponse::count`], `agents` and `tasks`. Nothing is
    /// revoked.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when the broker's description of its API has no dry run: an older broker would ignore
    /// the member and revoke. Any error of the network.
    pub async fn preview_revocation(&self, target: &RevocationTarget) -> Result<RevocationResponse, ClientError> {
        if !self.client().knows_member("dry_run").await? {
            return Err(ClientError::invalid("dry run", "this broker has none and would revoke, so nothing was sent"));
        }
        let mut body = RevocationRequest::new(target.clone(), None);
        body.dry_run = true;
        let request = ApiRequest::post(paths::REVOKE, &body)?.idempotent();
        let response: RevocationResponse = self.session().fetch(&request).await?;
        if response.dry_run != Some(true) {
            // Another broker behind the same address.
            return Err(
                request.malformed("without `dry_run`: the broker is older than others of its address, and has revoked")
            );
        }
        Ok(response)
    }

    /// Returns how far the change at `cursor`, a revocation or a change of the signing keys, is confirmed; waits up to
    /// `wait` (whole seconds, at most 25) until it is.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` for a cursor that the broker's log does not have; any error of the
    /// network.
    pub async fn confirmation(&self, cursor: &FeedCursor, wait: Duration) -> Result<ConfirmationResponse, ClientError> {
        let (wait, seconds) = held(wait);
        let path = paths::revocation_confirmation(cursor);
        self.session().fetch(&lists::get(&path, &[("wait", seconds.to_string())]).wait(wait)).await
    }

    /// Requests what the confirmation of a change was decided by: the signed reports of the verifiers, to
    /// [check](ConfirmationEvidence::check) without the broker. Its [digest](ConfirmationEvidence::digest) is in the event
    /// `revocation_confirmed`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `not_found` when the change is not known to be confirmed, or its evidence is not kept any
    /// more; any error of the network.
    pub async fn confirmation_evidence(&self, cursor: &FeedCursor) -> Result<ConfirmationEvidence, ClientError> {
        let request = ApiRequest::get(paths::confirmation_evidence(cursor)).max_response_bytes(MAX_EVIDENCE);
        self.session().fetch(&request).await
    }
}

/// Returns the time that a broker holds a request at most, and its seconds.
pub(crate) fn held(wait: Duration) -> (Duration, u64) {
    let seconds = wait.as_secs().min(MAX_FEED_WAIT);
    (Duration::from_secs(seconds), seconds)
}

//! Confirmation of a revocation or of a key's withdrawal: `GET /v1/revocations/{cursor}/confirmation`.

use agentwrit_verify::confirmation::Confirmation;
use serde::{Deserialize, Serialize};

/// How far a change is confirmed: member `confirmation` of the response to a request with `wait`, and response of the
/// confirmation's own path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct ConfirmationResponse {
    /// State, counts and the instances that are pending.
    #[serde(flatten)]
    pub confirmation: Confirmation,
    /// Number of pending instances that `pending` does not list: at most
    /// [`MAX_LISTED_PENDING`](crate::limits::MAX_LISTED_PENDING) are listed, of as many verifiers as possible.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending_omitted: u64,
    /// Number of followers that request the feed without reporting, about: they are not counted.
    pub unenrolled: u64,
    /// Time since the change was committed.
    pub elapsed_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

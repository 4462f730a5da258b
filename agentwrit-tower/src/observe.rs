//! What an operator sees of a refusal.

use agentwrit_verify::problem::RequestId;
use tracing::{debug, error, warn};

use crate::refusal::Refusal;

/// Logs a refusal under the request id that the client was told.
///
/// What a stranger can cause at will is logged at debug, so that nobody can fill a disk by sending bad tokens.
pub(crate) fn refused(refusal: &Refusal, request_id: &RequestId, path: &str) {
    let request_id = request_id.as_str();
    let reason = refusal.reason();
    match refusal {
        Refusal::MissingLayer => error!(request_id, path, reason, "refused: {refusal}"),
        Refusal::Unavailable(cause) => warn!(request_id, reason, %cause, "refused: {refusal}"),
        Refusal::NoToken(cause) => debug!(request_id, reason, %cause, "refused: {refusal}"),
        Refusal::InvalidToken(cause) => {
            debug!(request_id, reason, %cause, subject = refusal.subject().map(tracing::field::display), "refused: {refusal}");
        }
        Refusal::InsufficientScope { verified, .. } => {
            debug!(request_id, reason, subject = %verified.subject(), "refused: {refusal}");
        }
    }
}

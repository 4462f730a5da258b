//! Audit events of changes to the signing keys.

use agentwrit_verify::UnixTime;

use super::{ChangeAuthor, rules::Step};
use crate::{
    audit::{EventType, NewEvent},
    domain::StoredKey,
};

/// Returns the event of a step that led to `key`, one of `steps`. The end of signing is part of the event about the key that
/// signs from then on.
pub(super) fn of(
    step: &Step,
    key: &StoredKey,
    steps: &[Step],
    at: UnixTime,
    author: &ChangeAuthor,
) -> Option<NewEvent> {
    let (event_type, detail) = match step {
        Step::Prepare { .. } => (EventType::KeyPrepared, "signing key prepared"),
        Step::Schedule { .. } => (EventType::KeyPrepared, "rotation to a prepared signing key begun"),
        Step::Activate { .. } => (EventType::KeyActivated, "signing key activated"),
        Step::MakeActive => (EventType::KeyActivated, "signing key made and activated"),
        Step::Retire { .. } => (EventType::KeyRetired, "signing key retired"),
        Step::Withdraw { .. } => (EventType::KeyWithdrawn, "signing key withdrawn"),
        Step::EndSigning { .. } => return None,
    };
    let mut event = NewEvent::success(event_type, at, author.by.clone(), detail).resource(&key.kid);
    if let Some(activates_at) = key.activates_at {
        event = event.word("activates_at", activates_at.to_rfc3339());
    }
    for other in steps {
        if let (EventType::KeyActivated, Step::EndSigning { kid, retire_at }) = (event_type, other) {
            event = event.word("replaces", kid).word("retire_at", retire_at.to_rfc3339());
        }
    }
    // Further withdrawals end keys whose rows were put back.
    let withdrawn = steps.iter().find_map(|other| if let Step::Withdraw { kid } = other { Some(kid) } else { None });
    if let (EventType::KeyActivated, Some(kid)) = (event_type, withdrawn) {
        event = event.word("replaces", kid);
    }
    if let Some(reason) = &author.reason {
        event = event.word("reason", reason);
    }
    Some(match author.client {
        Some(client) => event.from(client),
        None => event.word("by", "broker"),
    })
}

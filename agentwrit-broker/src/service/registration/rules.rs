//! Rules of registrations: facts in, decision out.

use agentwrit_protocol::Base64;
use agentwrit_verify::{PublicKey, UnixTime};

use super::launch::LaunchRegistration;
use crate::{
    clock::is_from_the_future,
    domain::{App, AppStatus, Digest, LaunchToken},
    service::Error,
    store::Reader,
};

/// The state that the decision depends on.
#[derive(Debug)]
pub(super) struct Facts {
    launch_token: Option<LaunchToken>,
    app: Option<App>,
}

impl Facts {
    pub(super) fn read(reader: &dyn Reader, digest: &Digest) -> Result<Self, Error> {
        let launch_token = reader.launch_token_by_digest(digest)?;
        let app = match launch_token.as_ref().and_then(|token| token.app_id.as_ref()) {
            Some(app_id) => reader.app(app_id)?,
            None => None,
        };
        Ok(Self { launch_token, app })
    }

    /// Returns whether launch token or app require a bound token.
    pub(super) fn require_binding(&self) -> bool {
        self.launch_token.as_ref().is_some_and(|token| token.sender_constrained)
            || self.app.as_ref().is_some_and(|app| app.sender_constrained)
    }
}

/// Returns the launch token if it allows the registration now.
pub(super) fn decide<'f>(
    registration: &LaunchRegistration,
    facts: &'f Facts,
    now: UnixTime,
) -> Result<&'f LaunchToken, Error> {
    let token = facts.launch_token.as_ref().ok_or(Error::LaunchTokenUnknown)?;
    check_launch_token(registration, token, now)?;
    if token.app_id.is_some() {
        // Deregistering deletes unused launch tokens: one that is still there counts as deleted.
        let app = facts.app.as_ref().filter(|app| app.status == AppStatus::Active).ok_or(Error::LaunchTokenUnknown)?;
        if let Some(scope) = app.scopes.first_uncovered(&registration.requested_scope) {
            return Err(Error::ExceedsCeiling { scope: scope.clone() });
        }
    }
    Ok(token)
}

/// Checks a registration against its launch token alone.
pub(super) fn check_launch_token(
    registration: &LaunchRegistration,
    token: &LaunchToken,
    now: UnixTime,
) -> Result<(), Error> {
    if token.consumed_at.is_some() {
        return Err(Error::LaunchTokenConsumed);
    }
    // One from the future would live longer than was granted: the clock was ahead when it was issued.
    if now >= token.expires_at || is_from_the_future(token.created_at, now) {
        return Err(Error::LaunchTokenExpired);
    }
    if let Some(scope) = token.allowed_scope.first_uncovered(&registration.requested_scope) {
        return Err(Error::ExceedsLaunchToken { scope: scope.clone() });
    }
    for (pinned, named, field) in
        [(&token.orch_id, &registration.orch_id, "orch_id"), (&token.task_id, &registration.task_id, "task_id")]
    {
        if pinned.as_ref().is_some_and(|pinned| pinned != named) {
            return Err(Error::Pinned { field });
        }
    }
    Ok(())
}

/// Checks that the holder of the key signed the nonce's 32 bytes (not their hexadecimal text). Clients bring this key:
/// under one of small order, one signature fits nearly any message.
pub(super) fn check_signature(nonce: &[u8; 32], request: &LaunchRegistration) -> Result<[u8; 32], Error> {
    let Base64(key) = request.public_key.clone().well_formed().ok_or(Error::BadPublicKey)?;
    // A key that is not accepted is reported before a signature that is not well-formed.
    let signature = request.signature.clone().well_formed().map(|Base64(signature)| signature);
    match PublicKey::verifies_once(&key, nonce, &signature.unwrap_or([0; 64])) {
        None => Err(Error::BadPublicKey),
        Some(verifies) if verifies && signature.is_some() => Ok(key),
        Some(_) => Err(Error::BadSignature),
    }
}

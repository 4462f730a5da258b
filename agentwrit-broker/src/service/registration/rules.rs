//! Rules of registrations: facts in, decision out.

use std::{sync::Arc, time::Duration};

use agentwrit_protocol::{AttestationKind, Base64};
use agentwrit_verify::{AppId, PublicKey, ScopeSet, UnixTime};

use super::{
    known_rules::KnownRules,
    request::{Credential, Registration, failure},
};
use crate::{
    attestation::{Attested, MAX_LIFETIME},
    clock::is_from_the_future,
    domain::{App, AppStatus, AttestedIdentity, Digest, LaunchToken, LaunchTokenId, RegisteredWith, TrustRule},
    limits::budgets::Spending,
    service::Error,
    store::{Reader, Tx},
};

/// Time by which the clock of an issuer may be ahead of the broker's.
const ISSUER_LEEWAY: Duration = Duration::from_secs(60);
/// Longest subject of an assertion, in bytes: a SPIFFE id has up to 2048.
const MAX_SUBJECT: usize = 2048;

/// The state that the decision depends on.
#[derive(Debug)]
pub(super) struct Facts {
    credential: CredentialFacts,
    app: Option<App>,
}

#[derive(Debug)]
enum CredentialFacts {
    LaunchToken(Option<Box<LaunchToken>>),
    Assertion(Box<AssertionFacts>),
}

#[derive(Debug)]
struct AssertionFacts {
    /// The rule that permitted it, if it is still there.
    rule: Option<TrustRule>,
    is_used: bool,
    /// Latest mark that revokes everything issued until then: uses of assertions before it may not be known.
    everything_revoked_at: Option<UnixTime>,
}

impl Facts {
    pub(super) fn read(reader: &dyn Reader, credential: &Credential) -> Result<Self, Error> {
        let (credential, app_id) = match credential {
            Credential::LaunchToken(digest) => {
                let launch_token = reader.launch_token_by_digest(digest)?;
                let app_id = launch_token.as_ref().and_then(|token| token.app_id.clone());
                (CredentialFacts::LaunchToken(launch_token.map(Box::new)), app_id)
            }
            Credential::Assertion(attested) => {
                let facts = AssertionFacts {
                    rule: reader.trust_rule(&attested.rule.id)?,
                    is_used: reader.is_used_assertion(&attested.assertion)?,
                    everything_revoked_at: reader.latest_not_before_mark("")?,
                };
                (CredentialFacts::Assertion(Box::new(facts)), Some(attested.rule.app_id.clone()))
            }
        };
        let app = match app_id {
            Some(app_id) => reader.app(&app_id)?,
            None => None,
        };
        Ok(Self { credential, app })
    }
}

/// Returns the trust rules for a kind and an issuer in the order in which they are tried: those that permit the scope now, those
/// of an active app, and the others, each in the order of their creation. So a wide rule, or one whose app is suspended, takes no
/// registration from another rule for the same workload.
pub(super) fn rules_for(
    reader: &dyn Reader,
    known: &KnownRules,
    kind: AttestationKind,
    issuer: &str,
    requested: &ScopeSet,
) -> Result<Vec<Arc<TrustRule>>, Error> {
    let mut rules = known.for_issuer(reader, kind, issuer)?;
    if rules.len() > 1 {
        let apps = reader.active_apps_trusting(kind, issuer)?;
        let permits = |rule: &Arc<TrustRule>, app: &App| {
            [&rule.allowed_scope, &app.scopes].iter().all(|scope| scope.first_uncovered(requested).is_none())
        };
        rules.sort_by_cached_key(|rule| match apps.iter().find(|app| app.app_id == rule.app_id) {
            Some(app) if permits(rule, app) => 0,
            Some(_) => 1,
            None => 2,
        });
    }
    Ok(rules)
}

/// Permission that a credential gives to a registration.
#[derive(Debug)]
pub(super) struct Permission {
    pub(super) app_id: Option<AppId>,
    /// Seconds.
    pub(super) max_ttl: u64,
    pub(super) registered_with: RegisteredWith,
    /// Budgets that it draws on.
    pub(super) spending: Spending,
    /// True if launch token or app require a bound token.
    pub(super) requires_binding: bool,
    consumption: Consumption,
}

/// Credential that a registration uses up.
#[derive(Clone, Copy, Debug)]
enum Consumption {
    Nothing,
    LaunchToken(LaunchTokenId),
    Assertion { assertion: Digest, expires_at: UnixTime },
}

impl Permission {
    pub(super) fn of_launch_token(token: &LaunchToken) -> Self {
        let consumption = if token.single_use { Consumption::LaunchToken(token.id) } else { Consumption::Nothing };
        Self {
            app_id: token.app_id.clone(),
            max_ttl: token.max_ttl,
            registered_with: RegisteredWith::LaunchToken(token.id),
            spending: Spending::registration(token),
            requires_binding: token.sender_constrained,
            consumption,
        }
    }

    fn of_assertion(attested: &Attested, now: UnixTime) -> Self {
        let rule = &attested.rule;
        // An issuer may give several tokens one `jti`: none of them with an `iat` up to now is valid for longer.
        let expires_at = attested.expires_at.max(now.saturating_add(MAX_LIFETIME + ISSUER_LEEWAY));
        let identity = AttestedIdentity {
            rule: rule.id.clone(),
            issuer: rule.issuer.clone(),
            subject: attested.subject.clone(),
            pod_uid: attested.pod.as_ref().map(|pod| pod.uid.clone()),
        };
        Self {
            app_id: Some(rule.app_id.clone()),
            max_ttl: rule.max_ttl,
            registered_with: RegisteredWith::Attestation(identity),
            spending: Spending::attested_registration(rule),
            requires_binding: false,
            consumption: Consumption::Assertion { assertion: attested.assertion, expires_at },
        }
    }

    /// Uses the credential up. Returns false if that was done before.
    pub(super) fn consume(&self, tx: &mut Tx<'_>, now: UnixTime) -> Result<bool, Error> {
        match self.consumption {
            Consumption::Nothing => Ok(true),
            Consumption::LaunchToken(id) => Ok(tx.consume_launch_token(id, now)?),
            Consumption::Assertion { assertion, expires_at } => Ok(tx.use_assertion(&assertion, expires_at)?),
        }
    }
}

/// Returns the permission that the registration has now.
pub(super) fn decide(registration: &Registration, facts: &Facts, now: UnixTime) -> Result<Permission, Error> {
    let permission = match (&registration.credential, &facts.credential) {
        (Credential::LaunchToken(_), CredentialFacts::LaunchToken(Some(token))) => {
            check_launch_token(registration, token, now)?;
            if token.app_id.is_some() {
                // Deregistering deletes unused launch tokens: one that is still there counts as deleted.
                check_ceiling(registration, facts.app.as_ref(), || Error::LaunchTokenUnknown)?;
            }
            Permission::of_launch_token(token)
        }
        (Credential::Assertion(attested), CredentialFacts::Assertion(facts_of_it)) => {
            check_assertion(attested, facts_of_it, now)?;
            check_scope(registration, &attested.rule.allowed_scope)?;
            check_ceiling(registration, facts.app.as_ref(), || failure("app_not_active", attested))?;
            Permission::of_assertion(attested, now)
        }
        (Credential::LaunchToken(_) | Credential::Assertion(_), _) => return Err(Error::LaunchTokenUnknown),
    };
    let app_requires = facts.app.as_ref().is_some_and(|app| app.sender_constrained);
    Ok(Permission { requires_binding: permission.requires_binding || app_requires, ..permission })
}

/// Checks a registration against its launch token alone.
pub(super) fn check_launch_token(registration: &Registration, token: &LaunchToken, now: UnixTime) -> Result<(), Error> {
    if token.consumed_at.is_some() {
        return Err(Error::LaunchTokenConsumed);
    }
    // One from the future would live longer than was granted: the clock was ahead when it was issued.
    if now >= token.expires_at || is_from_the_future(token.created_at, now) {
        return Err(Error::LaunchTokenExpired);
    }
    check_scope(registration, &token.allowed_scope)?;
    for (pinned, named, field) in
        [(&token.orch_id, &registration.orch_id, "orch_id"), (&token.task_id, &registration.task_id, "task_id")]
    {
        if pinned.as_ref().is_some_and(|pinned| pinned != named) {
            return Err(Error::Pinned { credential: "launch token", field });
        }
    }
    Ok(())
}

/// Checks that an assertion, which was verified before, permits a registration once, now.
fn check_assertion(attested: &Attested, facts: &AssertionFacts, now: UnixTime) -> Result<(), Error> {
    let reason = if facts.rule.as_ref() != Some(&attested.rule) {
        "rule_removed"
    } else if now >= attested.expires_at {
        // Its use may have been deleted since.
        "expired"
    } else if facts.is_used {
        "assertion_used"
    } else if facts.everything_revoked_at.is_some_and(|mark| may_be_older(attested, mark)) {
        "issued_before_revocation"
    } else if attested.subject.len() > MAX_SUBJECT || attested.subject.contains('\0') {
        "subject_unusable"
    } else {
        return Ok(());
    };
    Err(failure(reason, attested))
}

/// Returns whether an assertion may have been issued before `mark`, on the clock of its issuer.
fn may_be_older(attested: &Attested, mark: UnixTime) -> bool {
    attested.issued_at.is_none_or(|issued_at| issued_at <= mark.saturating_add(ISSUER_LEEWAY))
}

fn check_scope(registration: &Registration, allowed: &ScopeSet) -> Result<(), Error> {
    match allowed.first_uncovered(&registration.request.requested_scope) {
        Some(scope) => Err(Error::ExceedsAllowedScope { scope: scope.clone() }),
        None => Ok(()),
    }
}

fn check_ceiling(
    registration: &Registration,
    app: Option<&App>,
    inactive: impl FnOnce() -> Error,
) -> Result<(), Error> {
    let app = app.filter(|app| app.status == AppStatus::Active).ok_or_else(inactive)?;
    match app.scopes.first_uncovered(&registration.request.requested_scope) {
        Some(scope) => Err(Error::ExceedsCeiling { scope: scope.clone() }),
        None => Ok(()),
    }
}

/// Checks that the holder of the key signed the nonce's 32 bytes (not their hexadecimal text). Clients bring this key:
/// under one of small order, one signature fits nearly any message.
pub(super) fn check_signature(nonce: &[u8; 32], registration: &Registration) -> Result<[u8; 32], Error> {
    let request = &registration.request;
    let Base64(key) = request.public_key.clone().well_formed().ok_or(Error::BadPublicKey)?;
    // A key that is not accepted is reported before a signature that is not well-formed.
    let signature = request.signature.clone().well_formed().map(|Base64(signature)| signature);
    match PublicKey::verifies_once(&key, nonce, &signature.unwrap_or([0; 64])) {
        None => Err(Error::BadPublicKey),
        Some(verifies) if verifies && signature.is_some() => Ok(key),
        Some(_) => Err(Error::BadSignature),
    }
}

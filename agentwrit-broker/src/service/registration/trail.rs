//! Audit events of registrations.

use std::net::IpAddr;

use agentwrit_protocol::RegistrationRequest;
use agentwrit_verify::{PathSegment, UnixTime};

use super::RegistrationService;
use crate::{
    audit::{EventType, NewEvent},
    domain::{AttestedIdentity, RegisteredAgent, RegisteredWith},
    issuer::Draft,
    service::{Error, binding::with_key, error::AttestationFailure},
    store::Tx,
};

/// Task and orchestrator that a request names.
#[derive(Debug)]
pub(super) struct Named {
    orch_id: Option<PathSegment>,
    task_id: Option<PathSegment>,
}

impl Named {
    pub(super) fn by(request: &RegistrationRequest) -> Self {
        Self { orch_id: request.orch_id.clone(), task_id: request.task_id.clone() }
    }
}

impl RegistrationService {
    pub(super) fn record_registration(
        &self,
        tx: &mut Tx<'_>,
        agent: &RegisteredAgent,
        draft: &Draft,
        client: IpAddr,
    ) -> Result<(), Error> {
        let event = |event_type, detail: &str| {
            NewEvent::success(event_type, agent.registered_at, &agent.agent_id, detail)
                .task(draft.claims.task_id.clone())
                .orch(draft.claims.orch_id.clone())
                .word("scope", &agent.scope)
                .from(client)
        };
        let registered = event(EventType::AgentRegistered, "agent registered");
        self.ledger.record(tx, with_credential(registered, &agent.registered_with))?;
        let issued =
            with_key(event(EventType::TokenIssued, "token issued").word("jti", draft.claims.jti), &draft.claims);
        self.ledger.record(tx, issued.word("expires_at", UnixTime::from_seconds(draft.claims.exp)))?;
        Ok(())
    }

    pub(super) fn deny_registration(&self, named: &Named, error: &Error, client: IpAddr) {
        // The reasons of the attestor's verification are counted there.
        if let Error::AttestationFailed(failure) | Error::AttestationUnavailable(failure) = error
            && failure.rule.is_some()
        {
            self.metrics.attestations().rejected(failure.reason);
        }
        if !error.is_denial() {
            return;
        }
        if let Error::AttestationFailed(failure) = error {
            let AttestationFailure { reason, kind, .. } = **failure;
            let issuer = failure.issuer.as_deref().unwrap_or_default();
            tracing::info!(component = "registration", reason, kind = kind.as_str(), issuer, %client, "attestation refused");
            self.ledger.deny(denied_assertion(failure, self.ledger.now(), client));
            return;
        }
        let detail = "registration refused";
        let event = NewEvent::denied(EventType::RegistrationPolicyViolation, self.ledger.now(), client, detail);
        // As words: a task that an unauthenticated client names is not recorded as one.
        let words = [("task_id", &named.task_id), ("orch_id", &named.orch_id)];
        let event = words.into_iter().fold(event, |event, (key, id)| match id {
            Some(id) => event.word(key, id),
            None => event,
        });
        let event = event.word("reason", error);
        self.ledger.deny(match error.scope() {
            Some(scope) => event.word("scope", scope),
            None => event,
        });
    }
}

fn denied_assertion(failure: &AttestationFailure, now: UnixTime, client: IpAddr) -> NewEvent {
    let AttestationFailure { reason, kind, issuer, rule } = failure;
    let event = NewEvent::denied(EventType::AttestationFailed, now, client, "attestation refused");
    let event = event.word("kind", kind.as_str()).reason(reason);
    let event = match rule {
        Some(rule) => event.resource(rule).word("trust_rule_id", rule),
        None => event,
    };
    match issuer {
        Some(issuer) => event.word("issuer", issuer),
        None => event,
    }
}

/// Adds the credential that an agent registered with.
fn with_credential(event: NewEvent, credential: &RegisteredWith) -> NewEvent {
    let AttestedIdentity { rule, issuer, subject, pod_uid } = match credential {
        RegisteredWith::LaunchToken(id) => return event.word("launch_token_id", id),
        RegisteredWith::Attestation(identity) => identity,
    };
    let event = event.word("trust_rule_id", rule).word("issuer", issuer).word("subject", subject);
    match pod_uid {
        Some(uid) => event.word("pod_uid", uid),
        None => event,
    }
}

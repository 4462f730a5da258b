//! A registration whose credential was read, or verified: task and orchestrator of the agent are known.

use agentwrit_protocol::RegistrationRequest;
use agentwrit_verify::PathSegment;

use crate::{
    attestation::Attested,
    domain::{Digest, IdTemplate, UnusableClaim},
    service::{Error, error::AttestationFailure},
};

/// A registration and its credential.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) request: RegistrationRequest,
    pub(super) credential: Credential,
    pub(super) orch_id: PathSegment,
    pub(super) task_id: PathSegment,
}

/// Credential that may permit a registration.
#[derive(Debug)]
pub(super) enum Credential {
    /// Digest of a launch token.
    LaunchToken(Digest),
    /// An assertion that a trust rule permitted when it was verified.
    Assertion(Box<Attested>),
}

impl Credential {
    /// The rejection of one that was used before.
    pub(super) fn used(&self) -> Error {
        match self {
            Self::LaunchToken(_) => Error::LaunchTokenConsumed,
            Self::Assertion(attested) => failure("assertion_used", attested),
        }
    }
}

impl Registration {
    /// A registration with a launch token, which names orchestrator and task.
    pub(super) fn with_launch_token(mut request: RegistrationRequest) -> Result<Self, Error> {
        let launch_token = request.launch_token.as_ref().ok_or_else(|| missing("launch_token"))?;
        let credential = Credential::LaunchToken(Digest::of(launch_token.expose().as_bytes()));
        let orch_id = request.orch_id.take().ok_or_else(|| missing("orch_id"))?;
        let task_id = request.task_id.take().ok_or_else(|| missing("task_id"))?;
        Ok(Self { request, credential, orch_id, task_id })
    }

    /// A registration with a verified assertion, of which the rule's templates may make orchestrator and task.
    pub(super) fn with_assertion(mut request: RegistrationRequest, attested: Attested) -> Result<Self, Error> {
        let of = |template: Option<&IdTemplate>, named: Option<PathSegment>, field| {
            let Some(template) = template else { return named.ok_or_else(|| missing(field)) };
            let made = template.id_of(&attested.claims);
            let made = made.map_err(|error| failure(reason_of(&error), &attested))?;
            match named {
                Some(named) if named != made => Err(Error::Pinned { credential: "attestation", field }),
                Some(_) | None => Ok(made),
            }
        };
        let orch_id = of(attested.rule.orch_template.as_ref(), request.orch_id.take(), "orch_id")?;
        let task_id = of(attested.rule.task_template.as_ref(), request.task_id.take(), "task_id")?;
        Ok(Self { request, credential: Credential::Assertion(Box::new(attested)), orch_id, task_id })
    }
}

fn missing(field: &'static str) -> Error {
    Error::invalid(field, "is required")
}

fn reason_of(error: &UnusableClaim) -> &'static str {
    match error {
        UnusableClaim::Claim(_) => "template_claim_unusable",
        UnusableClaim::Id(_) => "template_id_unusable",
    }
}

/// The rejection of an assertion that was verified.
pub(super) fn failure(reason: &'static str, attested: &Attested) -> Error {
    Error::AttestationFailed(Box::new(AttestationFailure::of(attested, reason)))
}

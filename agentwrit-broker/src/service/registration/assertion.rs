//! Verification of an assertion, by the attestor and by the API server.

use std::sync::Arc;

use agentwrit_protocol::Attestation;
use agentwrit_verify::ScopeSet;

use super::{
    RegistrationService,
    request::{Credential, Registration, failure},
    rules::rules_for,
};
use crate::{
    attestation::{AttestationError, Attested},
    service::{Error, error::AttestationFailure},
};

impl RegistrationService {
    /// Verifies an assertion by the trust rules for its issuer, as they are now: those that permit the scope come first.
    pub(super) async fn verify(&self, attestation: &Attestation, requested: &ScopeSet) -> Result<Attested, Error> {
        let kind = attestation.kind;
        let rejected = |error: AttestationError, issuer| {
            rejection(error, AttestationFailure { reason: error.reason(), kind, issuer, rule: None })
        };
        let issuer = self.attestor.issuer(attestation).map_err(|error| rejected(error, None))?;
        let (known, name, requested) = (Arc::clone(&self.known_rules), issuer.clone(), requested.clone());
        let rules = self.ledger.read(move |reader| rules_for(reader, &known, kind, &name, &requested)).await?;
        self.attestor.verify(&rules, attestation).await.map_err(|error| rejected(error, Some(issuer)))
    }

    /// Lets the API server confirm an assertion whose rule requires it: last, so that a registration that fails anyway, such as
    /// one with an assertion that was used, sends it no request.
    pub(super) async fn review(&self, registration: &Registration) -> Result<(), Error> {
        match (&registration.credential, &registration.request.attestation) {
            (Credential::Assertion(attested), Some(attestation)) => {
                let reviewed = self.attestor.review(attested, attestation).await;
                reviewed.map_err(|error| rejection(error, AttestationFailure::of(attested, error.reason())))
            }
            (Credential::LaunchToken(_) | Credential::Assertion(_), _) => Ok(()),
        }
    }

    /// Checks that the pod of an assertion was not deleted since.
    pub(super) fn check_pod(&self, credential: &Credential) -> Result<(), Error> {
        match credential {
            Credential::Assertion(attested)
                if attested.pod.as_ref().is_some_and(|pod| self.attestor.is_deleted(pod)) =>
            {
                Err(failure("pod_deleted", attested))
            }
            Credential::LaunchToken(_) | Credential::Assertion(_) => Ok(()),
        }
    }
}

fn rejection(error: AttestationError, failure: AttestationFailure) -> Error {
    let failure = Box::new(failure);
    if error.is_temporary() { Error::AttestationUnavailable(failure) } else { Error::AttestationFailed(failure) }
}

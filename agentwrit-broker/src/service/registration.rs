//! Registration of an agent: credential, signed nonce, identity, first token.
//!
//! 1. The credential is a launch token, or an assertion of another issuer that a trust rule permits. An assertion is verified
//!    first, outside of the transaction: its issuer may have to be asked for its keys.
//! 2. Checked in this order: credential, scope within it, nonce, key and signature, and the review of an assertion by its API
//!    server; then everything is consumed.
//! 3. A rejected registration consumes nothing but a proof of the key: launch token, assertion and nonce stay usable.
//! 4. Nonce, launch token or assertion, agent, token record and audit events are one transaction. What was read before it is
//!    read again in it, so that of two racing registrations exactly one wins, and a rule or app that changed counts as it is.
//!    The first read is left out for a launch token that this broker issued just now ([`RecentLaunchTokens`]).
//! 5. A launch token, a trust rule and an app have a budget of registrations: see [`budgets`](crate::limits::budgets).
//! 6. Rejections of an assertion have one text for the client, whatever the reason: see [`rules`] and `attestation`.

mod assertion;
mod key_proof;
mod known_rules;
mod request;
mod rules;
mod trail;

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{Hex, RegistrationRequest};
use agentwrit_verify::{AgentId, AppId, MAX_TOKEN_LENGTH, Subject, UnixTime};

pub(crate) use self::key_proof::KeyProof;
use self::{
    known_rules::KnownRules,
    request::{Credential, Registration},
    rules::{Facts, Permission, check_launch_token, check_signature, decide},
    trail::Named,
};
use super::{
    Error, Parts,
    binding::constraint,
    checks::{issue_time, spend},
    recent_launch_tokens::RecentLaunchTokens,
};
use crate::{
    attestation::Attestor,
    audit::EventType,
    domain::RegisteredAgent,
    issuer::{Challenges, Draft, Grant, Issued, Issuer, nonce::Nonce},
    ledger::Ledger,
    limits::budgets::Budgets,
    store::Wants,
    telemetry::metrics::{Metrics, Status},
};

/// Registers agents.
#[derive(Debug)]
pub(crate) struct RegistrationService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    challenges: Arc<Challenges>,
    budgets: Arc<Budgets>,
    recent: Arc<RecentLaunchTokens>,
    attestor: Arc<Attestor>,
    known_rules: Arc<KnownRules>,
    metrics: Arc<Metrics>,
}

impl RegistrationService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, challenges, budgets, recent_launch_tokens: recent, attestor, metrics, .. } = parts;
        let known_rules = Arc::default();
        Self { issuer, ledger, challenges, budgets, recent, attestor, known_rules, metrics }
    }

    /// Registers an agent and issues its first token. A `proof` of its key asks for bound tokens.
    pub(crate) async fn register(
        self: &Arc<Self>,
        mut request: RegistrationRequest,
        proof: Option<KeyProof>,
        client: IpAddr,
    ) -> Result<(AgentId, Issued), Error> {
        request.sender_constrained |= proof.is_some();
        let named = Named::by(&request);
        let outcome = self.try_register(request, proof.as_ref(), client).await;
        match &outcome {
            Ok(_) => self.metrics.registration(Status::Success),
            Err(error) => {
                self.metrics.registration(Status::Failure);
                self.deny_registration(&named, error, client);
            }
        }
        outcome
    }

    async fn try_register(
        self: &Arc<Self>,
        request: RegistrationRequest,
        proof: Option<&KeyProof>,
        client: IpAddr,
    ) -> Result<(AgentId, Issued), Error> {
        let (registration, prepared) = self.check(request, proof).await?;
        self.commit(registration, prepared, client).await
    }

    /// Makes all checks before the transaction.
    async fn check(
        &self,
        request: RegistrationRequest,
        proof: Option<&KeyProof>,
    ) -> Result<(Arc<Registration>, Prepared), Error> {
        self.issuer.policy().check_binding(request.sender_constrained)?;
        let registration = match &request.attestation {
            Some(attestation) => {
                let attested = self.verify(attestation, &request.requested_scope).await?;
                Registration::with_assertion(request, attested)?
            }
            None => Registration::with_launch_token(request)?,
        };
        let registration = Arc::new(registration);
        let prepared = if let Some(prepared) = self.prepare_recent(&registration, proof) {
            prepared
        } else {
            let read = Arc::clone(&registration);
            let facts = self.ledger.read(move |reader| Facts::read(reader, &read.credential)).await?;
            self.prepare(&registration, proof, decide(&registration, &facts, self.ledger.now())?)?
        };
        self.review(&registration).await?;
        Ok((registration, prepared))
    }

    async fn commit(
        self: &Arc<Self>,
        registration: Arc<Registration>,
        prepared: Prepared,
        client: IpAddr,
    ) -> Result<(AgentId, Issued), Error> {
        let Prepared { agent_id, draft, nonce, public_key, wants } = prepared;
        let attested = registration.request.attestation.as_ref().map(|attestation| attestation.kind);
        let service = Arc::clone(self);
        let (agent_id, draft) = self
            .ledger
            .transact_with(wants, move |tx| {
                let now = tx.now();
                let facts = Facts::read(tx, &registration.credential)?;
                let permission = decide(&registration, &facts, tx.latest_now())?;
                service.check_pod(&registration.credential)?;
                let forgotten_at = service.check_nonce(&nonce)?;
                if !tx.spend_nonce(&nonce, forgotten_at)? {
                    return Err(Error::NonceSpent);
                }
                if !permission.consume(tx, now)? {
                    return Err(registration.credential.used());
                }
                let issued_at = issue_time(tx, registration.task_id.as_str(), now)?;
                spend(tx, &service.budgets, permission.spending.clone())?;
                let requires = registration.request.sender_constrained || permission.requires_binding;
                let draft = draft.issued_at(issued_at);
                let draft = if service.issuer.policy().binds(requires) {
                    service.check_length(draft.bound_to(constraint(&public_key)))?
                } else {
                    draft
                };
                let agent = record(&agent_id, public_key, &registration, permission, &draft);
                tx.insert_agent(&agent)?;
                let draft = service.issuer.insert(tx, draft)?;
                service.record_registration(tx, &agent, &draft, client)?;
                Ok((agent_id, draft))
            })
            .await?;
        if let Some(kind) = attested {
            self.metrics.attestations().accepted(kind);
        }
        Ok((agent_id, self.issuer.sign(&draft)))
    }

    /// Checks a registration with a launch token that this broker issued just now. Returns none if a check fails: the
    /// state of the store decides then.
    fn prepare_recent(&self, registration: &Registration, proof: Option<&KeyProof>) -> Option<Prepared> {
        let Credential::LaunchToken(digest) = &registration.credential else { return None };
        let launch_token = self.recent.take(digest)?;
        check_launch_token(registration, &launch_token, self.ledger.now()).ok()?;
        self.prepare(registration, proof, Permission::of_launch_token(&launch_token)).ok()
    }

    /// Checks what the registration itself holds, and drafts its token.
    fn prepare(
        &self,
        registration: &Registration,
        proof: Option<&KeyProof>,
        permission: Permission,
    ) -> Result<Prepared, Error> {
        let agent_id = self.issuer.new_agent_id(&registration.orch_id, &registration.task_id);
        let (spending, app_id) = (permission.spending.clone(), permission.app_id.clone());
        let draft = self.draft(registration, permission, &agent_id)?;
        let Hex(nonce) = registration.request.nonce.clone().well_formed().ok_or(Error::NonceUnknown)?;
        let forgotten_at = self.check_nonce(&nonce)?;
        let public_key = check_signature(&nonce, registration)?;
        self.budgets.check(&spending)?;
        if let Some(proof) = proof {
            // Last: a proof is accepted once, and these checks may be made twice.
            proof.check(&public_key)?;
        }
        let wants = wants_of(registration, app_id.as_ref(), &draft).nonce(&nonce, forgotten_at);
        Ok(Prepared { agent_id, draft, nonce, public_key, wants })
    }

    /// Drafts the first token, which its transaction may bind. No verifier reads a token over [`MAX_TOKEN_LENGTH`], so none is
    /// issued.
    fn draft(&self, registration: &Registration, permission: Permission, agent_id: &AgentId) -> Result<Draft, Error> {
        let grant = Grant {
            subject: Subject::Agent(agent_id.clone()),
            scope: registration.request.requested_scope.clone(),
            ttl: self.issuer.policy().clamp(permission.max_ttl),
            app_id: permission.app_id,
            task_id: Some(registration.task_id.clone()),
            orch_id: Some(registration.orch_id.clone()),
        };
        self.check_length(self.issuer.draft(grant, self.ledger.now()))
    }

    fn check_length(&self, draft: Draft) -> Result<Draft, Error> {
        let length = self.issuer.length_of(&draft);
        if length > MAX_TOKEN_LENGTH {
            let problem =
                format!("a token with these scopes would have {length} bytes, at most {MAX_TOKEN_LENGTH} fit");
            return Err(Error::invalid("requested_scope", problem));
        }
        Ok(draft)
    }

    /// Returns the time until which the use of a nonce must be remembered.
    fn check_nonce(&self, nonce: &Nonce) -> Result<UnixTime, Error> {
        self.challenges.check(nonce).map_err(|_| Error::NonceUnknown)
    }
}

/// A registration whose own contents were checked.
#[derive(Debug)]
struct Prepared {
    agent_id: AgentId,
    draft: Draft,
    nonce: Nonce,
    public_key: [u8; 32],
    /// Rows that its transaction reads.
    wants: Wants,
}

/// Rows that a registration reads, beside its nonce.
fn wants_of(registration: &Registration, app: Option<&AppId>, draft: &Draft) -> Wants {
    let claims = &draft.claims;
    let (subject, task) = (&claims.sub, claims.task_id.as_ref());
    let wants = match &registration.credential {
        Credential::LaunchToken(digest) => Wants::none().launch_digest(digest),
        Credential::Assertion(attested) => {
            Wants::none().trust_rule(&attested.rule.id).assertion(&attested.assertion).mark("")
        }
    };
    let wants = wants.event(EventType::AgentRegistered, subject, task, app);
    let wants = wants.event(EventType::TokenIssued, subject, task, app);
    let wants = task.into_iter().fold(wants, |wants, task| wants.mark(task.as_str()));
    app.into_iter().fold(wants, Wants::app)
}

fn record(
    agent_id: &AgentId,
    public_key: [u8; 32],
    registration: &Registration,
    permission: Permission,
    draft: &Draft,
) -> RegisteredAgent {
    RegisteredAgent {
        agent_id: agent_id.clone(),
        app_id: permission.app_id,
        scope: registration.request.requested_scope.clone(),
        public_key,
        sender_constrained: draft.claims.cnf.is_some(),
        registered_with: permission.registered_with,
        registered_at: UnixTime::from_seconds(draft.claims.iat),
        expires_at: UnixTime::from_seconds(draft.claims.exp),
        revoked_at: None,
    }
}

#[cfg(test)]
pub(in crate::service) mod tests;

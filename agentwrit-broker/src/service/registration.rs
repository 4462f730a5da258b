//! Registration of an agent: launch token, signed nonce, identity, first token.
//!
//! 1. Checked in this order: launch token, scope within it, nonce, key and signature; then everything is consumed.
//! 2. A rejected registration consumes nothing but a proof of the key: launch token and nonce stay usable.
//! 3. Nonce, launch token, agent, token record and audit events are one transaction. What was read before it is read
//!    again in it, so that of two racing registrations exactly one wins.
//!    The first read is left out for a launch token that this broker issued just now ([`RecentLaunchTokens`]).
//! 4. A launch token and an app have a budget of registrations: see [`budgets`](crate::limits::budgets).

mod launch;
mod rules;

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{Hex, RegistrationRequest};
use agentwrit_verify::{
    AgentId, MAX_TOKEN_LENGTH, Subject, Thumbprint, UnixTime,
    proof::{PresentedProof, ProofVerifier},
};

use self::{
    launch::LaunchRegistration,
    rules::{Facts, check_launch_token, check_signature, decide},
};
use super::{
    Error, Parts,
    binding::{constraint, with_key},
    checks::{issue_time, spend},
    recent_launch_tokens::RecentLaunchTokens,
};
use crate::{
    audit::{EventType, NewEvent},
    domain::{AttestedIdentity, Digest, LaunchToken, RegisteredAgent, RegisteredWith},
    issuer::{Challenges, Draft, Grant, Issued, Issuer, nonce::Nonce},
    ledger::Ledger,
    limits::budgets::{Budgets, Spending},
    store::{Tx, Wants},
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
    metrics: Arc<Metrics>,
}

impl RegistrationService {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { issuer, ledger, challenges, budgets, recent_launch_tokens: recent, metrics, .. } = parts;
        Self { issuer, ledger, challenges, budgets, recent, metrics }
    }

    /// Registers an agent and issues its first token. A `proof` of its key asks for bound tokens.
    pub(crate) async fn register(
        self: &Arc<Self>,
        registration: RegistrationRequest,
        proof: Option<KeyProof>,
        client: IpAddr,
    ) -> Result<(AgentId, Issued), Error> {
        // There are no trust rules.
        let mut registration = LaunchRegistration::new(registration).ok_or(Error::AttestationFailed)?;
        registration.sender_constrained |= proof.is_some();
        let registration = Arc::new(registration);
        let outcome = match self.issuer.policy().check_binding(registration.sender_constrained) {
            Ok(()) => self.try_register(Arc::clone(&registration), proof.as_ref(), client).await,
            Err(rejected) => Err(rejected),
        };
        match &outcome {
            Ok(_) => self.metrics.registration(Status::Success),
            Err(error) => {
                self.metrics.registration(Status::Failure);
                self.deny_registration(&registration, error, client);
            }
        }
        outcome
    }

    async fn try_register(
        self: &Arc<Self>,
        registration: Arc<LaunchRegistration>,
        proof: Option<&KeyProof>,
        client: IpAddr,
    ) -> Result<(AgentId, Issued), Error> {
        let digest = Digest::of(registration.launch_token.expose().as_bytes());
        let prepared = if let Some(prepared) = self.prepare_recent(&registration, proof, &digest) {
            prepared
        } else {
            let facts = self.ledger.read(move |reader| Facts::read(reader, &digest)).await?;
            self.prepare(&registration, proof, decide(&registration, &facts, self.ledger.now())?)?
        };
        let Prepared { agent_id, draft, nonce, public_key, wants } = prepared;
        let service = Arc::clone(self);
        let (agent_id, draft) = self
            .ledger
            .transact_with(wants, move |tx| {
                let now = tx.now();
                let facts = Facts::read(tx, &digest)?;
                let launch_token = decide(&registration, &facts, tx.latest_now())?;
                let forgotten_at = service.check_nonce(&nonce)?;
                if !tx.spend_nonce(&nonce, forgotten_at)? {
                    return Err(Error::NonceSpent);
                }
                if launch_token.single_use && !tx.consume_launch_token(launch_token.id, now)? {
                    return Err(Error::LaunchTokenConsumed);
                }
                let issued_at = issue_time(tx, registration.task_id.as_str(), now)?;
                spend(tx, &service.budgets, Spending::registration(launch_token))?;
                let requires = registration.sender_constrained || facts.require_binding();
                let draft = draft.issued_at(issued_at);
                let draft = if service.issuer.policy().binds(requires) {
                    service.check_length(draft.bound_to(constraint(&public_key)))?
                } else {
                    draft
                };
                let agent = record(&agent_id, public_key, &registration, launch_token, &draft);
                tx.insert_agent(&agent)?;
                let draft = service.issuer.insert(tx, draft)?;
                service.record_registration(tx, &agent, &draft, client)?;
                Ok((agent_id, draft))
            })
            .await?;
        Ok((agent_id, self.issuer.sign(&draft)))
    }

    /// Checks a registration with a launch token that this broker issued just now. Returns none if a check fails: the
    /// state of the store decides then.
    fn prepare_recent(
        &self,
        registration: &LaunchRegistration,
        proof: Option<&KeyProof>,
        digest: &Digest,
    ) -> Option<Prepared> {
        let launch_token = self.recent.take(digest)?;
        check_launch_token(registration, &launch_token, self.ledger.now()).ok()?;
        self.prepare(registration, proof, &launch_token).ok()
    }

    /// Checks what the registration itself holds, and drafts its token.
    fn prepare(
        &self,
        registration: &LaunchRegistration,
        proof: Option<&KeyProof>,
        launch_token: &LaunchToken,
    ) -> Result<Prepared, Error> {
        let agent_id = self.issuer.new_agent_id(&registration.orch_id, &registration.task_id);
        let draft = self.draft(registration, launch_token, &agent_id)?;
        let Hex(nonce) = registration.nonce.clone().well_formed().ok_or(Error::NonceUnknown)?;
        let forgotten_at = self.check_nonce(&nonce)?;
        let public_key = check_signature(&nonce, registration)?;
        self.budgets.check(&Spending::registration(launch_token))?;
        if let Some(proof) = proof {
            // Last: a proof is accepted once, and these checks may be made twice.
            proof.check(&public_key)?;
        }
        let wants = wants_of(launch_token, &draft).nonce(&nonce, forgotten_at);
        Ok(Prepared { agent_id, draft, nonce, public_key, wants })
    }

    /// Drafts the first token, which its transaction may bind. No verifier reads a token over [`MAX_TOKEN_LENGTH`], so none is
    /// issued.
    fn draft(
        &self,
        registration: &LaunchRegistration,
        launch_token: &LaunchToken,
        agent_id: &AgentId,
    ) -> Result<Draft, Error> {
        let grant = Grant {
            subject: Subject::Agent(agent_id.clone()),
            scope: registration.requested_scope.clone(),
            ttl: self.issuer.policy().clamp(launch_token.max_ttl),
            app_id: launch_token.app_id.clone(),
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

    fn record_registration(
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

    fn deny_registration(&self, registration: &LaunchRegistration, error: &Error, client: IpAddr) {
        if !error.is_denial() {
            return;
        }
        let detail = "registration refused";
        let event = NewEvent::denied(EventType::RegistrationPolicyViolation, self.ledger.now(), client, detail)
            // As words: a task that an unauthenticated client names is not recorded as one.
            .word("task_id", &registration.task_id)
            .word("orch_id", &registration.orch_id)
            .word("reason", error);
        self.ledger.deny(match error.scope() {
            Some(scope) => event.word("scope", scope),
            None => event,
        });
    }
}

/// Adds the credential that an agent registered with.
fn with_credential(event: NewEvent, credential: &RegisteredWith) -> NewEvent {
    let AttestedIdentity { rule, subject, pod_uid } = match credential {
        RegisteredWith::LaunchToken(id) => return event.word("launch_token_id", id),
        RegisteredWith::Attestation(identity) => identity,
    };
    let event = event.word("trust_rule_id", rule).word("subject", subject);
    match pod_uid {
        Some(uid) => event.word("pod_uid", uid),
        None => event,
    }
}

/// Proof of the key that a registration names (RFC 9449 §5), in the registration's `DPoP` headers.
#[derive(Debug)]
pub(crate) struct KeyProof {
    pub(crate) verifier: ProofVerifier,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Values of the headers.
    pub(crate) headers: Vec<Vec<u8>>,
}

impl KeyProof {
    fn check(&self, public_key: &[u8; 32]) -> Result<(), Error> {
        let presented = PresentedProof::new(&self.method, &self.path).proofs(self.headers.iter().map(Vec::as_slice));
        let checked = self.verifier.verify_proof(&presented, Some(&Thumbprint::of_ed25519(public_key)));
        checked.map(drop).map_err(Error::KeyProof)
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
fn wants_of(launch_token: &LaunchToken, draft: &Draft) -> Wants {
    let (claims, app) = (&draft.claims, launch_token.app_id.as_ref());
    let (subject, task) = (&claims.sub, claims.task_id.as_ref());
    let wants = Wants::none().launch_digest(&launch_token.digest);
    let wants = wants.event(EventType::AgentRegistered, subject, task, app);
    let wants = wants.event(EventType::TokenIssued, subject, task, app);
    let wants = task.into_iter().fold(wants, |wants, task| wants.mark(task.as_str()));
    app.into_iter().fold(wants, Wants::app)
}

fn record(
    agent_id: &AgentId,
    public_key: [u8; 32],
    registration: &LaunchRegistration,
    launch_token: &LaunchToken,
    draft: &Draft,
) -> RegisteredAgent {
    RegisteredAgent {
        agent_id: agent_id.clone(),
        app_id: launch_token.app_id.clone(),
        scope: registration.requested_scope.clone(),
        public_key,
        sender_constrained: draft.claims.cnf.is_some(),
        registered_with: RegisteredWith::LaunchToken(launch_token.id),
        registered_at: UnixTime::from_seconds(draft.claims.iat),
        expires_at: UnixTime::from_seconds(draft.claims.exp),
        revoked_at: None,
    }
}

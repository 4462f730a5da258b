//! Agents of Kubernetes pods: revoked when their pod is deleted.
//!
//! 1. The revocation is that of an operator at level `agent`: tokens end, and the agent receives no other. The event names the
//!    pod as the reason.
//! 2. Agents that are revoked already, or whose tokens have expired, are left out: brokers that watch the same cluster
//!    revoke each agent once.

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{RevocationRequest, RevocationTarget};
use agentwrit_verify::{AgentId, Subject, UnixTime};

use super::{Error, Parts, revocation::RevocationService};
use crate::{
    attestation::PodAgents,
    ledger::Ledger,
    store::{Reader, StoreError},
};

/// Revokes the agents of pods.
#[derive(Clone, Debug)]
pub(crate) struct PodService {
    ledger: Arc<Ledger>,
    revocations: Arc<RevocationService>,
}

impl PodService {
    pub(super) fn new(parts: Parts, revocations: Arc<RevocationService>) -> Self {
        Self { ledger: parts.ledger, revocations }
    }
}

impl PodAgents for PodService {
    type Error = Error;

    async fn pods(&self) -> Result<Vec<String>, Error> {
        let now = self.ledger.clock.now();
        self.ledger.store.read(move |reader| Ok::<_, Error>(reader.pods_of_agents(now)?)).await
    }

    async fn revoke(&self, uid: &str, issuer: Option<&str>) -> Result<u64, Error> {
        let (pod, issuer, now) = (uid.to_owned(), issuer.map(str::to_owned), self.ledger.clock.now());
        let read = move |reader: &dyn Reader| Ok::<_, Error>(agents(reader, &pod, issuer.as_deref(), now)?);
        let agents = self.ledger.store.read(read).await?;
        let mut revoked = 0;
        for agent in agents {
            let target = RevocationTarget::Subject(Subject::Agent(agent));
            let request = RevocationRequest::new(target, Some(format!("pod {uid} was deleted")));
            self.revocations.revoke(Subject::Admin, None, request, None::<IpAddr>).await?;
            revoked += 1;
        }
        Ok(revoked)
    }
}

/// Returns the agents of a pod, or those that registered by a rule of this issuer.
fn agents(reader: &dyn Reader, pod: &str, issuer: Option<&str>, now: UnixTime) -> Result<Vec<AgentId>, StoreError> {
    let agents = reader.agents_of_pod(pod, now)?;
    let Some(issuer) = issuer else { return Ok(agents) };
    let mut of_issuer = Vec::new();
    for agent in agents {
        let record = reader.agent(&agent)?;
        let identity = record.as_ref().and_then(|record| record.registered_with.attestation());
        let rule = match identity {
            Some(identity) => reader.trust_rule(&identity.rule)?,
            None => None,
        };
        if rule.is_some_and(|rule| rule.issuer == issuer) {
            of_issuer.push(agent);
        }
    }
    Ok(of_issuer)
}

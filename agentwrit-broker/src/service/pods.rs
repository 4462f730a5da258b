//! Agents of Kubernetes pods: revoked when their pod is deleted.
//!
//! 1. The revocation is that of an operator at level `agent`: tokens end, and the agent receives no other. The event names the
//!    pod as the reason.
//! 2. Agents that are revoked already, or whose tokens have expired, are left out: brokers that watch the same cluster
//!    revoke each agent once.

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{RevocationRequest, RevocationTarget};
use agentwrit_verify::Subject;

use super::{Error, Parts, revocation::RevocationService};
use crate::{attestation::PodAgents, ledger::Ledger};

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
        // A transaction: registrations that did not find the pod among the deleted ones have been committed before it.
        let agents =
            self.ledger.transact(move |tx| Ok::<_, Error>(tx.agents_of_pod(&pod, issuer.as_deref(), now)?)).await?;
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

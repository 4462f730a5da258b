//! Agents of Kubernetes pods: revoked when their pod is deleted.
//!
//! 1. The revocation is that of an operator at level `agent`: tokens end, and the agent receives no other. The event names the
//!    pod as the reason, and `via=pod_watch`: no person requested it.
//! 2. Agents that are revoked already, or whose tokens have expired, are left out: brokers that watch the same cluster
//!    revoke each agent once.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use agentwrit_protocol::{RevocationRequest, RevocationTarget};
use agentwrit_verify::Subject;

use super::{Error, Parts, revocation::RevocationService};
use crate::{
    attestation::PodAgents,
    domain::{TrustRule, TrustRuleId},
    ledger::{self, Ledger},
    store::Reader,
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

    async fn pods(&self) -> Result<Vec<(TrustRule, Vec<String>)>, Error> {
        let now = self.ledger.clock.now();
        let read = move |reader: &dyn Reader| {
            let mut pods: BTreeMap<TrustRuleId, Vec<String>> = BTreeMap::new();
            for (rule, uid) in reader.pods_of_agents(now)? {
                pods.entry(rule).or_default().push(uid);
            }
            let mut of_rules = Vec::new();
            for (rule, uids) in pods {
                of_rules.extend(reader.trust_rule(&rule)?.map(|rule| (rule, uids)));
            }
            Ok::<_, Error>(of_rules)
        };
        self.ledger.store.read(read).await
    }

    async fn revoke(&self, uid: &str, rule: Option<&TrustRuleId>) -> Result<u64, Error> {
        let (pod, rule, now) = (uid.to_owned(), rule.cloned(), self.ledger.clock.now());
        // A transaction: registrations that did not find the pod among the deleted ones have been committed before it.
        let agents =
            self.ledger.transact(move |tx| Ok::<_, Error>(tx.agents_of_pod(&pod, rule.as_ref(), now)?)).await?;
        let mut revoked = 0;
        for agent in agents {
            let target = RevocationTarget::Subject(Subject::Agent(agent));
            let request = RevocationRequest::new(target, Some(format!("pod {uid} was deleted")));
            let revocation = self.revocations.revoke(Subject::Admin, None, request, None::<IpAddr>);
            ledger::by_interface("pod_watch", revocation).await?;
            revoked += 1;
        }
        Ok(revoked)
    }
}

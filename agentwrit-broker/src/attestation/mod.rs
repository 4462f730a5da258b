//! Attestation: tokens of other issuers with which agents register.
//!
//! 1. Issuers, keys and audiences are those of trust rules. A token of an issuer without a rule costs no request and leaves
//!    nothing in memory.
//! 2. Checks come in this order: form and header ([`token`]), rule, key ([`key_sets`], [`jwk`]), signature, times and audience
//!    ([`registered`]), subject, the rule's claims, and for Kubernetes the pod. Claims are not read as JSON values before the
//!    signature is verified. The API server is asked after all other checks of a registration ([`Attestor::review`]): a
//!    request costs it more than the client.
//! 3. Several rules are tried in the order given; the first that permits the token is taken. If none does, the reason is that
//!    of the rule that came furthest: see [`error::Reasons`]. Rules whose keys need more than [`GRACE`] to be fetched are tried
//!    after the others.
//! 4. Whether an assertion was used before is decided in the transaction that registers the agent, by [`Attested::assertion`].
//! 5. The reason goes to log, metrics and audit trail. The client receives one text for all of them: see
//!    [`AttestationError::is_temporary`] for the one distinction.
//!
//! A key set is fetched over the network. A broker that must not open connections uses rules with `jwks`.

mod address;
mod error;
mod fetch;
mod jwk;
mod key_sets;
pub(crate) mod kubernetes;
mod registered;
mod rule_check;
mod signatures;
mod spiffe;
mod token;

use std::{borrow::Borrow, collections::VecDeque, sync::Arc, time::Duration};

use agentwrit_protocol::{Attestation, AttestationKind};
use agentwrit_verify::{Clock, UnixTime};
use moka::future::Cache;
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::Instant};

pub use self::kubernetes::KubernetesSetupError;
pub(crate) use self::{
    address::PrivateHosts,
    error::AttestationError,
    kubernetes::{KubernetesSettings, Pod, PodAgents, PodWatch, api_server_url},
    registered::MAX_LIFETIME,
};
use self::{
    address::SystemLookup,
    error::Reasons,
    fetch::Fetcher,
    key_sets::KeySets,
    kubernetes::{
        ClusterPods, KubernetesApi, Membership, OwnCluster, PodState, Reviewed, is_service_account, pod_of, review,
    },
    signatures::{CheckedKeys, Signatures},
    spiffe::SpiffeId,
    token::UnverifiedAssertion,
};
use crate::{
    domain::{Digest, TrustRule},
    telemetry::metrics::Metrics,
};

/// Time for which the keys of earlier rules are waited for, before later rules are tried.
const GRACE: Duration = Duration::from_millis(500);
/// Largest number of attestations that the API server reviews at once for this broker.
const MAX_REVIEWS: usize = 16;
/// Largest number of rejected assertions that are kept: 1 MiB.
const MAX_REFUSED: u64 = 10_000;
/// Time for which the API server does not review a rejected assertion again.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Judges tokens of other issuers by trust rules.
#[derive(Debug)]
pub(crate) struct Attestor {
    signatures: Signatures,
    kubernetes: Option<KubernetesApi>,
    /// Cluster whose pods are watched, with `AA_KUBERNETES_WATCH`.
    watched: Option<OwnCluster>,
    pods: Arc<ClusterPods>,
    /// Places for requests to the API server.
    reviews: Semaphore,
    /// Assertions that the API server rejected a short while ago. A rejected one is not used up: without these, its holder could
    /// have it reviewed in a loop.
    refused: Cache<[u8; 32], ()>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Workload that a rule permits to register an agent.
#[derive(Clone, Debug)]
pub(crate) struct Attested {
    /// Rule that permits it.
    pub(crate) rule: TrustRule,
    /// `sub` of the token.
    pub(crate) subject: String,
    /// All claims of the token.
    pub(crate) claims: Map<String, Value>,
    /// Digest of issuer and `jti`, or of what was signed: equal for every use of the assertion.
    pub(crate) assertion: Digest,
    /// `exp`: until then the use of the assertion must be known.
    pub(crate) expires_at: UnixTime,
    /// `iat`, rounded down to whole seconds.
    pub(crate) issued_at: Option<UnixTime>,
    /// Pod that the token is bound to.
    pub(crate) pod: Option<Pod>,
}

impl Attestor {
    /// Builds the attestor. Opens no connection. Settings of the API server that [`AttestationSettings::check`] rejects leave
    /// the broker without one: rules with `token_review` then permit nothing.
    pub(crate) fn new(settings: &AttestationSettings, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let kubernetes = settings.kubernetes.as_ref().and_then(|settings| KubernetesApi::open(settings).ok());
        metrics.attestations().know_reasons(AttestationError::ALL.map(AttestationError::reason));
        let fetcher = Fetcher::new(Arc::new(SystemLookup), settings.private_hosts.clone(), kubernetes.clone());
        let signatures = Signatures::new(KeySets::new(fetcher, Arc::clone(&clock), Arc::clone(&metrics)));
        let has_watch = settings.kubernetes.as_ref().is_some_and(|settings| settings.watch);
        let watched = kubernetes.clone().filter(|_| has_watch).map(|api| OwnCluster::new(api, signatures.clone()));
        let reviews = Semaphore::new(MAX_REVIEWS);
        let refused = Cache::builder().max_capacity(MAX_REFUSED).time_to_live(REFUSED_FOR).build();
        Self { signatures, kubernetes, watched, pods: Arc::default(), reviews, refused, clock, metrics }
    }

    /// Returns the issuer that an attestation names, to find the rules for it. Proves nothing.
    pub(crate) fn issuer(&self, attestation: &Attestation) -> Result<String, AttestationError> {
        let token = UnverifiedAssertion::parse(attestation.token.expose());
        token.and_then(|token| token.issuer(attestation.kind)).inspect_err(|error| self.count(*error))
    }

    /// Judges an attestation by rules of its kind and issuer; others are left out.
    pub(crate) async fn verify<R: Borrow<TrustRule> + Sync>(
        &self,
        rules: &[R],
        attestation: &Attestation,
    ) -> Result<Attested, AttestationError> {
        self.judge(rules, attestation).await.inspect_err(|error| self.count(*error))
    }

    async fn judge<R: Borrow<TrustRule>>(
        &self,
        rules: &[R],
        attestation: &Attestation,
    ) -> Result<Attested, AttestationError> {
        let token = UnverifiedAssertion::parse(attestation.token.expose())?;
        let issuer = token.issuer(attestation.kind)?;
        let mut reasons = Reasons::default();
        let mut checked = CheckedKeys::new(&self.signatures, &token);
        let rules = rules.iter().map(Borrow::<TrustRule>::borrow);
        let of_issuer = rules.filter(|rule| rule.kind == attestation.kind && rule.issuer == issuer);
        let deadline = Instant::now() + GRACE;
        let mut rules: VecDeque<(&TrustRule, Option<Instant>)> = of_issuer.map(|rule| (rule, Some(deadline))).collect();
        while let Some((rule, deadline)) = rules.pop_front() {
            let Some(verified) = checked.by(rule, deadline).await else {
                rules.push_back((rule, None));
                continue;
            };
            let attested = match verified {
                Ok(()) => self.permit(rule, &token).await,
                Err(error) => Err(error),
            };
            match attested {
                Ok(attested) => return Ok(attested),
                Err(error) => reasons.add(error),
            }
        }
        Err(reasons.most_telling())
    }

    /// Judges a token whose signature is verified by one rule.
    async fn permit(&self, rule: &TrustRule, token: &UnverifiedAssertion<'_>) -> Result<Attested, AttestationError> {
        let claims = token.claims()?;
        let expires_at = registered::check_times(&claims, self.clock.now())?;
        registered::check_audience(&claims, &rule.audience)?;
        let subject = registered::text(&claims, "sub")?.ok_or(AttestationError::MalformedClaims)?.to_owned();
        let assertion = token.digest(&rule.issuer, registered::text(&claims, "jti")?);
        let issued_at = registered::issued_at(&claims)?;
        let pod = match rule.kind {
            // Rules of its kind know the namespace, and whether the pod exists.
            AttestationKind::Oidc if is_service_account(&subject) => return Err(AttestationError::InvalidSubject),
            AttestationKind::Oidc => None,
            AttestationKind::Kubernetes if is_service_account(&subject) => pod_of(&claims)?,
            AttestationKind::Spiffe if SpiffeId::parse(&subject).is_some_and(|id| id.trust_domain() == rule.issuer) => {
                None
            }
            AttestationKind::Kubernetes | AttestationKind::Spiffe => return Err(AttestationError::InvalidSubject),
        };
        if rule.unmet_claim(&claims).is_some() {
            return Err(AttestationError::ClaimsMismatch);
        }
        if let Some(pod) = &pod {
            self.check_pod(rule, pod, issued_at).await?;
        }
        Ok(Attested { rule: rule.clone(), subject, claims, assertion, expires_at, issued_at, pod })
    }

    /// Checks that the pod of a token exists, as far as the watch of pods knows.
    async fn check_pod(
        &self,
        rule: &TrustRule,
        pod: &Pod,
        issued_at: Option<UnixTime>,
    ) -> Result<(), AttestationError> {
        let error = match self.pods.state(&pod.uid, issued_at) {
            PodState::Present | PodState::New => return Ok(()),
            PodState::Deleted => return Err(AttestationError::PodDeleted),
            PodState::Missing => AttestationError::PodDeleted,
            PodState::Unlisted => AttestationError::PodsNotListed,
        };
        // Lists concern the pods of the broker's own cluster.
        match &self.watched {
            Some(cluster) => match cluster.membership(rule).await {
                Membership::Own => Err(error),
                Membership::Unknown => Err(AttestationError::PodsNotListed),
                Membership::Other => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Lets the API server confirm a verified attestation whose rule requires it. At most [`MAX_REVIEWS`] wait at once.
    pub(crate) async fn review(&self, attested: &Attested, attestation: &Attestation) -> Result<(), AttestationError> {
        let Attested { rule, subject, pod, .. } = attested;
        if !rule.token_review {
            return Ok(());
        }
        if self.refused.contains_key(attested.assertion.as_bytes()) {
            return Err(AttestationError::TokenReviewRejected);
        }
        let (Some(api), Ok(_place)) = (&self.kubernetes, self.reviews.try_acquire()) else {
            return Err(AttestationError::TokenReviewUnavailable);
        };
        let token = attestation.token.expose();
        let reviewed = review(api, Reviewed { token, audience: &rule.audience, subject, pod: pod.as_ref() }).await;
        if reviewed == Err(AttestationError::TokenReviewRejected) {
            self.refused.insert(*attested.assertion.as_bytes(), ()).await;
        }
        reviewed
    }

    /// Returns whether the watch saw a pod deleted. To be asked again in the transaction of its registration, after which its agent
    /// is found.
    pub(crate) fn is_deleted(&self, pod: &Pod) -> bool {
        self.pods.is_deleted(&pod.uid)
    }

    /// Returns the watch of pods, if the settings ask for one. Pods that it saw deleted attest nothing.
    pub(crate) fn watch<A: PodAgents>(&self, agents: A) -> Option<PodWatch<A>> {
        let (cluster, pods) = (self.watched.clone()?, Arc::clone(&self.pods));
        Some(PodWatch::new(cluster, agents, pods, Arc::clone(&self.clock), Arc::clone(&self.metrics)))
    }

    fn count(&self, error: AttestationError) {
        self.metrics.attestations().rejected(error.reason());
    }
}

/// Settings of attestation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttestationSettings {
    /// `AA_ATTESTATION_PRIVATE_HOSTS`
    pub(crate) private_hosts: PrivateHosts,
    /// `AA_KUBERNETES_API_URL` and its settings; no API server if `None`.
    pub(crate) kubernetes: Option<KubernetesSettings>,
}

impl AttestationSettings {
    /// Checks the files of the API server at the start.
    ///
    /// # Errors
    ///
    /// [`KubernetesSetupError`] names the variable.
    pub(crate) fn check(&self) -> Result<(), KubernetesSetupError> {
        self.kubernetes.as_ref().map_or(Ok(()), |settings| KubernetesApi::open(settings).map(drop))
    }
}

#[cfg(test)]
mod tests;

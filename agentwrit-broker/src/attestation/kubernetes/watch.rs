//! Watch of a cluster's pods: the agents of a deleted pod are revoked at once.
//!
//! 1. Only metadata of pods is requested (`PartialObjectMetadata`): no specification, no status, no secrets.
//! 2. The watch begins with a list, and goes on from its `resourceVersion`; bookmarks keep that fresh. A connection that ends
//!    is continued from the last one. After `410 Gone`, and after anything that cannot be read, pods are listed again.
//! 3. A `DELETED` event revokes the agents of the pod's uid. A list revokes the agents of pods that it lacks: of those that
//!    agents of this cluster had before the list was requested, since the list is at least as new as its request.
//! 4. Agents may be of other clusters. A list concerns those whose trust rule is of this cluster ([`OwnCluster`]) and was not
//!    removed; where that is not known, lists revoke nothing. The uid of a deleted pod is of this cluster only.
//! 5. A tenant decides how large the metadata of its pods is: lists that would be too long are requested in smaller parts. The
//!    next list begins with twice their size.
//! 6. A revocation that fails is repeated before the next event is read. Nothing is skipped.
//! 7. Pods are listed again every 10 minutes: an agent that registered while its pod was being deleted is found then.
//! 8. All brokers of a database may watch: revoking twice changes nothing.

mod messages;

use std::{
    collections::HashSet,
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agentwrit_verify::{
    Clock,
    http_client::{Backoff, random_fraction},
};
use futures_util::{StreamExt as _, stream};
use reqwest::{Response, Url};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout, timeout_at},
};

use self::messages::{Event, Page, malformed};
use super::{api::KubernetesError, cluster::OwnCluster, cluster_pods::ClusterPods};
use crate::{
    domain::{TrustRule, TrustRuleId},
    telemetry::metrics::Metrics,
};

/// Pods in one part of a list; fewer if their metadata is larger than usual.
const PAGE: u32 = 500;
/// Longest part of a list in bytes. Metadata of a pod usually has 2 KiB. Its owner may make that 1.5 MiB, the size of an
/// object, and JSON writes some characters as six: one pod always fits.
const MAX_PAGE: usize = 16 * 1024 * 1024;
/// Longest event in bytes: it has one pod.
const MAX_EVENT: usize = MAX_PAGE;
/// Largest number of pods: more than any cluster runs.
const MAX_PODS: usize = 1_000_000;
/// Largest number of missing pods whose agents are revoked at once.
const REVOCATIONS: usize = 64;
/// Time limit for all parts of a list, and for the revocations that follow from it.
const LIST_TIMEOUT: Duration = Duration::from_secs(300);
/// Connections in a row that may end without an event, before pods are listed again.
const INTERRUPTIONS: u32 = 5;
/// Time after which the server ends a watch.
const WATCH_TIME: Duration = Duration::from_secs(240);
/// Time without any event or bookmark, which come every minute, after which a connection counts as cut.
const SILENCE: Duration = Duration::from_secs(180);
/// Interval between lists.
const LIST_INTERVAL: Duration = Duration::from_secs(600);
/// Delays between attempts.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30)).least_share(0.5);
/// Requests metadata only.
const ACCEPT_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const ACCEPT_EVENTS: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Agents that registered with the tokens of pods.
pub(crate) trait PodAgents: Send + Sync + 'static {
    /// Reason why agents were not read or not revoked.
    type Error: fmt::Display + Send + Sync;

    /// Returns the uids of pods whose agents hold live tokens, by the trust rule of these agents.
    fn pods(&self) -> impl Future<Output = Result<Vec<(TrustRule, Vec<String>)>, Self::Error>> + Send;

    /// Revokes the agents of a pod, or those that registered by one rule; returns their number.
    fn revoke(&self, uid: &str, rule: Option<&TrustRuleId>) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

/// Watch of the pods of one cluster.
#[derive(Debug)]
pub(crate) struct PodWatch<A> {
    cluster: OwnCluster,
    agents: A,
    pods: Arc<ClusterPods>,
    /// Pods in one part of the next list.
    limit: AtomicU32,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl<A: PodAgents> PodWatch<A> {
    pub(in crate::attestation) fn new(
        cluster: OwnCluster,
        agents: A,
        pods: Arc<ClusterPods>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { cluster, agents, pods, limit: AtomicU32::new(PAGE), clock, metrics }
    }

    /// Watches for as long as it is polled.
    pub(crate) async fn run(self) {
        let mut failures = 0;
        loop {
            let Err(error) = self.list_and_watch(&mut failures).await;
            self.metrics.attestations().set_watching(false);
            tracing::warn!(component = "attestation", %error, failures, "the watch of pods was interrupted; pods are listed again");
            sleep(RETRY.delay(failures, random_fraction())).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Lists pods and follows their changes, until an error makes another list necessary.
    async fn list_and_watch(&self, failures: &mut u32) -> Result<Infallible, KubernetesError> {
        loop {
            let mut version = timeout(LIST_TIMEOUT, self.list()).await.map_err(|_| KubernetesError::TimedOut)??;
            self.metrics.attestations().set_watching(true);
            let next_list = Instant::now() + LIST_INTERVAL;
            let mut interruptions = 0;
            while Instant::now() < next_list {
                let before = version.clone();
                let ended = self.follow(&mut version, next_list).await;
                if version != before {
                    (interruptions, *failures) = (0, 0);
                    continue_after(ended, u32::MAX)?;
                    continue;
                }
                continue_after(ended, INTERRUPTIONS.saturating_sub(interruptions))?;
                sleep(RETRY.delay(interruptions, random_fraction())).await;
                interruptions = interruptions.saturating_add(1);
            }
        }
    }

    /// Lists all pods, and revokes the agents of pods that are gone. Returns the version of the list.
    async fn list(&self) -> Result<String, KubernetesError> {
        let (known, requested_at) = (self.known_pods().await, self.clock.now());
        let (present, version) = self.present_pods().await?;
        let missing: Vec<(&TrustRuleId, &String)> = known
            .iter()
            .flat_map(|(rule, uids)| uids.iter().map(move |uid| (rule, uid)))
            .filter(|(_, uid)| !present.contains(*uid))
            .collect();
        for (_, uid) in &missing {
            self.pods.delete(uid);
        }
        self.pods.listed(present, requested_at);
        // Several at once: the store commits them together.
        stream::iter(missing).for_each_concurrent(REVOCATIONS, |(rule, uid)| self.revoke(uid, Some(rule))).await;
        Ok(version)
    }

    /// Returns the uids of all pods, and the version of the list.
    async fn present_pods(&self) -> Result<(HashSet<String>, String), KubernetesError> {
        let mut limit = self.limit.load(Ordering::Relaxed);
        loop {
            match self.pages(limit).await {
                // The list begins anew: all its parts have one limit.
                Err(error @ KubernetesError::TooLong { .. }) if limit > 1 => {
                    limit /= 2;
                    tracing::info!(component = "attestation", %error, limit, "pods are listed in smaller parts");
                }
                listed => {
                    self.limit.store(limit.saturating_mul(2).min(PAGE), Ordering::Relaxed);
                    return listed;
                }
            }
        }
    }

    async fn pages(&self, limit: u32) -> Result<(HashSet<String>, String), KubernetesError> {
        let (mut present, mut next) = (HashSet::new(), None);
        loop {
            let url = self.list_url(limit, next.as_deref())?;
            let mut response = self.cluster.api.open_stream(url, ACCEPT_LIST).await?;
            let body = super::api::body(&mut response, MAX_PAGE).await?;
            // A long part takes milliseconds, for which a worker of the runtime would serve nobody.
            let page =
                spawn_blocking(move || Page::parse(&body)).await.map_err(|error| malformed(&error.to_string()))??;
            present.extend(page.uids);
            if present.len() > MAX_PODS {
                return Err(malformed("too many pods"));
            }
            match page.next {
                Some(token) => next = Some(token),
                None => return Ok((present, page.version)),
            }
        }
    }

    /// Returns the pods of this cluster that have agents, by the rule of these. Read before the list is requested: see rule 3.
    async fn known_pods(&self) -> Vec<(TrustRuleId, Vec<String>)> {
        let mut attempts = 0;
        let pods = loop {
            match self.agents.pods().await {
                Ok(pods) => break pods,
                Err(error) => self.wait(&error, &mut attempts).await,
            }
        };
        let (rules, uids): (Vec<_>, Vec<_>) = pods.into_iter().unzip();
        let of_cluster = self.cluster.rules(&rules).await;
        let pods = rules.into_iter().map(|rule| rule.id).zip(uids);
        pods.filter(|(rule, _)| of_cluster.contains(rule)).collect()
    }

    /// Follows events from `version` on, which moves with them, until the server ends the watch or `until`.
    async fn follow(&self, version: &mut String, until: Instant) -> Result<(), KubernetesError> {
        let mut events = Events::new(self.cluster.api.open_stream(self.watch_url(version)?, ACCEPT_EVENTS).await?);
        loop {
            let event = match timeout_at(until, events.next()).await {
                Ok(event) => event?,
                Err(_) => return Ok(()),
            };
            match event {
                None => return Ok(()),
                Some(Event::Present { uid, version: next }) => {
                    if let Some(uid) = uid {
                        self.pods.add(uid);
                    }
                    *version = next;
                }
                Some(Event::Deleted { uid, version: next }) => {
                    self.pods.delete(&uid);
                    self.revoke(&uid, None).await;
                    *version = next;
                }
                Some(Event::Ended { reason }) => return Err(malformed(&reason)),
            }
        }
    }

    /// Revokes the agents of a pod, however long it takes.
    async fn revoke(&self, uid: &str, rule: Option<&TrustRuleId>) {
        let mut attempts = 0;
        let agents = loop {
            match self.agents.revoke(uid, rule).await {
                Ok(agents) => break agents,
                Err(error) => self.wait(&error, &mut attempts).await,
            }
        };
        if agents > 0 {
            self.metrics.attestations().agents_of_pod_revoked(agents);
            tracing::info!(component = "attestation", pod_uid = uid, agents, "agents of a deleted pod were revoked");
        }
    }

    async fn wait(&self, error: &A::Error, attempts: &mut u32) {
        tracing::warn!(component = "attestation", %error, "agents of deleted pods wait for the store");
        sleep(RETRY.delay(*attempts, random_fraction())).await;
        *attempts = attempts.saturating_add(1);
    }

    fn list_url(&self, limit: u32, next: Option<&str>) -> Result<Url, KubernetesError> {
        let mut url = self.cluster.api.url("api/v1/pods")?;
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(next) = next {
            url.query_pairs_mut().append_pair("continue", next);
        }
        Ok(url)
    }

    fn watch_url(&self, version: &str) -> Result<Url, KubernetesError> {
        let mut url = self.cluster.api.url("api/v1/pods")?;
        url.query_pairs_mut()
            .append_pair("watch", "true")
            .append_pair("allowWatchBookmarks", "true")
            .append_pair("resourceVersion", version)
            .append_pair("timeoutSeconds", &WATCH_TIME.as_secs().to_string());
        Ok(url)
    }
}

/// Returns an error after which pods have to be listed again. One of the connection, not of what came over it, leaves the
/// version good: `continuations` of these are allowed.
fn continue_after(ended: Result<(), KubernetesError>, continuations: u32) -> Result<(), KubernetesError> {
    match ended {
        Err(error @ (KubernetesError::Unreachable { .. } | KubernetesError::TimedOut)) if continuations > 0 => {
            tracing::info!(component = "attestation", %error, "the watch of pods is continued");
            Ok(())
        }
        ended => ended,
    }
}

/// Events of a watch: one JSON object in each line.
struct Events {
    response: Response,
    buffer: Vec<u8>,
}

impl Events {
    fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// Returns the next event; `None` when the server has ended the watch.
    async fn next(&mut self) -> Result<Option<Event>, KubernetesError> {
        let mut searched = 0;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=searched + end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    searched = 0;
                    continue;
                }
                return Event::parse(&line).map(Some);
            }
            searched = self.buffer.len();
            if searched > MAX_EVENT {
                return Err(KubernetesError::TooLong { limit: MAX_EVENT });
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await.map_err(|_| KubernetesError::TimedOut)?;
            let chunk = chunk.map_err(|error| super::api::unreachable(&error))?;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(KubernetesError::Unreachable { reason: String::from("cut within an event") }),
            }
        }
    }
}

#[cfg(test)]
mod tests;

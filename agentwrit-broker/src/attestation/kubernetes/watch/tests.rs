use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use agentwrit_protocol::{Attestation, AttestationKind, Secret};
use agentwrit_verify::{UnixTime, testing::ManualClock};
use identity_provider::{Algorithm, ApiServer, Body, HttpServer, IdentityProvider, Reply, Serves, SigningKey};
use serde_json::json;
use tokio::{
    sync::{Barrier, Notify},
    task::JoinHandle,
};

use super::*;
use crate::{
    attestation::{
        AttestationError, AttestationSettings, Attestor,
        kubernetes::{KubernetesSettings, PodState},
        tests as attestation,
    },
    domain::RuleKeys,
};

/// Issuer of the cluster that the fake API server belongs to.
const ISSUER: &str = "https://kubernetes.example";
const TIMEOUT: Duration = Duration::from_secs(30);

/// Agents in memory: their rule by the uid of their pod.
#[derive(Clone, Default)]
struct Agents {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    rules: BTreeMap<String, TrustRule>,
    /// Uids in calls of `revoke`.
    looked_at: Vec<String>,
    revoked: Vec<String>,
    /// Number of revocations that fail before one succeeds.
    failures: usize,
    /// Calls of `revoke` wait until so many of them have begun.
    together: Option<Arc<Barrier>>,
}

impl Agents {
    fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn register(&self, uid: &str, rule: TrustRule) {
        self.with(|state| drop(state.rules.insert(uid.into(), rule)));
    }

    /// Uids of the pods whose agents were not revoked.
    fn left(&self) -> Vec<String> {
        self.state.lock().unwrap().rules.keys().cloned().collect()
    }

    /// Waits until agents of exactly these pods were revoked, in this order.
    async fn revoked(&self, expected: &[&str]) {
        let wait = async {
            while self.state.lock().unwrap().revoked != expected {
                self.changed.notified().await;
            }
        };
        let waited = timeout(TIMEOUT, wait).await;
        assert!(waited.is_ok(), "revoked: {:?}, expected: {expected:?}", self.state.lock().unwrap().revoked);
    }
}

impl PodAgents for Agents {
    type Error = &'static str;

    async fn pods(&self) -> Result<Vec<(TrustRule, Vec<String>)>, Self::Error> {
        let rules = self.state.lock().unwrap().rules.clone();
        Ok(rules.into_iter().map(|(uid, rule)| (rule, vec![uid])).collect())
    }

    async fn revoke(&self, uid: &str, rule: Option<&TrustRuleId>) -> Result<u64, Self::Error> {
        let together = self.state.lock().unwrap().together.clone();
        if let Some(together) = together {
            together.wait().await;
        }
        let mut outcome = Ok(0);
        self.with(|state| {
            state.looked_at.push(uid.to_owned());
            if state.failures > 0 {
                state.failures -= 1;
                outcome = Err("the store is away");
            } else if state.rules.get(uid).is_some_and(|own| rule.is_none_or(|rule| *rule == own.id)) {
                state.rules.remove(uid);
                state.revoked.push(uid.to_owned());
                outcome = Ok(1);
            }
        });
        outcome
    }
}

/// Key that signs tokens of the fake API server's cluster.
fn own_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(Algorithm::EdDsa, "k"))
}

/// The broker's own token.
fn own_token() -> String {
    own_key().token(&json!({ "iss": ISSUER }))
}

/// Rule for tokens of an issuer that a key signed.
fn rule_with(name: &str, issuer: &str, keys: RuleKeys) -> TrustRule {
    attestation::rule_named(name, AttestationKind::Kubernetes, issuer, keys, &[])
}

/// Rule for this cluster.
fn own_rule() -> TrustRule {
    rule_with("own", ISSUER, attestation::own_set(&[own_key().jwk()]))
}

struct Cluster {
    server: ApiServer,
    agents: Agents,
    pods: Arc<ClusterPods>,
    metrics: Arc<Metrics>,
    attestor: Attestor,
    clock: ManualClock,
    _files: tempfile::TempDir,
    token_path: std::path::PathBuf,
    watch: Option<JoinHandle<()>>,
}

impl Cluster {
    fn new() -> Self {
        Self::at(None)
    }

    /// A cluster with another API server than the fake one.
    fn at(url: Option<&str>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let token_path = files.path().join("token");
        std::fs::write(&token_path, format!("{}\n", own_token())).unwrap();
        let server = ApiServer::start(&own_token());
        let api_url = crate::attestation::api_server_url(url.unwrap_or(&server.url())).unwrap();
        let ca_path = files.path().join("ca.crt");
        let settings = KubernetesSettings { api_url, token_path: token_path.clone(), ca_path, watch: true };
        let (agents, metrics) = (Agents::default(), Arc::new(Metrics::new()));
        let (clock, settings) = (ManualClock::new(UnixTime::from_seconds(1_795_248_000)), Some(settings));
        let settings = AttestationSettings { kubernetes: settings, ..AttestationSettings::default() };
        let attestor = Attestor::new(&settings, Arc::new(clock.clone()), Arc::clone(&metrics));
        let pods = Arc::clone(&attestor.pods);
        Self { server, agents, pods, metrics, attestor, clock, _files: files, token_path, watch: None }
    }

    fn watch(&mut self) {
        let watch = self.attestor.watch(self.agents.clone()).unwrap();
        self.watch = Some(tokio::spawn(watch.run()));
    }

    /// Waits for this many lists and watches.
    async fn reached(&self, lists: usize, watches: usize) {
        let wait = async {
            loop {
                let (now_lists, now_watches) = self.server.lists_and_watches();
                if now_lists >= lists && now_watches >= watches {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(TIMEOUT, wait).await;
        assert!(reached.is_ok(), "{:?} instead of {lists} lists, {watches} watches", self.server.lists_and_watches());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.end_watches(false);
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

#[tokio::test]
async fn revokes_agents_of_deleted_pod_and_rejects_its_tokens() {
    let mut cluster = Cluster::new();
    for uid in ["a", "b", "c"] {
        cluster.server.add_pod(uid);
        cluster.agents.register(uid, own_rule());
    }
    cluster.watch();
    cluster.reached(2, 1).await;
    cluster.server.add_pod("d");
    cluster.server.delete_pod("b");
    cluster.agents.revoked(&["b"]).await;
    assert!(cluster.pods.is_deleted("b") && !cluster.pods.is_deleted("a"));
    let metrics = cluster.metrics.encode();
    assert!(metrics.contains("agentwrit_pod_watch 1"), "{metrics}");
    // A pod without agents, and one whose agents registered by a rule of another issuer of the cluster.
    cluster.agents.register("d", TrustRule { issuer: "https://old-issuer.example".to_owned(), ..own_rule() });
    cluster.server.delete_pod("unknown");
    cluster.server.delete_pod("d");
    cluster.agents.revoked(&["b", "d"]).await;
    assert_eq!(cluster.server.lists_and_watches(), (2, 1), "two pages and one connection");
}

#[tokio::test]
async fn requests_metadata_with_bookmarks_from_version_of_list() {
    let mut cluster = Cluster::new();
    cluster.server.add_pod("a");
    cluster.watch();
    cluster.reached(1, 1).await;
    let requests = cluster.server.requests();
    assert_eq!(requests[0].target, "/api/v1/pods?limit=500");
    assert!(requests[0].header("accept").unwrap().contains("as=PartialObjectMetadataList"));
    assert_eq!(
        requests[1].target,
        "/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=2&timeoutSeconds=240"
    );
    assert!(requests[1].header("accept").unwrap().contains("as=PartialObjectMetadata;"));
}

#[tokio::test]
async fn list_revokes_agents_of_missing_pods_of_this_cluster_only() {
    let mut cluster = Cluster::new();
    for uid in ["a", "b", "c"] {
        cluster.server.add_pod(uid);
    }
    // Most installers give clusters one issuer: other keys, and an issuer that another cluster has alone.
    let keys = attestation::own_set(&[SigningKey::generate(Algorithm::EdDsa, "k").jwk()]);
    let other_keys = rule_with("other-keys", ISSUER, keys);
    let own_keys = || attestation::own_set(&[own_key().jwk()]);
    let other_issuer = rule_with("other-issuer", "https://other-cluster.example", own_keys());
    let oidc = TrustRule { kind: AttestationKind::Oidc, ..rule_with("oidc", ISSUER, own_keys()) };
    for (uid, rule) in [("a", own_rule()), ("gone", own_rule()), ("x", other_keys), ("y", other_issuer), ("z", oidc)] {
        cluster.agents.register(uid, rule);
    }
    cluster.watch();
    cluster.agents.revoked(&["gone"]).await;
    cluster.reached(2, 1).await;
    assert!(cluster.pods.is_deleted("gone") && !cluster.pods.is_deleted("x"));
    assert_eq!(cluster.agents.state.lock().unwrap().looked_at, ["gone"], "no transaction for pods of other clusters");
    assert_eq!(cluster.agents.left(), ["a", "x", "y", "z"]);
}

#[tokio::test]
async fn list_revokes_nothing_when_own_token_names_no_issuer() {
    let mut cluster = Cluster::new();
    std::fs::write(&cluster.token_path, "opaque-token").unwrap();
    cluster.server.rotate_token("opaque-token");
    cluster.agents.register("gone", own_rule());
    cluster.watch();
    cluster.reached(1, 1).await;
    assert_eq!(cluster.agents.left(), ["gone"]);
    // A deletion that is seen revokes all the same.
    cluster.server.delete_pod("gone");
    cluster.agents.revoked(&["gone"]).await;
}

#[tokio::test]
async fn list_revokes_by_key_set_at_url_once_it_is_reachable() {
    let mut cluster = Cluster::new();
    let provider = IdentityProvider::start([own_key()]);
    provider.serve(Serves::Status(500));
    cluster.agents.register("gone", rule_with("url", ISSUER, RuleKeys::Url(provider.keys_url())));
    cluster.watch();
    cluster.reached(1, 1).await;
    assert_eq!(cluster.agents.left(), ["gone"], "not known to be of this cluster");
    provider.publish([own_key()]);
    cluster.clock.advance(Duration::from_secs(60));
    cluster.server.expire();
    cluster.agents.revoked(&["gone"]).await;
}

#[tokio::test]
async fn agents_of_missing_pods_are_revoked_several_at_a_time() {
    let cluster = Cluster::new();
    let uids: Vec<String> = (0..REVOCATIONS).map(|number| number.to_string()).collect();
    for uid in &uids {
        cluster.agents.register(uid, own_rule());
    }
    cluster.agents.with(|state| state.together = Some(Arc::new(Barrier::new(REVOCATIONS))));
    let watch = cluster.attestor.watch(cluster.agents.clone()).unwrap();
    timeout(TIMEOUT, watch.list()).await.expect("none waits for another").unwrap();
    assert_eq!(cluster.agents.left(), Vec::<String>::new());
}

#[tokio::test]
async fn lists_in_smaller_parts_when_metadata_of_pods_is_large() {
    const PODS: usize = 11;
    // The annotations of one tenant: `<` is six bytes of JSON.
    let annotation = "\\u003c".repeat(256 * 1024);
    let server = HttpServer::start(move |request| {
        let number = |name: &str| {
            request.target.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.parse::<usize>().ok())
        };
        let (limit, from) = (number("limit=").unwrap(), number("continue=").unwrap_or(0));
        let to = PODS.min(from + limit);
        let items: Vec<String> = (from..to)
            .map(|uid| format!(r#"{{"metadata":{{"uid":"{uid}","annotations":{{"a":"{annotation}"}}}}}}"#))
            .collect();
        let next = if to < PODS { to.to_string() } else { String::new() };
        let body = format!(
            r#"{{"kind":"List","metadata":{{"resourceVersion":"9","continue":"{next}"}},"items":[{}]}}"#,
            items.join(",")
        );
        Reply { status: 200, headers: Vec::new(), body: Body::Full(body.into_bytes()) }
    });
    let cluster = Cluster::at(Some(&server.url()));
    let watch = cluster.attestor.watch(cluster.agents.clone()).unwrap();
    assert_eq!(watch.list().await, Ok("9".to_owned()));
    for uid in 0..PODS {
        assert_eq!(cluster.pods.state(&uid.to_string(), None), PodState::Present);
    }
    let limits: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert!(limits.contains(&"/api/v1/pods?limit=7&continue=7".to_owned()), "{limits:?}");
    // The next list does not begin from the largest parts again.
    assert_eq!(watch.list().await, Ok("9".to_owned()));
    assert_eq!(server.requests()[limits.len()].target, "/api/v1/pods?limit=14");
}

#[tokio::test]
async fn pods_of_list_and_of_events_are_present_and_others_missing() {
    let mut cluster = Cluster::new();
    cluster.server.add_pod("a");
    assert_eq!(cluster.pods.state("a", None), PodState::Unlisted);
    cluster.watch();
    cluster.reached(1, 1).await;
    cluster.agents.register("b", own_rule());
    cluster.server.add_pod("b");
    cluster.server.add_pod("c");
    cluster.server.delete_pod("b");
    cluster.agents.revoked(&["b"]).await;
    let states = ["a", "b", "c", "d"].map(|uid| cluster.pods.state(uid, None));
    assert_eq!(states, [PodState::Present, PodState::Deleted, PodState::Present, PodState::Missing]);
    // The next list lacks a pod whose deletion was not seen, and which has no agent.
    cluster.server.delete_pod_unseen("a");
    cluster.server.expire();
    cluster.reached(2, 2).await;
    assert!(cluster.pods.is_deleted("a"));
}

#[tokio::test]
async fn token_of_pod_that_list_lacks_is_rejected_unless_rule_is_of_another_cluster() {
    let mut cluster = Cluster::new();
    let other = SigningKey::generate(Algorithm::EdDsa, "k");
    let other_rule = rule_with("other", ISSUER, attestation::own_set(&[other.jwk()]));
    let now = cluster.clock.now().seconds();
    let verify = async |cluster: &Cluster, key: &SigningKey, rule: &TrustRule| {
        let claims = json!({
            "iss": ISSUER, "sub": "system:serviceaccount:prod:agent", "aud": rule.audience, "iat": now - 10, "exp": now + 600,
            "kubernetes.io": { "namespace": "prod", "pod": { "name": "agent", "uid": "gone" } },
        });
        let token = Secret::new(key.token(&claims));
        let attestation = Attestation { kind: AttestationKind::Kubernetes, token };
        cluster.attestor.verify(std::slice::from_ref(rule), &attestation).await.map(drop)
    };
    std::fs::remove_file(&cluster.token_path).unwrap();
    let unknown = Err(AttestationError::PodsNotListed);
    assert_eq!(verify(&cluster, own_key(), &own_rule()).await, unknown, "own token is missing");
    std::fs::write(&cluster.token_path, own_token()).unwrap();
    cluster.watch();
    cluster.reached(1, 1).await;
    let missing = Err(AttestationError::PodDeleted);
    assert_eq!(verify(&cluster, own_key(), &own_rule()).await, missing);
    assert_eq!(verify(&cluster, &other, &other_rule).await, Ok(()));
    // The cluster has a new key, which the broker's own token is not signed with.
    std::fs::write(&cluster.token_path, other.token(&json!({ "iss": ISSUER }))).unwrap();
    assert_eq!(verify(&cluster, own_key(), &own_rule()).await, missing, "known to be of this cluster");
}

#[tokio::test]
async fn lists_again_after_gone_and_finds_pod_deleted_meanwhile() {
    let mut cluster = Cluster::new();
    cluster.server.add_pod("a");
    cluster.agents.register("a", own_rule());
    cluster.watch();
    cluster.reached(1, 1).await;
    cluster.server.delete_pod_unseen("a");
    cluster.server.expire();
    cluster.agents.revoked(&["a"]).await;
    cluster.reached(2, 2).await;
}

#[tokio::test]
async fn continues_from_bookmark_after_cut_and_after_end() {
    let mut cluster = Cluster::new();
    cluster.server.add_pod("a");
    cluster.agents.register("a", own_rule());
    cluster.watch();
    for (watches, properly) in [(1, false), (2, true)] {
        cluster.reached(1, watches).await;
        cluster.server.bookmark();
        cluster.server.end_watches(properly);
    }
    cluster.reached(1, 3).await;
    cluster.server.delete_pod("a");
    cluster.agents.revoked(&["a"]).await;
    let targets: Vec<String> = cluster.server.requests().into_iter().skip(1).map(|request| request.target).collect();
    for (target, version) in targets.iter().zip([2, 3, 4]) {
        assert!(target.contains(&format!("resourceVersion={version}&")), "{target}");
    }
    assert_eq!(cluster.server.lists_and_watches(), (1, 3));
}

#[tokio::test]
async fn lists_again_after_garbage() {
    for garbage in
        ["{\"type\":\"ADDED\"}", "<html>", "{\"type\":\"NEW\",\"object\":{\"metadata\":{\"resourceVersion\":\"1\"}}}"]
    {
        let mut cluster = Cluster::new();
        cluster.server.add_pod("a");
        cluster.agents.register("a", own_rule());
        cluster.watch();
        cluster.reached(1, 1).await;
        cluster.server.send(garbage);
        cluster.reached(2, 2).await;
        cluster.server.delete_pod("a");
        cluster.agents.revoked(&["a"]).await;
    }
}

#[tokio::test]
async fn waits_for_api_server_that_fails_and_reads_own_token_again() {
    let mut cluster = Cluster::new();
    cluster.agents.register("gone", own_rule());
    cluster.server.fail(Some(500));
    cluster.watch();
    cluster.reached(1, 0).await;
    let token = own_key().token(&json!({ "iss": ISSUER, "jti": "2" }));
    cluster.server.rotate_token(&token);
    std::fs::write(&cluster.token_path, &token).unwrap();
    cluster.server.fail(None);
    cluster.agents.revoked(&["gone"]).await;
}

#[tokio::test]
async fn repeats_revocation_that_fails_before_next_event() {
    let mut cluster = Cluster::new();
    for uid in ["a", "b"] {
        cluster.server.add_pod(uid);
        cluster.agents.register(uid, own_rule());
    }
    cluster.watch();
    cluster.reached(1, 1).await;
    cluster.agents.with(|state| state.failures = 1);
    cluster.server.delete_pod("a");
    cluster.server.delete_pod("b");
    cluster.agents.revoked(&["a", "b"]).await;
}

#[test]
fn parses_events() {
    let event = |kind: &str, metadata: serde_json::Value| {
        Event::parse(json!({ "type": kind, "object": { "metadata": metadata } }).to_string().as_bytes())
    };
    let present = |uid: Option<&str>| Event::Present { uid: uid.map(str::to_owned), version: "7".into() };
    assert_eq!(
        event("ADDED", json!({ "uid": "a", "resourceVersion": "7", "labels": { "x": "y" } })),
        Ok(present(Some("a")))
    );
    assert_eq!(event("BOOKMARK", json!({ "resourceVersion": "7" })), Ok(present(None)));
    let deleted = Event::Deleted { uid: "a".into(), version: "8".into() };
    assert_eq!(event("DELETED", json!({ "uid": "a", "resourceVersion": "8" })), Ok(deleted));
    for (kind, metadata) in [
        ("DELETED", json!({ "resourceVersion": "8" })),
        ("ADDED", json!({ "resourceVersion": "8" })),
        ("DELETED", json!({ "uid": "", "resourceVersion": "8" })),
        ("DELETED", json!({ "uid": "a\u{2028}", "resourceVersion": "8" })),
        ("ADDED", json!({ "uid": "a" })),
        ("ADDED", json!({ "uid": "a", "resourceVersion": "8&watch=false" })),
        ("ADDED", json!(null)),
        ("added", json!({ "uid": "a", "resourceVersion": "8" })),
    ] {
        assert!(event(kind, metadata.clone()).is_err(), "{kind} {metadata}");
    }
}

#[test]
fn parses_pages_and_rejects_others() {
    let page = |next: serde_json::Value, items: serde_json::Value| {
        let metadata = json!({ "resourceVersion": "9", "continue": next });
        Page::parse(json!({ "kind": "List", "metadata": metadata, "items": items }).to_string().as_bytes())
    };
    let first = page(json!("token"), json!([{ "metadata": { "uid": "a" } }])).unwrap();
    assert_eq!(
        (first.uids, first.version, first.next),
        (vec!["a".to_owned()], "9".to_owned(), Some("token".to_owned()))
    );
    assert_eq!(page(json!(""), json!([])).unwrap().next, None);
    assert_eq!(page(json!(""), json!(null)).unwrap().uids.len(), 0);
    for items in [json!([{}]), json!([{ "metadata": {} }]), json!({})] {
        assert!(page(json!(""), items.clone()).is_err(), "{items}");
    }
}

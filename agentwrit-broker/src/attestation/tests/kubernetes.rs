//! Service accounts' tokens and their review by a fake API server.

use identity_provider::{ApiServer, Review};
use tempfile::TempDir;

use super::*;

const ACCOUNT: &str = "system:serviceaccount:prod:agent";
const UID: &str = "0d7c1b2e-0000-4000-8000-000000000001";

struct Cluster {
    test: Test,
    server: ApiServer,
    _files: TempDir,
    token_path: std::path::PathBuf,
}

impl Cluster {
    fn new() -> Self {
        Self::with(false)
    }

    /// A broker in the cluster, which watches its pods if told to.
    fn with(watch: bool) -> Self {
        let (files, server) = (tempfile::tempdir().unwrap(), ApiServer::start("own-token"));
        let token_path = files.path().join("token");
        std::fs::write(&token_path, "own-token").unwrap();
        let api_url = api_server_url(&server.url()).unwrap();
        let ca_path = files.path().join("ca.crt");
        let kubernetes = KubernetesSettings { api_url, token_path: token_path.clone(), ca_path, watch };
        let settings = AttestationSettings { kubernetes: Some(kubernetes), ..AttestationSettings::default() };
        settings.check().unwrap();
        Self { test: Test::with(&settings), server, _files: files, token_path }
    }

    fn rule(&self, token_review: bool) -> TrustRule {
        let keys = RuleKeys::Url(self.test.provider.keys_url());
        let claims = [("/kubernetes.io/namespace", equals("prod")), ("sub", equals(ACCOUNT))];
        let rule = rule(AttestationKind::Kubernetes, &self.test.provider.issuer(), keys, &claims);
        TrustRule { token_review, ..rule }
    }

    fn token(&self, changes: &Value) -> String {
        let own = json!({
            "namespace": "prod", "pod": { "name": "agent-0", "uid": UID }, "serviceaccount": { "name": "agent", "uid": "s" },
        });
        let mut claims = self.test.claims_with(&json!({ "sub": ACCOUNT, "kubernetes.io": own }));
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        // The API server's header has no `typ`.
        key(Algorithm::Rs256).token_with(&json!({ "alg": "RS256", "kid": "RS256" }), &claims)
    }

    async fn verify(&self, token_review: bool, changes: &Value) -> Result<Attested, AttestationError> {
        let rules = [self.rule(token_review)];
        self.test.verify_by(&rules, AttestationKind::Kubernetes, &self.token(changes)).await
    }

    async fn reviewed(&self, review: Review) -> Result<(), AttestationError> {
        self.server.review(review);
        let attested = self.verify(true, &json!({})).await?;
        self.test.attestor.review(&attested, &attestation(AttestationKind::Kubernetes, &self.token(&json!({})))).await
    }
}

fn confirmed() -> Value {
    let user = json!({ "username": ACCOUNT, "extra": { "authentication.kubernetes.io/pod-uid": [UID] } });
    json!({ "authenticated": true, "audiences": [AUDIENCE], "user": user })
}

#[tokio::test]
async fn accepts_projected_token_offline_and_names_its_pod() {
    let cluster = Cluster::new();
    let attested = cluster.verify(false, &json!({})).await.unwrap();
    let pod = Pod { namespace: "prod".into(), name: "agent-0".into(), uid: UID.into() };
    assert_eq!((attested.subject.as_str(), attested.pod), (ACCOUNT, Some(pod)));
    assert_eq!(cluster.server.requests().len(), 0);
}

#[tokio::test]
async fn rejects_subjects_that_are_no_service_accounts_and_other_namespaces() {
    let cluster = Cluster::new();
    for subject in ["system:node:n1", "agent", "system:serviceaccount:prod", "system:serviceaccount:prod:agent:x"] {
        let reason = cluster.verify(false, &json!({ "sub": subject })).await.unwrap_err();
        assert_eq!(reason, AttestationError::InvalidSubject, "{subject}");
    }
    let other = cluster.verify(false, &json!({ "sub": "system:serviceaccount:prod:other" })).await.unwrap_err();
    assert_eq!(other, AttestationError::ClaimsMismatch);
    let namespace = json!({ "kubernetes.io": { "namespace": "production" } });
    assert_eq!(cluster.verify(false, &namespace).await.unwrap_err(), AttestationError::ClaimsMismatch);
    let malformed = json!({ "kubernetes.io": { "namespace": "prod", "pod": { "name": "agent-0" } } });
    assert_eq!(cluster.verify(false, &malformed).await.unwrap_err(), AttestationError::MalformedClaims);
}

#[tokio::test]
async fn review_confirms_token_of_rules_audience() {
    let cluster = Cluster::new();
    assert_eq!(cluster.reviewed(Review::Status(confirmed())).await, Ok(()));
    let requests = cluster.server.requests();
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!((body["kind"].as_str(), &body["spec"]["audiences"]), (Some("TokenReview"), &json!([AUDIENCE])));
    assert_eq!(body["spec"]["token"], cluster.token(&json!({})));
    assert_eq!(requests[0].header("authorization"), Some("Bearer own-token"));
}

#[tokio::test]
async fn review_that_does_not_confirm_rejects() {
    for (name, value) in [
        ("authenticated", json!(false)),
        ("authenticated", json!(null)),
        ("audiences", json!(["https://kubernetes.default.svc"])),
        ("audiences", json!(null)),
        ("user", json!({ "username": "system:serviceaccount:prod:other" })),
        ("user", json!({ "username": ACCOUNT, "extra": { "authentication.kubernetes.io/pod-uid": ["other"] } })),
        ("user", json!(null)),
    ] {
        let mut status = confirmed();
        status[name] = value.clone();
        // A rejected assertion is not reviewed again at once.
        let cluster = Cluster::new();
        let reason = cluster.reviewed(Review::Status(status)).await.unwrap_err();
        let expected = match (name, value.is_null()) {
            // A member of the wrong type is no review.
            ("authenticated", true) => AttestationError::TokenReviewUnavailable,
            _ => AttestationError::TokenReviewRejected,
        };
        assert_eq!(reason, expected, "{name} {value}");
    }
}

#[tokio::test]
async fn token_that_api_server_rejected_is_not_reviewed_again_at_once() {
    let cluster = Cluster::new();
    for _ in 0..20 {
        let rejected = cluster.reviewed(Review::Status(json!({ "authenticated": false }))).await;
        assert_eq!(rejected, Err(AttestationError::TokenReviewRejected));
    }
    assert_eq!(cluster.server.requests().len(), 1);
    // A failure of the server is no judgement of the token.
    let cluster = Cluster::new();
    assert_eq!(cluster.reviewed(Review::Error(500)).await, Err(AttestationError::TokenReviewUnavailable));
    assert_eq!(cluster.reviewed(Review::Status(confirmed())).await, Ok(()));
}

#[tokio::test]
async fn rule_for_openid_accepts_no_service_account() {
    let cluster = Cluster::new();
    let keys = RuleKeys::Url(cluster.test.provider.keys_url());
    let rules = [rule(AttestationKind::Oidc, &cluster.test.provider.issuer(), keys, &[("sub", equals(ACCOUNT))])];
    let verified = cluster.test.verify_by(&rules, AttestationKind::Oidc, &cluster.token(&json!({}))).await;
    assert_eq!(verified.map(|attested| attested.subject), Err(AttestationError::InvalidSubject));
}

#[tokio::test]
async fn pods_of_rule_whose_cluster_is_not_known_register_only_once_listed() {
    let cluster = Cluster::with(true);
    let own = cluster.test.attestor.watched.as_ref().unwrap();
    let rule = cluster.rule(false);
    let verified = async || cluster.verify(false, &json!({})).await.map(|attested| attested.subject);
    // `own-token` is no token of any cluster; then there is none.
    assert_eq!(own.membership(&rule).await, Membership::Unknown);
    assert_eq!(verified().await, Err(AttestationError::PodsNotListed));
    std::fs::remove_file(&cluster.token_path).unwrap();
    assert_eq!(verified().await, Err(AttestationError::PodsNotListed));
    // Another cluster: its pods are not in the lists.
    let token = |issuer: &str| {
        key(Algorithm::Rs256).token(&cluster.test.claims_with(&json!({ "iss": issuer, "sub": ACCOUNT })))
    };
    std::fs::write(&cluster.token_path, token("https://other.example")).unwrap();
    assert_eq!(own.membership(&rule).await, Membership::Other);
    assert_eq!(verified().await, Ok(ACCOUNT.to_owned()));
    // This cluster, also once that can't be proven again.
    std::fs::write(&cluster.token_path, token(&cluster.test.provider.issuer())).unwrap();
    assert_eq!(own.membership(&rule).await, Membership::Own);
    std::fs::remove_file(&cluster.token_path).unwrap();
    assert_eq!(own.membership(&rule).await, Membership::Own);
    assert_eq!(verified().await, Err(AttestationError::PodsNotListed));
}

#[tokio::test]
async fn review_fails_closed_when_server_fails_is_silent_or_sends_garbage() {
    let cluster = Cluster::new();
    for review in [
        Review::Error(401),
        Review::Error(403),
        Review::Error(500),
        Review::Error(302),
        Review::Text("<html>".to_owned()),
        Review::Text("{}".to_owned()),
        Review::Text(json!({ "kind": "TokenReview", "status": null }).to_string()),
        Review::Text(" ".repeat(100_000)),
        Review::Nothing,
    ] {
        let reason = cluster.reviewed(review.clone()).await.unwrap_err();
        assert_eq!(reason, AttestationError::TokenReviewUnavailable, "{review:?}");
        assert!(reason.is_temporary());
    }
}

#[tokio::test]
async fn review_without_api_server_fails_closed() {
    let (cluster, test) = (Cluster::new(), Test::new());
    let rule = TrustRule { keys: RuleKeys::Url(cluster.test.provider.keys_url()), ..cluster.rule(true) };
    let token = cluster.token(&json!({}));
    let attested = test.verify_by(&[rule], AttestationKind::Kubernetes, &token).await.unwrap();
    let reviewed = test.attestor.review(&attested, &attestation(AttestationKind::Kubernetes, &token)).await;
    assert_eq!(reviewed, Err(AttestationError::TokenReviewUnavailable));
}

#[tokio::test]
async fn verification_sends_no_token_to_api_server() {
    let cluster = Cluster::new();
    cluster.server.review(Review::Status(confirmed()));
    assert!(cluster.verify(true, &json!({ "aud": "https://other.example" })).await.is_err());
    assert!(cluster.verify(true, &json!({})).await.is_ok());
    assert_eq!(cluster.server.requests().len(), 0);
}

#[tokio::test]
async fn api_server_receives_sixteen_tokens_at_once() {
    let cluster = Cluster::new();
    cluster.server.review(Review::Nothing);
    let attested = cluster.verify(true, &json!({})).await.unwrap();
    let presented = attestation(AttestationKind::Kubernetes, &cluster.token(&json!({})));
    let review = || cluster.test.attestor.review(&attested, &presented);
    let mut waiting: Vec<_> = (0..MAX_REVIEWS).map(|_| Box::pin(review())).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one).is_pending());
    }
    cluster.server.review(Review::Status(confirmed()));
    let beyond = futures_util::poll!(Box::pin(review()));
    assert_eq!(beyond, std::task::Poll::Ready(Err(AttestationError::TokenReviewUnavailable)));
    drop(waiting);
    assert_eq!(review().await, Ok(()), "the places are free again");
}

#[tokio::test]
async fn own_token_is_read_again_for_each_request() {
    let cluster = Cluster::new();
    cluster.server.rotate_token("replaced");
    assert_eq!(cluster.reviewed(Review::Status(confirmed())).await, Err(AttestationError::TokenReviewUnavailable));
    std::fs::write(&cluster.token_path, "replaced\n").unwrap();
    assert_eq!(cluster.reviewed(Review::Status(confirmed())).await, Ok(()));
    std::fs::remove_file(&cluster.token_path).unwrap();
    assert_eq!(cluster.reviewed(Review::Status(confirmed())).await, Err(AttestationError::TokenReviewUnavailable));
}

#[tokio::test]
async fn key_set_below_api_servers_url_is_requested_with_own_token() {
    let cluster = Cluster::new();
    // The fake server has no keys: the request is what matters.
    let keys = RuleKeys::Url(format!("{}/openid/v1/jwks", cluster.server.url()));
    let rules = [TrustRule { keys, ..cluster.rule(false) }];
    let token = cluster.token(&json!({}));
    let reason = cluster.test.verify_by(&rules, AttestationKind::Kubernetes, &token).await.unwrap_err();
    assert_eq!(reason, AttestationError::KeySetUnavailable);
    let request = &cluster.server.requests()[0];
    assert_eq!((request.path(), request.header("authorization")), ("/openid/v1/jwks", Some("Bearer own-token")));
    // Other hosts never receive the token.
    assert!(cluster.verify(false, &json!({})).await.is_ok());
    assert_eq!(cluster.server.requests().len(), 1);
}

#[test]
fn files_of_api_server_are_checked_at_start() {
    let files = tempfile::tempdir().unwrap();
    let (token_path, ca_path) = (files.path().join("token"), files.path().join("ca.crt"));
    let check = || {
        let api_url = api_server_url("https://127.0.0.1:6443").unwrap();
        let (token_path, ca_path) = (token_path.clone(), ca_path.clone());
        let kubernetes = Some(KubernetesSettings { api_url, token_path, ca_path, watch: false });
        AttestationSettings { kubernetes, ..AttestationSettings::default() }.check().map_err(|error| error.variable)
    };
    assert_eq!(check(), Err("AA_KUBERNETES_CA_PATH"));
    std::fs::write(&ca_path, "no certificate").unwrap();
    assert_eq!(check(), Err("AA_KUBERNETES_CA_PATH"));
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&ca_path, ca.cert.pem()).unwrap();
    assert_eq!(check(), Err("AA_KUBERNETES_TOKEN_PATH"));
    std::fs::write(&token_path, "two words").unwrap();
    assert_eq!(check(), Err("AA_KUBERNETES_TOKEN_PATH"));
    std::fs::write(&token_path, "token\n").unwrap();
    assert_eq!(check(), Ok(()));
}

#[test]
fn urls_of_api_servers_end_in_slash_and_others_are_rejected() {
    for (text, expected) in [
        ("https://kubernetes.default.svc", "https://kubernetes.default.svc/"),
        ("https://rancher.example/k8s/clusters/c-1/", "https://rancher.example/k8s/clusters/c-1/"),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001/"),
    ] {
        assert_eq!(api_server_url(text).unwrap().as_str(), expected);
    }
    for text in
        ["http://kubernetes.default.svc", "https://user@host", "https://host/?x", "https://host/#x", "host:443", ""]
    {
        assert_eq!(api_server_url(text), None, "{text}");
    }
}

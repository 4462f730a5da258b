//! A token that is bound to its agent's key is of no use to a thief, at services and at the broker (RFC 9449).

use std::{convert::Infallible, sync::Arc, time::Duration};

use agentwrit_client::{Agent, AuthorizeLayer, Client, Origins, ProofRetryPolicy};
use agentwrit_e2e::{ADMIN_SECRET, Broker, DpopAgent, ProtectedService};
use http::{Request, Response};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt, retry::RetryLayer, service_fn};

const SCOPE: &str = "read:records:*";

struct Site {
    broker: Broker,
    admin: String,
    service: ProtectedService,
    http: reqwest::Client,
}

/// Status of a response, its challenges and its nonce.
#[derive(Debug)]
struct Outcome {
    status: u16,
    challenges: String,
    nonce: Option<String>,
}

impl Outcome {
    #[track_caller]
    fn is_rejected_for(&self, error: &str) {
        assert_eq!(self.status, 401, "{self:?}");
        assert!(self.challenges.contains(&format!(r#"DPoP error="{error}""#)), "{self:?}");
    }
}

impl Site {
    async fn start() -> Self {
        let broker = Broker::start().await;
        let admin = broker.admin_token().await;
        let service = ProtectedService::start_without_reports(&broker.url, &[]).await;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { broker, admin, service, http }
    }

    async fn agent(&self, bound: bool) -> DpopAgent {
        let launch = json!({"allowed_scope": [SCOPE], "sender_constrained": bound});
        DpopAgent::register(&self.broker, &self.admin, "task-1", launch).await
    }

    /// URL of a record, as clients of the service name it.
    fn url(&self) -> String {
        format!("{}/records/7", self.service.url)
    }

    async fn present(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Outcome {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.service.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let text = |name: &str| -> Vec<String> {
            response.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        Outcome {
            status: response.status().as_u16(),
            challenges: text("www-authenticate").join(", "),
            nonce: text("dpop-nonce").pop(),
        }
    }

    /// Presents a token and a proof, in the scheme of bound tokens.
    async fn present_proof(&self, token: &str, proof: &str) -> Outcome {
        let authorization = format!("DPoP {token}");
        self.present("GET", "/records/7", &[("authorization", &authorization), ("dpop", proof)]).await
    }

    /// Returns the outcome of a request of the agent, and the proof that was judged at last.
    async fn read(&self, agent: &DpopAgent) -> (Outcome, String) {
        let proof = agent.proof("GET", &self.url(), None);
        let outcome = self.present_proof(&agent.token, &proof).await;
        match &outcome.nonce {
            Some(nonce) => {
                let proof = agent.proof("GET", &self.url(), Some(nonce));
                (self.present_proof(&agent.token, &proof).await, proof)
            }
            None => (outcome, proof),
        }
    }

    /// Nonce that the service demands for some seconds after its start.
    async fn nonce(&self, agent: &DpopAgent) -> Option<String> {
        self.present_proof(&agent.token, &agent.proof("GET", &self.url(), None)).await.nonce
    }
}

#[tokio::test]
async fn rejects_stolen_token_without_its_key() {
    let site = Site::start().await;
    let (owner, thief) = (site.agent(true).await, site.agent(true).await);
    let (accepted, captured) = site.read(&owner).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    assert_eq!(site.read(&thief).await.0.status, 200, "the thief has a key and a token of its own");

    let (bearer, dpop) = (format!("Bearer {}", owner.token), format!("DPoP {}", owner.token));
    let as_bearer = [("authorization", &*bearer), ("dpop", &*captured)];
    site.present("GET", "/records/7", &as_bearer[..1]).await.is_rejected_for("invalid_token");
    assert_eq!(site.present("GET", "/records/7", &as_bearer).await.status, 401);
    assert_eq!(site.present("GET", "/records/7", &[("authorization", &*dpop)]).await.status, 401);
    site.read(&thief.with_token(&owner.token)).await.0.is_rejected_for("invalid_dpop_proof");
    // A proof of the owner for another token of the owner.
    let another = site.agent(true).await;
    let nonce = site.nonce(&owner).await;
    let proof = owner.proof_of(&another.token, "GET", &site.url(), nonce.as_deref());
    site.present_proof(&owner.token, &proof).await.is_rejected_for("invalid_dpop_proof");
    assert_eq!(site.read(&owner).await.0.status, 200);
}

#[tokio::test]
async fn rejects_captured_proof_for_any_other_request() {
    let site = Site::start().await;
    let owner = site.agent(true).await;
    let nonce = site.nonce(&owner).await;
    let captured = owner.proof("GET", &site.url(), nonce.as_deref());
    let dpop = format!("DPoP {}", owner.token);
    let headers = [("authorization", &*dpop), ("dpop", &*captured)];
    for (method, path) in
        [("POST", "/records/7"), ("HEAD", "/records/7"), ("GET", "/records/8"), ("GET", "/records/7/")]
    {
        let outcome = site.present(method, path, &headers).await;
        assert!(matches!(outcome.status, 401 | 404 | 405), "{method} {path}: {outcome:?}");
    }
    let twice = [("authorization", &*dpop), ("dpop", &*captured), ("dpop", &*captured)];
    site.present("GET", "/records/7", &twice).await.is_rejected_for("invalid_dpop_proof");
    assert_eq!(site.present("GET", "/records/7?page=2", &headers).await.status, 200, "a query is not part of it");
    site.present("GET", "/records/7", &headers).await.is_rejected_for("invalid_dpop_proof");
}

#[tokio::test]
async fn rejects_replay_after_restart_of_service() {
    let mut site = Site::start().await;
    let owner = site.agent(true).await;
    let (accepted, captured) = site.read(&owner).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    let external_url = site.service.url.clone();
    let after = ProtectedService::start_without_reports(&site.broker.url, &["--external-url", &external_url]).await;
    std::mem::replace(&mut site.service, after).leave().await;

    // A nonce is demanded, and only the owner's key can sign it.
    site.present_proof(&owner.token, &captured).await.is_rejected_for("use_dpop_nonce");
    let url = format!("{external_url}/records/7");
    let nonce = site.present_proof(&owner.token, &owner.proof("GET", &url, None)).await.nonce;
    let fresh = owner.proof("GET", &url, nonce.as_deref());
    assert_eq!(site.present_proof(&owner.token, &fresh).await.status, 200);
    site.present_proof(&owner.token, &fresh).await.is_rejected_for("invalid_dpop_proof");
    assert_eq!(site.present_proof(&owner.token, &captured).await.status, 401);
}

#[tokio::test]
async fn delegated_token_is_of_use_to_delegate_only() {
    let site = Site::start().await;
    let (delegator, delegate) = (site.agent(true).await, site.agent(true).await);
    let body = json!({"delegate_to": delegate.id, "scope": ["read:records:7"], "ttl": 60});
    let delegated = delegator.send(&site.broker, "/v1/delegate", Some(&body)).await.json();
    let token = delegated["access_token"].as_str().unwrap();
    site.read(&delegator.with_token(token)).await.0.is_rejected_for("invalid_dpop_proof");
    assert_eq!(site.service.status_for(token).await, 401);
    assert_eq!(site.read(&delegate.with_token(token)).await.0.status, 200);
}

#[tokio::test]
async fn service_takes_unbound_token_in_its_own_scheme_only() {
    let site = Site::start().await;
    let agent = site.agent(false).await;
    assert_eq!(site.service.status_for(&agent.token).await, 200);
    site.read(&agent).await.0.is_rejected_for("invalid_token");
}

/// Registers an agent with a bound token by the client.
async fn register(site: &Site, task: &str) -> Agent {
    let client = Client::new(&site.broker.url).unwrap();
    let admin = client.admin(ADMIN_SECRET).unwrap();
    let policy = agentwrit_client::NewLaunchToken::new("a test", [SCOPE]).unwrap().sender_constrained();
    let launch_token = admin.create_launch_token(&policy).await.unwrap();
    assert!(launch_token.sender_constrained());
    let registration = agentwrit_client::Registration::new("orch", task, [SCOPE]).unwrap();
    client.register(launch_token.token(), &registration).await.unwrap()
}

/// Reads a record by the client's tower layer.
async fn status_by_layer(site: &Site, agent: &Agent) -> u16 {
    let http = Arc::new(site.http.clone());
    let network = service_fn(move |request: Request<&'static str>| {
        let http = Arc::clone(&http);
        async move {
            let (parts, body) = request.into_parts();
            let sent = http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send();
            let sent = sent.await.unwrap();
            let mut response = Response::new(());
            *response.status_mut() = sent.status();
            *response.headers_mut() = sent.headers().clone();
            Ok::<_, Infallible>(response)
        }
    });
    let layer = AuthorizeLayer::new(agent.clone(), Origins::new([&site.service.url]).unwrap());
    let client = ServiceBuilder::new().layer(RetryLayer::new(ProofRetryPolicy::new())).layer(layer).service(network);
    client.oneshot(Request::get(site.url()).body("").unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn client_signs_for_service_and_broker() {
    let site = Site::start().await;
    let (delegator, delegate) = (register(&site, "task-1").await, register(&site, "task-2").await);
    assert!(delegator.is_bound());
    for _ in 0..2 {
        assert_eq!(status_by_layer(&site, &delegator).await, 200);
    }
    delegator.renew().await.unwrap();
    assert_eq!(status_by_layer(&site, &delegator).await, 200);
    let delegated = delegator.delegate(delegate.id(), ["read:records:7"], Duration::from_secs(60)).await.unwrap();
    assert!(delegated.is_bound() && delegator.accept(delegated.token().clone()).is_err());
    let accepted = delegate.accept(delegated.token().clone()).unwrap();
    assert_eq!(status_by_layer(&site, &accepted).await, 200);
    delegator.release().await.unwrap();
    assert_eq!(delegator.renew().await.unwrap_err().status(), Some(401));
}

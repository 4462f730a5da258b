//! B4: each app's ceiling binds its own agents, also in what another app's agent delegates to them.

use agentwrit_e2e::{Agent, AppCredentials, Broker};
use http::Method;
use serde_json::json;

/// Two apps, with an agent each.
struct Two {
    broker: Broker,
    admin: String,
    alpha: AppCredentials,
    beta: AppCredentials,
    of_alpha: Agent,
    of_beta: Agent,
}

/// Alpha may `read:data:x`; beta may that too, and `write:data:*`.
async fn two_apps() -> Two {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let alpha = broker.create_app(&admin, "alpha", &["read:data:x"]).await;
    let beta = broker.create_app(&admin, "beta", &["read:data:x", "write:data:*"]).await;
    let launch = |scopes: &[&str]| json!({"allowed_scope": scopes, "max_ttl": 600});
    let of_alpha = broker.enrol(&broker.app_token(&alpha).await, "task-a", launch(&["read:data:x"])).await;
    let scopes = ["read:data:x", "write:data:secret"];
    let of_beta = broker.enrol(&broker.app_token(&beta).await, "task-b", launch(&scopes)).await;
    Two { broker, admin, alpha, beta, of_alpha, of_beta }
}

impl Two {
    /// Suspends, resumes or deregisters an app.
    async fn change(&self, app: &AppCredentials, action: &str) {
        let path = format!("/v1/admin/apps/{}", app.app_id);
        let request = match action {
            "deregister" => self.broker.request(Method::DELETE, &path),
            action => self.broker.post(&format!("{path}/{action}")),
        };
        assert_eq!(request.bearer(&self.admin).await.status, 200, "{action}");
    }
}

const BEYOND: &str = "requested scopes exceed app ceiling";

#[tokio::test]
async fn rejects_delegation_beyond_ceiling_of_delegates_app() {
    let two = two_apps().await;
    let beyond = two.broker.delegate(&two.of_beta.token, &two.of_alpha, &["write:data:secret"]).await;
    beyond.refused(403, "scope_violation", BEYOND);
    two.broker.delegated(&two.of_beta.token, &two.of_alpha, &["read:data:x"]).await;
}

#[tokio::test]
async fn rejects_renewal_of_delegated_token_when_delegates_app_is_stopped_or_narrowed() {
    for action in ["deregister", "suspend"] {
        let two = two_apps().await;
        let handed = two.broker.delegated(&two.of_beta.token, &two.of_alpha, &["read:data:x"]).await;
        two.change(&two.alpha, action).await;
        two.broker.renew(&handed).await.refused(403, "scope_violation", BEYOND);
        two.broker.renew(&two.of_alpha.token).await.refused(403, "scope_violation", BEYOND);
    }
    let two = two_apps().await;
    let handed = two.broker.delegated(&two.of_beta.token, &two.of_alpha, &["read:data:x"]).await;
    let narrower = json!({"scopes": ["read:data:other"]});
    let path = format!("/v1/admin/apps/{}", two.alpha.app_id);
    assert_eq!(two.broker.request(Method::PUT, &path).bearer(&two.admin).json(&narrower).await.status, 200);
    two.broker.renew(&handed).await.refused(403, "scope_violation", BEYOND);
}

#[tokio::test]
async fn rejects_delegation_to_and_by_agent_of_stopped_app() {
    for action in ["deregister", "suspend"] {
        let two = two_apps().await;
        let handed = two.broker.delegated(&two.of_beta.token, &two.of_alpha, &["read:data:x"]).await;
        two.change(&two.alpha, action).await;
        let scopes = ["read:data:x"];
        let to_it = two.broker.delegate(&two.of_beta.token, &two.of_alpha, &scopes).await;
        to_it.refused(403, "scope_violation", BEYOND);
        // The token came from an app that is active; the agent that holds it does not belong to one.
        let by_it = two.broker.delegate(&handed, &two.of_beta, &scopes).await;
        by_it.refused(403, "scope_violation", BEYOND);
    }
}

#[tokio::test]
async fn rejects_renewal_when_app_of_delegator_in_chain_is_stopped() {
    let two = two_apps().await;
    let scopes = ["read:data:x"];
    let handed = two.broker.delegated(&two.of_beta.token, &two.of_alpha, &scopes).await;
    let back = two.broker.delegated(&handed, &two.of_beta, &scopes).await;
    two.change(&two.alpha, "suspend").await;
    two.broker.renew(&back).await.refused(403, "scope_violation", BEYOND);
    two.change(&two.alpha, "resume").await;
    two.broker.renewed(&back).await;
    two.change(&two.beta, "suspend").await;
    two.broker.renew(&handed).await.refused(403, "scope_violation", BEYOND);
}

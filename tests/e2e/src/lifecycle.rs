//! Operations on agents and tokens after the first login.

use serde_json::{Value, json};

use crate::{Broker, Registration, Response, payload};

/// An agent, with the token that it holds.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its SPIFFE id.
    pub id: String,
    /// Its token.
    pub token: String,
}

impl Broker {
    /// A new agent for a task, by a launch token of the caller that `bearer` authenticates. `launch` is the launch token's body;
    /// the agent asks for all of its `allowed_scope`.
    pub async fn enrol(&self, bearer: &str, task: &str, launch: Value) -> Agent {
        let answer = self.try_enrol(bearer, task, launch).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let body = answer.json();
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Agent { id: text("agent_id"), token: text("access_token") }
    }

    /// As [`Broker::enrol`], with the answer to the registration.
    pub async fn try_enrol(&self, bearer: &str, task: &str, mut launch: Value) -> Response {
        launch["agent_name"] = json!("a test");
        let issued = self.post(launch_path(bearer)).bearer(bearer).json(&launch).await;
        assert_eq!(issued.status, 201, "{}", String::from_utf8_lossy(&issued.body));
        let issued = issued.json();
        let registration = Registration::new(issued["launch_token"].as_str().unwrap(), &self.nonce().await, &[])
            .with("task_id", json!(task))
            .with("requested_scope", launch["allowed_scope"].clone());
        self.post("/v1/register").json(&registration.0).await
    }

    /// `POST /v1/token/renew`
    pub async fn renew(&self, token: &str) -> Response {
        self.post("/v1/token/renew").bearer(token).await
    }

    /// The token that a renewal gives.
    pub async fn renewed(&self, token: &str) -> String {
        access_token(&self.renew(token).await)
    }

    /// `POST /v1/token/release`
    pub async fn release(&self, token: &str) -> Response {
        self.post("/v1/token/release").bearer(token).await
    }

    /// `POST /v1/delegate`, for as long as the delegator's token lives.
    pub async fn delegate(&self, token: &str, to: &Agent, scopes: &[&str]) -> Response {
        let body = json!({"delegate_to": to.id, "scope": scopes, "ttl": 86400});
        self.post("/v1/delegate").bearer(token).json(&body).await
    }

    /// The token that a delegation gives.
    pub async fn delegated(&self, token: &str, to: &Agent, scopes: &[&str]) -> String {
        access_token(&self.delegate(token, to, scopes).await)
    }

    /// `POST /v1/revoke`
    pub async fn revoke(&self, admin: &str, level: &str, target: &str) -> Response {
        self.post("/v1/revoke").bearer(admin).json(&json!({"level": level, "target": target})).await
    }

    /// Revokes what is known, and gives how many live tokens that killed.
    pub async fn revoked(&self, admin: &str, level: &str, target: &str) -> u64 {
        let expected =
            json!({"revoked": true, "level": level, "target": target, "count": "$uint", "cursor": "$cursor"});
        self.revoke(admin, level, target).await.expect(200, expected)["count"].as_u64().unwrap()
    }

    /// Returns true if the broker accepts the token, in validation and as a bearer.
    pub async fn accepts(&self, token: &str) -> bool {
        let validated = self.post("/v1/token/validate").json(&json!({"token": token})).await.json();
        // Only the operator holds the scope of this endpoint: a valid token is 403 there, an ended one 401.
        let presented = self.get("/v1/admin/revocations").bearer(token).await.status;
        let valid = validated["valid"].as_bool().unwrap();
        assert_eq!(presented != 401, valid, "validation and presentation disagree: {presented}, {validated}");
        valid
    }

    /// The audit events that a query selects, all pages.
    pub async fn events(&self, admin: &str, query: &str) -> Vec<Value> {
        let (mut events, mut cursor) = (Vec::new(), String::from("0"));
        loop {
            let path = format!("/v1/audit/events?limit=1000&cursor={cursor}&{query}");
            let page = self.get(path.trim_end_matches('&')).bearer(admin).await;
            assert_eq!(page.status, 200, "{path}: {}", String::from_utf8_lossy(&page.body));
            let page = page.json();
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return events,
            }
        }
    }
}

/// The `jti` of a token.
#[must_use]
pub fn jti(token: &str) -> String {
    payload(token)["jti"].as_str().unwrap().to_owned()
}

#[track_caller]
fn access_token(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{answer:?}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn launch_path(bearer: &str) -> &'static str {
    if payload(bearer)["sub"] == "admin" { "/v1/admin/launch-tokens" } else { "/v1/app/launch-tokens" }
}

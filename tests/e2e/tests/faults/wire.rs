//! Requests whose other end may vanish at any moment, and numbers that repeat.

use std::time::Duration;

use agentwrit_e2e::{Broker, Registration};
use serde_json::{Value, json};

/// Body of a response; none when the broker ended first, and the outcome is unknown.
pub(crate) type Heard = Option<(u16, Value)>;

/// A launch token, and what the trail calls it.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    token: String,
    pub(crate) id: String,
}

/// A connection pool of its own to one broker.
#[derive(Clone)]
pub(crate) struct Wire {
    http: reqwest::Client,
    url: String,
}

impl Wire {
    pub(crate) fn to(broker: &Broker) -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30));
        Self { http: http.build().unwrap(), url: broker.url.clone() }
    }

    pub(crate) async fn post(&self, path: &str, bearer: Option<&str>, body: &Value) -> Heard {
        let request = self.http.post(format!("{}{path}", self.url)).body(body.to_string());
        self.send(bearer.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Heard {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Heard {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body = response.bytes().await.ok()?;
        let json = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        Some((status, json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))))
    }

    pub(crate) async fn nonce(&self) -> Option<String> {
        let (_, body) = self.get("/v1/challenge").await?;
        Some(body["nonce"].as_str().unwrap().to_owned())
    }

    /// A launch token that lasts for the whole test.
    pub(crate) async fn launch_token(&self, admin: &str, single_use: bool) -> Option<Launch> {
        let body = json!({
            "agent_name": "a test", "allowed_scope": ["read:data:*"], "ttl": 3600, "max_ttl": 86400,
            "single_use": single_use,
        });
        let (status, body) = self.post("/v1/admin/launch-tokens", Some(admin), &body).await?;
        assert_eq!(status, 201, "{body}");
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Some(Launch { token: text("launch_token"), id: text("launch_token_id") })
    }

    pub(crate) async fn register(&self, launch: &Launch, nonce: &str) -> Heard {
        let registration = Registration::new(&launch.token, nonce, &["read:data:x"]);
        self.post("/v1/register", None, &registration.0).await
    }

    /// Returns true if the broker accepts the token. The broker must respond.
    pub(crate) async fn validates(&self, token: &str) -> bool {
        let (status, body) = self.post("/v1/token/validate", None, &json!({ "token": token })).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body["valid"].as_bool().unwrap()
    }
}

/// `SplitMix64`: small, and the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Separate numbers for another client.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }
}

//! Requests whose other end may vanish at any moment, and numbers that repeat.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Broker, Registration};

/// Status and body of a response; none when the broker ended first, and the outcome is unknown.
pub type Heard = Option<(u16, Value)>;

/// A launch token, with its id in the trail.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The token.
    pub token: String,
    /// Its id.
    pub id: String,
}

/// A connection pool of its own to one broker.
#[derive(Clone, Debug)]
pub struct Wire {
    http: reqwest::Client,
    url: String,
}

impl Wire {
    /// Opens a pool to a broker.
    #[must_use]
    pub fn to(broker: &Broker) -> Self {
        Self::to_url(&broker.url)
    }

    /// Opens a pool to the broker at `url`, without a trailing slash.
    #[must_use]
    pub fn to_url(url: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30));
        Self { http: http.build().unwrap(), url: url.to_owned() }
    }

    /// Sends a `POST` with a JSON body.
    pub async fn post(&self, path: &str, bearer: Option<&str>, body: &Value) -> Heard {
        let request = self.http.post(format!("{}{path}", self.url)).body(body.to_string());
        self.send(bearer.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth)).await
    }

    /// Sends a `GET`.
    pub async fn get(&self, path: &str) -> Heard {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Sends a `GET` with a token.
    pub async fn get_as(&self, path: &str, bearer: &str) -> Heard {
        self.send(self.http.get(format!("{}{path}", self.url)).bearer_auth(bearer)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Heard {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body = response.bytes().await.ok()?;
        let json = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        Some((status, json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))))
    }

    /// Requests a nonce.
    pub async fn nonce(&self) -> Option<String> {
        let (_, body) = self.get("/v1/challenge").await?;
        Some(body["nonce"].as_str().unwrap().to_owned())
    }

    /// Requests a launch token that lasts for the whole test.
    pub async fn launch_token(&self, admin: &str, single_use: bool) -> Option<Launch> {
        let (status, body) = self.try_launch_token(admin, single_use).await?;
        assert_eq!(status, 201, "{body}");
        Some(Launch::from_body(&body))
    }

    /// As [`Wire::launch_token`], with the response.
    pub async fn try_launch_token(&self, admin: &str, single_use: bool) -> Heard {
        let body = json!({
            "agent_name": "a test", "allowed_scope": ["read:data:*"], "ttl": 3600, "max_ttl": 86400,
            "single_use": single_use,
        });
        self.post("/v1/admin/launch-tokens", Some(admin), &body).await
    }

    /// Registers an agent with a new key.
    pub async fn register(&self, launch: &Launch, nonce: &str) -> Heard {
        let registration = Registration::new(&launch.token, nonce, &["read:data:x"]);
        self.post("/v1/register", None, &registration.0).await
    }

    /// Returns true if the broker accepts the token. The broker must respond.
    pub async fn validates(&self, token: &str) -> bool {
        let (status, body) = self.post("/v1/token/validate", None, &json!({ "token": token })).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body["valid"].as_bool().unwrap()
    }
}

impl Launch {
    /// Reads the response to a request for a launch token.
    #[must_use]
    pub fn from_body(body: &Value) -> Self {
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Self { token: text("launch_token"), id: text("launch_token_id") }
    }
}

/// `SplitMix64`: small, and the same for the same seed.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns the next number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Separate numbers for another client.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }
}

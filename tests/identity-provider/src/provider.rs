//! Identity provider: publishes a key set at `/keys`.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::{
    SigningKey,
    http::{Body, HttpServer, Reply, locked},
};

/// Response of the provider to each request for its keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Serves {
    /// A key set with these keys.
    Keys(Vec<Value>),
    /// This text with status 200.
    Text(String),
    /// An error.
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// A body without end.
    Endless,
    /// No response.
    Nothing,
    /// A key set, one byte each 100 ms.
    Slowly(Vec<Value>),
    /// The connection is cut.
    Cut,
}

/// Provider in threads of the test's process.
#[derive(Debug)]
pub struct IdentityProvider {
    server: HttpServer,
    published: Arc<Mutex<Serves>>,
}

impl IdentityProvider {
    /// Starts a provider that publishes the public parts of these keys.
    #[must_use]
    pub fn start<'k>(keys: impl IntoIterator<Item = &'k SigningKey>) -> Self {
        let published = Serves::Keys(keys.into_iter().map(SigningKey::jwk).collect());
        let published = Arc::new(Mutex::new(published));
        let state = Arc::clone(&published);
        Self { server: HttpServer::start(move |_| reply(locked(&state).clone())), published }
    }

    /// Returns the issuer, which is also the server's URL.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.server.url()
    }

    /// Returns the URL of the key set.
    #[must_use]
    pub fn keys_url(&self) -> String {
        format!("{}/keys", self.server.url())
    }

    /// Changes what the provider publishes from now on.
    pub fn serve(&self, serves: Serves) {
        *locked(&self.published) = serves;
    }

    /// Publishes the public parts of these keys from now on.
    pub fn publish<'k>(&self, keys: impl IntoIterator<Item = &'k SigningKey>) {
        self.serve(Serves::Keys(keys.into_iter().map(SigningKey::jwk).collect()));
    }

    /// Returns the number of requests so far.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.server.requests().len()
    }
}

fn reply(serves: Serves) -> Reply {
    let set = |keys: Vec<Value>| json!({ "keys": keys });
    let body = match serves {
        Serves::Keys(keys) => return Reply::json(200, &set(keys)),
        Serves::Status(status) => return Reply::status(status),
        Serves::Redirect(url) => {
            return Reply { headers: vec![("location".to_owned(), url)], ..Reply::status(302) };
        }
        Serves::Text(text) => Body::Full(text.into_bytes()),
        Serves::Endless => Body::Endless,
        Serves::Nothing => Body::Stall,
        Serves::Slowly(keys) => Body::Drip(set(keys).to_string().into_bytes(), std::time::Duration::from_millis(100)),
        Serves::Cut => Body::Cut,
    };
    Reply { status: 200, headers: Vec::new(), body }
}

//! One fetch of a key set over HTTP.

use std::{error::Error, time::Duration};

use reqwest::{Client, StatusCode, Url, redirect};

use super::RemoteError;
use crate::keys::KeySet;

#[derive(Debug)]
pub(super) struct KeySetSource {
    client: Client,
    url: Url,
}

impl KeySetSource {
    pub(super) fn new(broker: &str, timeout: Duration) -> Result<Self, RemoteError> {
        let bad_url = || RemoteError::BadUrl { url: broker.to_owned() };
        let base = Url::parse(broker).map_err(|_| bad_url())?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(bad_url());
        }
        let path = format!("{}/.well-known/jwks.json", base.path().trim_end_matches('/'));
        let mut url = base;
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        // A redirect would let another server choose the keys.
        let client = Client::builder()
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("agentwrit-verify/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(&url, &error))?;
        Ok(Self { client, url })
    }

    pub(super) async fn fetch(&self) -> Result<KeySet, RemoteError> {
        let failed = |error| unreachable(&self.url, &error);
        let mut answer = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(RemoteError::Refused { url: self.url.to_string(), status: answer.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > KeySet::MAX_JWKS_LENGTH {
                return Err(RemoteError::TooLong { url: self.url.to_string(), limit: KeySet::MAX_JWKS_LENGTH });
            }
        }
        KeySet::from_jwks(&body).map_err(|error| RemoteError::KeySet { url: self.url.to_string(), error })
    }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> RemoteError {
    let mut cause = String::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(error) = next {
        if !cause.is_empty() {
            cause.push_str(": ");
        }
        cause.push_str(&error.to_string());
        next = error.source();
    }
    if cause.is_empty() {
        cause = if error.is_timeout() { String::from("timed out") } else { error.to_string() };
    }
    RemoteError::Unreachable { url: url.to_string(), cause }
}

//! One fetch of a key set over HTTP.

use std::{error::Error, time::Duration};

use reqwest::{Client, StatusCode, Url, redirect};

use super::RemoteError;
use crate::keys::KeySet;

#[derive(Debug)]
pub(super) struct KeySetSource {
    client: Client,
    url: Url,
    /// The address in messages: without a user's name and password.
    name: String,
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
        let name = without_credentials(&url);
        // A redirect would let another server choose the keys.
        let client = Client::builder()
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("agentwrit-verify/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(&name, error))?;
        Ok(Self { client, url, name })
    }

    pub(super) async fn fetch(&self) -> Result<KeySet, RemoteError> {
        let failed = |error| unreachable(&self.name, error);
        let mut answer = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(RemoteError::Refused { url: self.name.clone(), status: answer.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > KeySet::MAX_JWKS_LENGTH {
                return Err(RemoteError::TooLong { url: self.name.clone(), limit: KeySet::MAX_JWKS_LENGTH });
            }
        }
        KeySet::from_jwks(&body).map_err(|error| RemoteError::KeySet { url: self.name.clone(), error })
    }
}

fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only where there can be none.
    let _none = url.set_password(None).is_err() || url.set_username("").is_err();
    url.into()
}

fn unreachable(url: &str, error: reqwest::Error) -> RemoteError {
    let error = error.without_url();
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
    RemoteError::Unreachable { url: url.to_owned(), cause }
}

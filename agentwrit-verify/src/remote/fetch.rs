//! One fetch over HTTP: a key set, or an answer of the feed.

use std::{error::Error, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, StatusCode, Url, redirect};
use tokio::time::timeout;

use super::RemoteError;
use crate::keys::KeySet;

/// What a connection to the broker is made with.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// PEM, one or several certificates.
    pub(super) root_certificates: Vec<Vec<u8>>,
    /// PEM, a private key and its certificates.
    pub(super) client_identity: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) struct Broker {
    client: Client,
    key_set: Address,
    feed: Address,
    timeout: Duration,
}

/// An address, and what it is called in messages: without a user's name and password, and without a query.
#[derive(Clone, Debug)]
struct Address {
    url: Url,
    name: String,
}

impl Broker {
    /// A snapshot may be large: as often the usual time for all of it, if only there is progress.
    const SNAPSHOT_PATIENCE: u32 = 6;

    pub(super) fn new(broker: &str, timeout: Duration, tls: &Tls) -> Result<Self, RemoteError> {
        let bad_url = || RemoteError::BadUrl { url: without_userinfo(broker) };
        let base = Url::parse(broker).map_err(|_| bad_url())?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(bad_url());
        }
        // A redirect would let another server choose the keys.
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent(concat!("agentwrit-verify/", env!("CARGO_PKG_VERSION")));
        let client = tls.applied_to(builder, base.scheme())?.build().map_err(|error| bad_tls(&error))?;
        Ok(Self {
            client,
            key_set: Address::new(&base, "/.well-known/jwks.json"),
            feed: Address::new(&base, "/v1/revocations"),
            timeout,
        })
    }

    pub(super) fn feed_name(&self) -> &str {
        &self.feed.name
    }

    pub(super) async fn key_set(&self) -> Result<KeySet, RemoteError> {
        let Address { url, name } = &self.key_set;
        let limits = Limits { head: self.timeout, progress: self.timeout, whole: self.timeout };
        let body = self.read(url.clone(), name, limits, KeySet::MAX_JWKS_LENGTH).await?;
        KeySet::from_jwks(&body).map_err(|error| RemoteError::KeySet { url: name.clone(), error })
    }

    /// What came after `since`, for which the broker may wait; a snapshot without.
    pub(super) async fn revocations(&self, question: Question) -> Result<String, RemoteError> {
        let Address { url, name } = &self.feed;
        let mut url = url.clone();
        let limits = match question.since {
            Some(since) => {
                let wait = question.wait.as_secs();
                url.set_query(Some(&format!("since={since}&wait={wait}")));
                let patience = question.grace.min(self.timeout);
                let head = question.wait.saturating_add(patience);
                // Once it comes it may be long: a snapshot in place of what can't be served.
                let whole = head.saturating_add(self.timeout.saturating_mul(Self::SNAPSHOT_PATIENCE));
                Limits { head, progress: patience, whole }
            }
            None => Limits {
                head: self.timeout,
                progress: self.timeout,
                whole: self.timeout.saturating_mul(Self::SNAPSHOT_PATIENCE),
            },
        };
        let body = self.read(url, name, limits, question.longest).await?;
        let not_text =
            |_| RemoteError::Unreachable { url: name.clone(), cause: String::from("the answer is not text") };
        String::from_utf8(body).map_err(not_text)
    }

    async fn read(&self, url: Url, name: &str, limits: Limits, longest: usize) -> Result<Vec<u8>, RemoteError> {
        let timed_out = || RemoteError::Unreachable { url: name.to_owned(), cause: String::from("timed out") };
        let reading = async {
            let sent = timeout(limits.head, self.client.get(url).send()).await.map_err(|_| timed_out())?;
            let mut answer = sent.map_err(|error| unreachable(name, error))?;
            if answer.status() != StatusCode::OK {
                return Err(RemoteError::Refused { url: name.to_owned(), status: answer.status().as_u16() });
            }
            let mut body = Vec::new();
            loop {
                let more = timeout(limits.progress, answer.chunk()).await.map_err(|_| timed_out())?;
                let Some(more) = more.map_err(|error| unreachable(name, error))? else { break };
                body.extend_from_slice(&more);
                if body.len() > longest {
                    return Err(RemoteError::TooLong { url: name.to_owned(), limit: longest });
                }
            }
            Ok(body)
        };
        timeout(limits.whole, reading).await.map_err(|_| timed_out())?
    }
}

/// What to ask the feed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// None: a snapshot.
    pub(super) since: Option<u64>,
    /// How long the broker may hold the request.
    pub(super) wait: Duration,
    /// How much longer the answer may take.
    pub(super) grace: Duration,
    /// The longest answer that is read, in bytes.
    pub(super) longest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Until the answer begins.
    head: Duration,
    /// Between two parts of it.
    progress: Duration,
    /// For all of it.
    whole: Duration,
}

impl Address {
    fn new(base: &Url, path: &str) -> Self {
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        url.set_query(None);
        url.set_fragment(None);
        let name = without_credentials(&url);
        Self { url, name }
    }
}

impl Tls {
    fn applied_to(&self, mut builder: ClientBuilder, scheme: &str) -> Result<ClientBuilder, RemoteError> {
        if scheme == "http" {
            if !self.root_certificates.is_empty() || self.client_identity.is_some() {
                let cause = String::from("they are for an https address, and this one is http");
                return Err(RemoteError::Tls { cause });
            }
            // Without TLS there is no reason to load the system's roots, or to fail where there are none.
            return Ok(builder.tls_certs_only([]));
        }
        for pem in &self.root_certificates {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| bad_tls(&error))?;
            if certificates.is_empty() {
                return Err(RemoteError::Tls { cause: String::from("there is no certificate in the PEM") });
            }
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(pem) = &self.client_identity {
            builder = builder.identity(Identity::from_pem(pem).map_err(|error| bad_tls(&error))?);
        }
        Ok(builder)
    }
}

fn bad_tls(error: &reqwest::Error) -> RemoteError {
    RemoteError::Tls { cause: causes(error) }
}

/// An address that may not even be a URL, without what stands before the `@` of its authority.
pub(super) fn without_userinfo(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only where there can be none.
    let _none = url.set_password(None).is_err() || url.set_username("").is_err();
    url.into()
}

fn unreachable(url: &str, error: reqwest::Error) -> RemoteError {
    let error = error.without_url();
    RemoteError::Unreachable { url: url.to_owned(), cause: causes(&error) }
}

fn causes(error: &reqwest::Error) -> String {
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
    cause
}

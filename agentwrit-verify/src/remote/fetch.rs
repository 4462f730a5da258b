//! HTTP requests for the key set and the feed.

use std::time::Duration;

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderMap},
};
use serde::Deserialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::RemoteError;
use crate::{
    http_client::{BodyError, BrokerUrl, ConnectionSettings, TransportError, read_body, without_userinfo},
    jws::{MAX_DEPTH, shorten},
    keys::KeySet,
    report::{AcceptanceError, ReportAcceptance},
};

/// Timeout between two parts of a problem.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(super) struct Broker {
    client: Client,
    key_set: Endpoint,
    feed: Endpoint,
    reports: Endpoint,
    timeout: Duration,
}

/// An address, and what it is called in messages: without a user's name and password, and without a query.
#[derive(Clone, Debug)]
struct Endpoint {
    url: Url,
    name: String,
}

impl Broker {
    /// A snapshot may be large: as often the usual time for all of it, if only there is progress.
    const SNAPSHOT_PATIENCE: u32 = 6;

    pub(super) fn new(broker: &str, timeout: Duration, settings: &ConnectionSettings) -> Result<Self, RemoteError> {
        let base = BrokerUrl::with_query(broker)
            .map_err(|error| RemoteError::BadUrl { url: without_userinfo(broker), error })?;
        Ok(Self {
            client: settings.client(&base)?,
            key_set: Endpoint::new(&base, "/.well-known/jwks.json"),
            feed: Endpoint::new(&base, "/v1/revocations"),
            reports: Endpoint::new(&base, "/v1/verifiers/reports"),
            timeout,
        })
    }

    pub(super) fn feed_name(&self) -> &str {
        &self.feed.name
    }

    /// Requests the key set, which HTTP caches in between confirm with the broker (RFC 9111 §5.2.1.4). Otherwise a
    /// withdrawn key could stay in force for as long as they store the set.
    pub(super) async fn key_set(&self) -> Result<FetchedKeySet, RemoteError> {
        let Endpoint { url, name } = &self.key_set;
        let limits = TimeLimits { head: self.timeout, progress: self.timeout, whole: self.timeout };
        let response = self.read(url.clone(), name, limits, KeySet::MAX_JWKS_LENGTH, CacheUse::Revalidate).await?;
        let keys = KeySet::from_jwks(&response.body);
        let keys = keys.map_err(|error| RemoteError::KeySet { url: name.clone(), error })?;
        Ok(FetchedKeySet { keys, age: response.age })
    }

    /// Requests the entries after `since`, for which the broker may hold the request; a snapshot without.
    pub(super) async fn revocations(&self, request: FeedRequest) -> Result<String, RemoteError> {
        let Endpoint { url, name } = &self.feed;
        let mut url = url.clone();
        let limits = match request.since {
            Some(since) => {
                let wait = request.wait.as_secs();
                url.set_query(Some(&format!("since={since}&wait={wait}")));
                let patience = request.grace.min(self.timeout);
                let head = request.wait.saturating_add(patience);
                // Once it comes it may be long: a snapshot in place of what can't be served.
                let whole = head.saturating_add(self.timeout.saturating_mul(Self::SNAPSHOT_PATIENCE));
                TimeLimits { head, progress: patience, whole }
            }
            None => TimeLimits {
                head: self.timeout,
                progress: self.timeout,
                whole: self.timeout.saturating_mul(Self::SNAPSHOT_PATIENCE),
            },
        };
        let mut body = self.read(url, name, limits, request.longest, CacheUse::Any).await?.body;
        let not_text =
            |_| RemoteError::Unreachable { url: name.clone(), cause: String::from("the response is not text") };
        String::from_utf8(std::mem::take(&mut *body)).map_err(not_text)
    }

    /// Sends a report of a verifier. Returns the acceptance, which is not verified yet.
    pub(super) async fn report(&self, report: String) -> Result<String, RemoteError> {
        let Endpoint { url, name } = &self.reports;
        let https = url.scheme() == "https";
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/jwt").body(report);
        let timed_out = || RemoteError::Unreachable { url: name.clone(), cause: String::from("timed out") };
        let sent = timeout(self.timeout, request.send()).await.map_err(|_| timed_out())?;
        let mut response = sent.map_err(|error| RemoteError::Unreachable {
            url: name.clone(),
            cause: TransportError::of(&error, https).reason,
        })?;
        // Any other success is not of the broker's endpoint.
        if response.status() != StatusCode::NO_CONTENT {
            let (url, status) = (name.clone(), response.status().as_u16());
            return Err(match timeout(self.timeout, rejection(&mut response)).await {
                Ok(Some(detail)) => RemoteError::ReportRejected { url, status, detail },
                Ok(None) | Err(_) => RemoteError::UnexpectedStatus { url, status },
            });
        }
        let acceptance = response.headers().get(ReportAcceptance::HEADER).and_then(|value| value.to_str().ok());
        Ok(acceptance.unwrap_or_default().to_owned())
    }

    /// An acceptance of a report that the broker did not sign.
    pub(super) fn bad_acceptance(&self, error: AcceptanceError) -> RemoteError {
        RemoteError::Acceptance { url: self.reports.name.clone(), error }
    }

    async fn read(
        &self,
        url: Url,
        name: &str,
        limits: TimeLimits,
        longest: usize,
        caches: CacheUse,
    ) -> Result<ReadResponse, RemoteError> {
        let https = url.scheme() == "https";
        let timed_out = || RemoteError::Unreachable { url: name.to_owned(), cause: String::from("timed out") };
        let unreachable = |error: &reqwest::Error| RemoteError::Unreachable {
            url: name.to_owned(),
            cause: TransportError::of(error, https).reason,
        };
        let reading = async {
            let request = self.client.get(url);
            let request = match caches {
                CacheUse::Any => request,
                CacheUse::Revalidate => request.header(CACHE_CONTROL, "no-cache"),
            };
            let sent = timeout(limits.head, request.send()).await.map_err(|_| timed_out())?;
            let mut response = sent.map_err(|error| unreachable(&error))?;
            if response.status() != StatusCode::OK {
                return Err(RemoteError::UnexpectedStatus { url: name.to_owned(), status: response.status().as_u16() });
            }
            let age = age(response.headers());
            let body = read_body(&mut response, longest, limits.progress).await.map_err(|error| match error {
                BodyError::TooLong { limit } => RemoteError::TooLong { url: name.to_owned(), limit },
                BodyError::Broken(error) => unreachable(&error),
                BodyError::TimedOut => timed_out(),
            })?;
            Ok(ReadResponse { body, age })
        };
        timeout(limits.whole, reading).await.map_err(|_| timed_out())?
    }
}

/// Reads the reason of a broker that rejects a report, whatever the instance does not change about itself. `None` for what
/// may be over soon, and for a response that another server gave in its place: a problem is in `application/problem+json`
/// (RFC 9457).
async fn rejection(response: &mut Response) -> Option<String> {
    const LONGEST: usize = 16 * 1024;
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
    }
    let is_definite = matches!(response.status().as_u16(), 400 | 401 | 403 | 409 | 422);
    let media_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = media_type.split_once(';').map_or(media_type, |(media_type, _)| media_type).trim();
    if !is_definite || !media_type.eq_ignore_ascii_case("application/problem+json") {
        return None;
    }
    let body = read_body(response, LONGEST, REJECTION_TIMEOUT).await.ok()?;
    let Problem { detail } = agentwrit_json::object_from_slice(&body, MAX_DEPTH).ok()?;
    Some(shorten(detail.as_deref().unwrap_or("without a reason")))
}

/// Returns the most time for which HTTP caches held the response: its `Age` and a second, since that is rounded down;
/// zero when the broker sent it. An unreadable `Age` means any time.
fn age(headers: &HeaderMap) -> Duration {
    headers.get(AGE).map_or(Duration::ZERO, |age| {
        let seconds = age.to_str().ok().and_then(|text| text.parse().ok());
        seconds.map_or(Duration::MAX, |seconds: u64| Duration::from_secs(seconds.saturating_add(1)))
    })
}

/// A key set, and how old it may be.
#[derive(Clone, Debug)]
pub(super) struct FetchedKeySet {
    pub(super) keys: KeySet,
    /// Most time for which HTTP caches held it.
    pub(super) age: Duration,
}

struct ReadResponse {
    body: Zeroizing<Vec<u8>>,
    /// Most time for which HTTP caches held it.
    age: Duration,
}

/// Response that HTTP caches in between may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CacheUse {
    /// A stored one, as its `Cache-Control` allows.
    Any,
    /// Only one that the broker confirms now (RFC 9111 §5.2.1.4).
    Revalidate,
}

/// Parameters of a request to the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedRequest {
    /// `None` requests a snapshot.
    pub(super) since: Option<u64>,
    /// Time for which the broker may hold the request.
    pub(super) wait: Duration,
    /// Additional time for the response.
    pub(super) grace: Duration,
    /// Maximum length of the response, in bytes.
    pub(super) longest: usize,
}

#[derive(Clone, Copy, Debug)]
struct TimeLimits {
    /// Timeout for the head of the response.
    head: Duration,
    /// Between two parts of it.
    progress: Duration,
    /// Timeout for the whole response.
    whole: Duration,
}

impl Endpoint {
    fn new(base: &BrokerUrl, path: &str) -> Self {
        let url = base.join(path);
        let name = without_userinfo(url.as_str());
        Self { url, name }
    }
}

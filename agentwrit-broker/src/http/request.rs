//! Steps around every request: its id, its client, its time limit, the headers of its response, the log line, the
//! metrics, and the audit of refusals by the scope layers.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agentwrit_protocol::{RequestId, limits::MAX_BODY};
use agentwrit_tower::{LingeringBody, Rejection};
use agentwrit_verify::{VerifyError, proof::ProofError};
use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{self, HeaderName},
};
use percent_encoding::percent_decode_str;

use super::{
    Edge, Shared,
    body::{BodyPlaces, content_length},
    client::Client,
    errors::{HttpError, PendingProblem},
    large_responses::account,
    proofs::is_of_sender,
    request_ids::RequestIds,
};
use crate::{
    audit::{EventType, NewEvent},
    keys::is_secret_shaped,
    service::Services,
    store::Caller,
};

/// Time limit of a request that only reads.
const TIME_LIMIT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// What every request passes through.
#[derive(Debug)]
pub(super) struct Entrance {
    services: Shared,
    edge: Edge,
    ids: RequestIds,
}

impl Entrance {
    pub(super) fn new(services: Shared, edge: Edge) -> Self {
        Self { services, edge, ids: RequestIds::default() }
    }
}

pub(super) async fn serve(State(entrance): State<Arc<Entrance>>, request: Request, next: Next) -> Response {
    // A response made before the body was read reaches the client all the same.
    let request = LingeringBody::wrap(request).map(Body::new);
    // A request that may change something is carried through to its log line and its audit even if the client hangs up;
    // one that only reads ends with its connection.
    let client = Client::of(&request, &entrance.edge.trusted_proxies);
    // Dropped with this future, hence with the connection: reads that wait for the request end then.
    let (caller, _connection) = Caller::new(client.0);
    if request.method().is_safe() {
        return caller.scope(attend(entrance, client, request, next)).await;
    }
    let tasks = entrance.services.ledger.tasks.clone();
    tasks
        .spawn(caller.scope(attend(entrance, client, request, next)))
        .await
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn attend(entrance: Arc<Entrance>, client: Client, mut request: Request, next: Next) -> Response {
    let Entrance { services, edge, ids } = entrance.as_ref();
    let started = services.ledger.monotonic();
    let id = offered_id(&request).unwrap_or_else(|| ids.next());
    let id_value = HeaderValue::from_str(id.as_str()).ok();
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(BodyPlaces::new(services, client));
    // The scope layers take the id of their refusals from here.
    if let Some(value) = id_value.clone() {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let (method, target) = (request.method().clone(), request.uri().clone());
    let path = target.path();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = matched.as_ref().map_or("unmatched", MatchedPath::as_str);

    let limit = method.is_safe().then_some(TIME_LIMIT);
    let mut response = match content_length(&request) {
        _ if !names_one_host(&request) => HttpError::BadHost.into_response(),
        Some(length) if length > MAX_BODY as u64 => HttpError::TooLarge.into_response(),
        _ => respond(next.run(request), limit).await,
    };
    if method.is_safe() {
        response = account(response, &services.pools.responses, client.0).await;
    }
    if let Some(problem) = response.extensions_mut().remove::<PendingProblem>() {
        problem.log(|| loggable(path), &id);
        response = problem.render(response, path, &id);
    }
    if let Some(rejection) = response.extensions().get::<Rejection>() {
        audit(services, rejection, client, endpoint);
    }
    set_headers(response.headers_mut(), id_value, edge);

    let took = services.ledger.monotonic().saturating_duration_since(started);
    services.metrics.request(endpoint, took);
    let (status, milliseconds) = (response.status().as_u16(), took.as_millis());
    tracing::info!(
        target: "agentwrit_broker::http::access",
        component = "http", %method, path = loggable(path), status, ms = milliseconds, client = %client.0, request_id = id.as_str(),
        "request"
    );
    response
}

/// Returns the response, or an error when the handler panics or a request that only reads takes too long.
///
/// A request that changes something has no limit here: its body has one, and a change that waits for the store may be done
/// by then, so that a 503 would be wrong.
async fn respond(running: impl Future<Output = Response>, limit: Option<Duration>) -> Response {
    let guarded = AssertUnwindSafe(running).catch_unwind();
    let outcome = match limit {
        Some(limit) => tokio::time::timeout(limit, guarded).await,
        None => Ok(guarded.await),
    };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => HttpError::Defect { cause: String::from("a handler panicked") }.into_response(),
        Err(_) => HttpError::TimedOut.into_response(),
    }
}

/// RFC 9112 §3.2: a request of HTTP/1.1 has exactly one `Host`; with several, two readers see two targets.
fn names_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() != Version::HTTP_11)
}

/// The id that the client chose, if it sent one that is well formed.
fn offered_id(request: &Request) -> Option<RequestId> {
    let mut offered = request.headers().get_all(REQUEST_ID).iter();
    let only = offered.next().filter(|_| offered.next().is_none());
    only.and_then(|value| value.to_str().ok()).and_then(RequestId::parse)
}

/// Returns the path as the log may hold it: people paste a token where its name belongs.
fn loggable(path: &str) -> String {
    // A percent sign hides nothing: a reader of the log can decode it too.
    let is_secret =
        |segment: &str| is_secret_shaped(segment) || is_secret_shaped(&percent_decode_str(segment).decode_utf8_lossy());
    let segments = path.split('/').map(|segment| if is_secret(segment) { "…" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn set_headers(headers: &mut HeaderMap, id: Option<HeaderValue>, edge: &Edge) {
    if let Some(value) = id {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // The key set and the feed set their own.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if edge.tls {
        let two_years = HeaderValue::from_static("max-age=63072000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, two_years);
    }
}

/// Records a rejection by the scope layers, with the reason that the client did not receive.
fn audit(services: &Services, rejection: &Rejection, client: Client, endpoint: &str) {
    let now = services.ledger.now();
    if let Rejection::InvalidToken(error) = rejection
        && is_of_sender(error)
    {
        services.metrics.proof_rejected(error.reason());
    }
    if matches!(rejection, Rejection::InvalidToken(VerifyError::NotYetValid { .. })) {
        services.metrics.clock_skew();
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not the client's fault is not audited: the log has it")]
    let (event_type, detail) = match rejection {
        // A proof without the nonce that it asks for is not misuse: the client sends another.
        Rejection::InvalidToken(VerifyError::Proof { error: ProofError::NonceRequired { .. }, .. }) => return,
        Rejection::InvalidToken(VerifyError::Revoked { .. }) => (EventType::TokenRevokedAccess, "revoked token used"),
        Rejection::InsufficientScope { .. } => (EventType::ScopeViolation, "token lacks the required scope"),
        Rejection::NoToken(_) | Rejection::InvalidToken(_) => (EventType::TokenAuthFailed, "token not accepted"),
        _ => return,
    };
    let event = match rejection.subject() {
        Some(subject) => NewEvent::denied(event_type, now, subject, detail).from(client.0),
        None => NewEvent::denied(event_type, now, client.0, detail),
    };
    services.ledger.deny(event.resource(endpoint).word("reason", rejection.reason()));
}

#[cfg(test)]
mod tests;

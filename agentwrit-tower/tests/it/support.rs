//! Requests, responses, and a subscriber that keeps log events.

use std::convert::Infallible;
use std::fmt::{Debug, Write};
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::util::BoxCloneService;
use tower::{Service, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber, span};

pub(crate) const INVALID_TOKEN: &str = r#"Bearer realm="agentwrit", error="invalid_token""#;
pub(crate) const NO_TOKEN: &str = r#"Bearer realm="agentwrit""#;

/// Builds `GET <path>` with this `Authorization` header.
pub(crate) fn get<B: Default>(path: &str, authorization: &str) -> Request<B> {
    let mut request = get_without_token(path);
    request.headers_mut().insert(AUTHORIZATION, authorization.parse().expect("a header value"));
    request
}

/// Builds `GET <path>` with the request id `req-1`.
pub(crate) fn get_without_token<B: Default>(path: &str) -> Request<B> {
    keep_events_open();
    Request::get(path).header("x-request-id", "req-1").body(B::default()).expect("a request")
}

/// Returns the problem of a mistake in the program, which has the reason in a debug build only.
pub(crate) fn mistake(reason: &str, path: &str) -> Value {
    let mut problem = serde_json::json!({
        "type": "urn:agentwrit:error:internal_error",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the server made a mistake",
        "instance": path,
        "error_code": "internal_error",
        "request_id": "req-1",
    });
    if cfg!(debug_assertions) {
        problem["detail"] = reason.into();
        problem["hint"] = "a debug build tells the reason; a release build only writes it into its log".into();
    }
    problem
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Response, read to its end.
#[derive(Debug)]
pub(crate) struct CollectedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: http::Extensions,
    pub(crate) body: Bytes,
}

impl CollectedResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("visible ASCII"));
        assert!(values.next().is_none(), "`{name}` is there twice");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Sends one request through a service that never fails.
pub(crate) async fn send<S, B, R>(service: &S, request: Request<B>) -> CollectedResponse
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
    R: http_body::Body<Error: Debug>,
{
    let response = service.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    CollectedResponse { status: head.status, headers: head.headers, extensions: head.extensions, body }
}

/// Inner service that counts its calls and responds `inner`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inner {
    calls: Arc<AtomicUsize>,
}

pub(crate) type Plain = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, Infallible>;

impl Inner {
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn service(&self) -> Plain {
        let calls = Arc::clone(&self.calls);
        BoxCloneService::new(tower::service_fn(move |_: Request<Full<Bytes>>| {
            calls.fetch_add(1, Ordering::SeqCst);
            async { Ok(Response::new(Full::from("inner"))) }
        }))
    }

    /// Returns an axum handler that does the same.
    pub(crate) fn handler(&self) -> impl Fn() -> Ready<&'static str> + Clone + Send + Sync + 'static + use<> {
        let calls = Arc::clone(&self.calls);
        move || {
            calls.fetch_add(1, Ordering::SeqCst);
            ready("inner")
        }
    }
}

/// An axum router takes requests with any body; these have axum's own.
pub(crate) mod axum {
    use ::axum::body::Body;
    use http::Request;

    pub(crate) fn get(path: &str, token: &str) -> Request<Body> {
        super::get(path, &super::bearer(token))
    }

    pub(crate) fn get_without_token(path: &str) -> Request<Body> {
        super::get_without_token(path)
    }
}

/// An event that is first reached without a subscriber is disabled, for ever if a subscriber is set at the same moment
/// (a race within `tracing-core`). A global subscriber that answers `sometimes` prevents it.
fn keep_events_open() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Undecided).expect("the first one"));
}

struct Undecided;

impl Subscriber for Undecided {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Subscriber that keeps the events of this thread while it is the default subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Log {
    pub(crate) fn lines(&self) -> Vec<(Level, String)> {
        self.lines.lock().expect("the log").clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("agentwrit_tower")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.lines.lock().expect("the log").push((*event.metadata().level(), line.0.trim_end().to_owned()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("a string takes it");
    }
}

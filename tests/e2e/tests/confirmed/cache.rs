//! An HTTP cache in front of a broker, as in a service mesh: it holds the key set for as long as `max-age` allows.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

const KEY_SET: &str = "/.well-known/jwks.json";

#[derive(Clone)]
pub(crate) struct Cache {
    broker: Arc<str>,
    http: reqwest::Client,
    stored: Arc<Mutex<Option<(Instant, Bytes)>>>,
    hits: Arc<Mutex<u64>>,
}

impl Cache {
    /// Starts a cache of the broker at this address; returns it and its own address.
    pub(crate) async fn start(broker: &str) -> (Self, String) {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let cache = Self { broker: broker.into(), http, stored: Arc::default(), hits: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(cache.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (cache, url)
    }

    /// Returns the number of requests for the key set that were responded to without the broker.
    pub(crate) fn hits(&self) -> u64 {
        *self.hits.lock().unwrap()
    }

    /// Returns the stored key set, unless it has expired or the request requires a new one (RFC 9111 §5.2.1.4).
    fn fresh(&self, request: &Request) -> Option<Bytes> {
        let no_cache = |value: &header::HeaderValue| value.to_str().is_ok_and(|value| value.contains("no-cache"));
        if request.method() != Method::GET
            || request.uri().path() != KEY_SET
            || request.headers().get_all(header::CACHE_CONTROL).iter().any(no_cache)
        {
            return None;
        }
        let stored = self.stored.lock().unwrap();
        let (at, body) = stored.as_ref()?;
        (at.elapsed() < Duration::from_secs(300)).then(|| body.clone())
    }
}

async fn serve(State(cache): State<Cache>, request: Request) -> Response {
    if let Some(body) = cache.fresh(&request) {
        *cache.hits.lock().unwrap() += 1;
        return ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let (parts, body) = request.into_parts();
    let url = format!("{}{}", cache.broker, parts.uri);
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let sent = cache.http.request(parts.method, url).headers(headers).body(body).send().await;
    let Ok(response) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers) = (response.status(), response.headers().clone());
    let Ok(body) = response.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    if parts.uri.path() == KEY_SET && status == StatusCode::OK {
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=300");
        *cache.stored.lock().unwrap() = Some((Instant::now(), body.clone()));
    }
    (status, headers, Body::from(body)).into_response()
}

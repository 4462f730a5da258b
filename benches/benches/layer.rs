//! Cost of a layer on a route without the network: `cargo bench -p agentwrit-bench --bench layer`.
//!
//! The same axum router as in the `http` benchmark. The layer that does nothing has its own response body, as every layer
//! that may answer in place of the handler: what axum does for it is not the cost of the check.

use std::error::Error;
use std::io::{self, Write as _};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use agentwrit_bench::corpus::{AUDIENCE, Corpus, ISSUER, shuffled};
use agentwrit_bench::loopback::BODY;
use agentwrit_bench::nothing::Nothing;
use agentwrit_bench::report::table;
use agentwrit_bench::rounds::{Contender, Schedule};
use agentwrit_tower::RequireScope;
use agentwrit_verify::Verifier;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::routing::get;
use tower_layer::layer_fn;
use tower_service::Service;

const TOKENS: usize = 10_000;
const CALLS: usize = 2_000;
const ROUNDS: usize = 199;
const CACHE_MEMORY: u64 = 64 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Corpus::new(TOKENS as u64)?;
    let headers: Vec<HeaderValue> = corpus
        .tokens()
        .iter()
        .map(|token| HeaderValue::try_from(format!("Bearer {}", token.text)))
        .collect::<Result<_, _>>()?;
    let routes = routes(&corpus);
    let verifier = verifier(&corpus);
    let contender = |name, path: &'static str| {
        let routes = routes.clone();
        let headers = &headers;
        Contender::new(name, move |n: usize| is_ok(&routes, path, headers.get(n)))
    };
    let contenders = [
        contender("open", "/open"),
        contender("a layer that does nothing", "/nothing"),
        contender("RequireScope", "/agentwrit"),
        Contender::new("the verification alone", |n| verifier.verify(&corpus.token(n).text).is_ok()),
    ];
    let mut out = io::stdout().lock();
    let schedule = Schedule { rounds: ROUNDS, threads: 1 };
    let one = schedule.measure(&contenders, |_| vec![0; CALLS]);
    table(&mut out, "One token, seen before (ratio to the open route)", &one)?;
    let all = schedule.measure(&contenders, |round| {
        let mut picks = shuffled(TOKENS);
        picks.rotate_left(round * CALLS % TOKENS);
        picks.truncate(CALLS);
        picks
    });
    table(&mut out, "10,000 live tokens in no order (ratio to the open route)", &all)?;
    out.flush()?;
    Ok(())
}

fn verifier(corpus: &Corpus) -> Verifier {
    let builder = Verifier::builder().issuer(ISSUER).keys(corpus.key_set().clone()).without_revocations();
    builder.audience(AUDIENCE).cache_memory(CACHE_MEMORY).build()
}

fn routes(corpus: &Corpus) -> Router {
    let route = || get(|| async { BODY });
    Router::new()
        .route("/open", route())
        .route("/nothing", route().layer(layer_fn(Nothing)))
        .route("/agentwrit", route().layer(RequireScope::new("read:labresults:*").verifier(verifier(corpus))))
        // As `axum::serve` does for each connection: without it every call applies the layers anew.
        .with_state(())
}

/// Sends one request with this `Authorization` to the router.
fn is_ok(routes: &Router, path: &'static str, authorization: Option<&HeaderValue>) -> bool {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = axum::http::Uri::from_static(path);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("bench"));
    if let Some(authorization) = authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    let mut routes = routes.clone();
    let response = pin!(Service::<Request>::call(&mut routes, request)).poll(&mut Context::from_waker(Waker::noop()));
    matches!(response, Poll::Ready(Ok(response)) if response.status() == StatusCode::OK)
}

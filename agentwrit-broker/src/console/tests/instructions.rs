//! Instructions of a request with the console off, on, and without its module: counted by callgrind, see BENCHMARKS.md.

use std::hint::black_box;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::http::router;

/// Requests that are counted.
const COUNTED: usize = 1_000;
/// Requests before them.
const WARM: usize = 200;

fn send(runtime: &Runtime, router: &Router, path: &str, count: usize) {
    for _ in 0..count {
        let request = Request::builder().uri(path).header("host", "broker.test").body(Body::empty()).unwrap();
        let response = runtime.block_on(async { router.clone().oneshot(request).await.unwrap() });
        assert!(!black_box(response).status().is_server_error());
    }
}

/// Function that callgrind knows by its name.
#[inline(never)]
fn counted_requests(runtime: &Runtime, router: &Router, path: &str) {
    send(runtime, router, black_box(path), COUNTED);
}

/// Without callgrind it shows that the counted requests are served.
#[test]
fn instructions_of_requests() {
    let variable = |name, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let (router_of, path) = (variable("COUNTED_ROUTER", "off"), variable("COUNTED_PATH", "/v1/challenge"));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let browser = runtime.block_on(Browser::start());
    let (services, edge) = (&browser.services, Edge::for_tests(&browser.services));
    let router = match router_of.as_str() {
        "without" => router(Arc::clone(services), edge),
        "off" => router_with_pages(Arc::clone(services), edge, Router::new()),
        "on" => browser.router.clone(),
        other => panic!("no router `{other}`"),
    };
    send(&runtime, &router, &path, WARM);
    counted_requests(&runtime, &router, &path);
}

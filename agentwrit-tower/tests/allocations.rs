//! Cost of a cached token: one allocation, the claims' place in the request's extensions.
#![expect(clippy::unwrap_used, reason = "what is unexpected here fails the test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, RequireScope};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Empty;
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone)]
struct Inner;

impl Service<Request<Empty<Bytes>>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        // Dropped after the count is taken.
        let mut response = Response::new(());
        *response.extensions_mut() = request.into_parts().0.extensions;
        ready(Ok(response))
    }
}

/// Request of the form that axum passes on: with other extensions.
fn request(token: &str) -> Request<Empty<Bytes>> {
    let mut request =
        Request::get("/data").header(AUTHORIZATION, format!("Bearer {token}")).body(Empty::new()).unwrap();
    request.extensions_mut().insert(1_u8);
    request.extensions_mut().insert(2_u16);
    request
}

/// Counts the allocations of `call` for a cached token: from the token's second request on.
fn allocations(mut service: impl Service<Request<Empty<Bytes>>>, token: &str) -> u64 {
    for _ in 0..2 {
        drop(service.call(request(token)));
    }
    let request = request(token);
    let mut response = None;
    let counted = allocation_counter::measure(|| response = Some(service.call(request)));
    assert!(response.is_some());
    counted.count_total
}

#[test]
fn cached_token_costs_one_allocation() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:*"]);
    let layer = RequireScope::new("read:data:7").verifier(issuer.verifier());
    assert_eq!(allocations(layer.layer(Inner), &token), 1);
    assert_eq!(allocations(Authenticate::new(issuer.verifier()).layer(Inner), &token), 1);
}

#[test]
fn further_layers_cost_no_allocation() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:*", "use:api:v2"]);
    let any = RequireScope::any_of(["audit:data:*", "read:data:7"]).layer(Inner);
    let all = RequireScope::all_of(["read:data:7", "use:api:v2"]).layer(any);
    let service = Authenticate::new(issuer.verifier()).layer(RequireScope::new("read:data:*").layer(all));
    assert_eq!(allocations(service, &token), 1);
}

#[test]
fn other_headers_cost_no_allocation() {
    let issuer = TestIssuer::new();
    let token = issuer.token(&["read:data:*"]);
    let mut service = RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(Inner);
    for others in 0..50 {
        let request = || {
            let mut request = request(&token);
            for other in 0..others {
                let name = HeaderName::try_from(format!("x-{other}")).unwrap();
                request.headers_mut().insert(name, HeaderValue::from_static("1"));
            }
            request
        };
        for _ in 0..2 {
            drop(service.call(request()));
        }
        let request = request();
        let mut response = None;
        let counted = allocation_counter::measure(|| response = Some(service.call(request)));
        assert_eq!(counted.count_total, 1, "{others}");
    }
}

#[test]
fn counter_counts_allocations() {
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}

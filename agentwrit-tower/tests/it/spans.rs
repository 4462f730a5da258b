//! Fields of a span around the service, and claims in the response's extensions, for access logs.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, RequireScope, RequireScopeService, Verified};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower_layer::Layer;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};
use tracing_core::span::Current;

use crate::support::{Inner, Plain, bearer, get, get_without_token, send};

/// Subscriber that keeps the fields recorded in spans.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<(String, String)>>>, Arc<Mutex<Option<&'static Metadata<'static>>>>);

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        *self.1.lock().unwrap() = Some(attributes.metadata());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Fields(&self.0));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn current_span(&self) -> Current {
        let metadata = *self.1.lock().unwrap();
        metadata.map_or_else(Current::none, |metadata| Current::new(span::Id::from_u64(1), metadata))
    }
}

struct Fields<'a>(&'a Mutex<Vec<(String, String)>>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push((field.name().to_owned(), format!("{value:?}")));
    }
}

async fn recorded(service: &RequireScopeService<Plain>, request: Request<Full<Bytes>>) -> Vec<(String, String)> {
    use tracing::field::Empty;

    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let span =
        tracing::info_span!("request", agent = Empty, task = Empty, scope = Empty, outcome = Empty, reason = Empty);
    let _entered = span.enter();
    send(service, request).await;
    spans.0.lock().unwrap().clone()
}

fn protected(issuer: &TestIssuer) -> RequireScopeService<Plain> {
    RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(Inner::default().service())
}

fn fields(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn records_fields_that_span_declares() {
    let issuer = TestIssuer::new();
    let service = protected(&issuer);
    let claims = issuer.claims(&["read:data:7"]);
    let agent = claims.sub.to_string();
    let accepted = recorded(&service, get("/", &bearer(&issuer.sign(&claims)))).await;
    assert_eq!(
        accepted,
        fields(&[("agent", &agent), ("task", "task"), ("scope", "read:data:7"), ("outcome", "\"accepted\"")])
    );

    let claims = issuer.claims(&["read:data:8"]);
    let agent = claims.sub.to_string();
    let rejected = recorded(&service, get("/", &bearer(&issuer.sign(&claims)))).await;
    assert_eq!(
        rejected,
        fields(&[
            ("agent", &agent),
            ("task", "task"),
            ("scope", "\"read:data:7\""),
            ("outcome", "\"refused\""),
            ("reason", "\"insufficient_scope\""),
        ])
    );

    let without_token = recorded(&service, get_without_token("/")).await;
    assert_eq!(without_token, fields(&[("outcome", "\"refused\""), ("reason", "\"no_token\"")]));
}

#[tokio::test]
async fn no_field_contains_token() {
    let issuer = TestIssuer::new();
    for scope in ["read:data:7", "read:data:8"] {
        let token = issuer.token(&[scope]);
        let fields = recorded(&protected(&issuer), get("/", &bearer(&token))).await;
        assert!(!fields.is_empty());
        assert!(fields.iter().all(|(_, value)| !value.contains(&token)), "{fields:?}");
    }
}

#[tokio::test]
async fn response_has_claims_only_with_claims_in_responses() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:7"]);
    let request = || get("/", &bearer(&issuer.sign(&claims)));

    let response = send(&protected(&issuer), request()).await;
    assert!(response.extensions.get::<Verified>().is_none());

    let inner = || Inner::default().service();
    let by_authenticate = Authenticate::new(issuer.verifier()).claims_in_responses().layer(inner());
    let by_scope = RequireScope::new("read:data:7").verifier(issuer.verifier()).claims_in_responses().layer(inner());
    for response in [send(&by_authenticate, request()).await, send(&by_scope, request()).await] {
        let verified = response.extensions.get::<Verified>().unwrap();
        assert_eq!((verified.subject(), verified.token_id()), (&claims.sub, claims.jti));
    }
}

//! The ticket service: tickets, customers, refunds, notes, mail and knowledge behind scopes.
//!
//! 1. One layer around all routes verifies the token offline; each route names the scope that it requires, with the
//!    ticket or customer from its own path. No handler runs without it.
//! 2. A scope is no business rule: refunds have a limit of their own.
//! 3. The sender's identity comes from the mail gateway's check of the address, never from the text of a mail.
//! 4. Every rejection is a problem (RFC 9457).

use std::{fmt, sync::Arc};

use agentwrit_tower::{Authenticate, RequireScope};
use agentwrit_verify::Verifier;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, post},
};
use demo_common::service::{MAX_BODY, finish, method_not_allowed, unknown_path};
use http::Method;

use crate::store::Store;

mod customers;
mod knowledge;
mod mail;
mod tickets;

/// State of the handlers.
#[derive(Clone)]
pub(crate) struct Service {
    store: Arc<Store>,
}

/// Builds the API for tokens that `verifier` accepts.
pub fn routes(store: Arc<Store>, verifier: Verifier) -> Router {
    let notes = [(Method::GET, "read:customers:{customer_id}"), (Method::POST, "write:notes:{customer_id}")];
    let customer = [(Method::GET, "read:customers:{customer_id}"), (Method::DELETE, "delete:account:{customer_id}")];
    Router::new()
        .route("/tickets/{ticket_id}", get(tickets::show).layer(RequireScope::new("read:tickets:{ticket_id}")))
        .route("/tickets/{ticket_id}/sender", get(tickets::sender).layer(RequireScope::new("read:tickets:{ticket_id}")))
        .route(
            "/customers/{customer_id}",
            get(customers::show).merge(delete(customers::delete)).layer(RequireScope::by_method(customer)),
        )
        .route(
            "/customers/{customer_id}/balance",
            get(customers::balance).layer(RequireScope::new("read:billing:{customer_id}")),
        )
        .route(
            "/customers/{customer_id}/refunds",
            post(customers::refund).layer(RequireScope::new("write:billing:{customer_id}")),
        )
        .route(
            "/customers/{customer_id}/notes",
            get(customers::notes).post(customers::add_note).layer(RequireScope::by_method(notes)),
        )
        .route("/knowledge", get(knowledge::search).layer(RequireScope::new("read:kb:*")))
        .route("/mail/internal", post(mail::internal).layer(RequireScope::new("write:email:internal")))
        .route("/mail/external", post(mail::external).layer(RequireScope::new("write:email:external")))
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Authenticate::new(verifier))
        .layer(middleware::from_fn(finish))
        .with_state(Service { store })
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

//! The hospital's API: a file per resource, each naming the scopes of its routes.
//!
//! 1. One layer around all routes, unknown paths included, verifies the token. Each route names the scope that it
//!    requires, with the patient from its own path.
//! 2. Scopes that depend on a request's body are checked in the handler, which gets a `Permit`. Functions that write
//!    into a patient's file take that permit as an argument.
//! 3. A [`KnownPatient`](extract::KnownPatient) proves that the patient exists.
//! 4. Every rejection is a problem (RFC 9457) in the form of `agentwrit-tower`'s own.

use std::{fmt, sync::Arc};

use agentwrit_tower::{Authenticate, Readiness};
use agentwrit_verify::{Clock, Verifier};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware,
};
use demo_common::service::{MAX_BODY, finish, method_not_allowed, unknown_path};

use crate::store::Store;

mod billing;
mod extract;
mod formulary;
mod insurance;
mod interactions;
mod labs;
mod notes;
mod patients;
mod prescriptions;
mod records;

/// State of the handlers.
#[derive(Clone)]
struct Hospital {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// Builds the API for tokens that `verifier` accepts.
pub fn routes(store: Store, verifier: Verifier, clock: Arc<dyn Clock>) -> Router {
    Router::new()
        .merge(patients::routes())
        .merge(records::routes())
        .merge(notes::routes())
        .merge(labs::routes())
        .merge(prescriptions::routes())
        .merge(billing::routes())
        .merge(formulary::routes())
        .merge(insurance::routes())
        .merge(interactions::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Authenticate::new(verifier.clone()))
        .route_service("/ready", Readiness::new(verifier))
        .layer(middleware::from_fn(finish))
        .with_state(Hospital { store, clock })
}

impl FromRef<Hospital> for Store {
    fn from_ref(hospital: &Hospital) -> Self {
        hospital.store.clone()
    }
}

impl fmt::Debug for Hospital {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hospital").field("store", &self.store).finish_non_exhaustive()
    }
}

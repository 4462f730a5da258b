//! The hospital's API: a file per resource, each naming the scopes of its routes.
//!
//! 1. A token is verified once, around everything, unknown paths too. Each route then names the scope that it needs,
//!    with the patient from its own path.
//! 2. Whatever depends on a request's body is checked in the handler, which gets a `Permit` for it. What writes into a
//!    patient's file takes that permit as an argument.
//! 3. A handler that gets a [`KnownPatient`](extract::KnownPatient) need not ask whether there is such a patient.
//! 4. Every refusal is a problem (RFC 9457) in the form of `agentwrit-tower`'s own.

use std::{fmt, sync::Arc};

use agentwrit_tower::{Authenticate, Readiness};
use agentwrit_verify::{Clock, Verifier};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware,
};

use crate::store::Store;

mod answer;
mod billing;
mod error;
mod extract;
mod formulary;
mod labs;
mod notes;
mod patients;
mod prescriptions;
mod records;

/// The largest body that is read: a page of text.
const MAX_BODY: usize = 16 * 1024;

/// What every handler may use.
#[derive(Clone)]
struct Hospital {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// The whole API, for tokens that `verifier` accepts.
pub fn routes(store: Store, verifier: Verifier, clock: Arc<dyn Clock>) -> Router {
    Router::new()
        .merge(patients::routes())
        .merge(records::routes())
        .merge(notes::routes())
        .merge(labs::routes())
        .merge(prescriptions::routes())
        .merge(billing::routes())
        .merge(formulary::routes())
        .fallback(answer::unknown_path)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Authenticate::new(verifier.clone()))
        .route_service("/ready", Readiness::new(verifier))
        .layer(middleware::from_fn(answer::finish))
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

//! A protected service for tokens that are bound to the agent's key (RFC 9449). A client proves the key with a proof in each
//! request, or once for a TLS connection, by a certificate of the key: see [`tls`].

pub mod tls;

use agentwrit_tower::{ClientKey, RequireScope, Verified};
use agentwrit_verify::{Verifier, proof::ProofVerifier};
use axum::{
    Router,
    extract::{ConnectInfo, Path, Request},
    middleware::map_request,
    routing::get,
};

/// Returns the routes. Clones of `proofs` share one replay table, so that a proof is accepted once, at whichever route.
pub fn routes(verifier: Verifier, proofs: ProofVerifier) -> Router {
    let layer = RequireScope::new("read:records:{id}").verifier(verifier).proofs(proofs);
    Router::new().route("/records/{id}", get(read)).layer(layer)
}

/// Returns the routes for connections whose TLS ends here.
pub fn routes_over_tls(verifier: Verifier, proofs: ProofVerifier) -> Router {
    routes(verifier, proofs).layer(map_request(insert_client_key))
}

/// Inserts the key that the client of the connection proved. A token that is bound to it needs no proof.
async fn insert_client_key(ConnectInfo(connection): ConnectInfo<tls::Connection>, mut request: Request) -> Request {
    if let Some(key) = connection.client_key {
        request.extensions_mut().insert::<ClientKey>(key);
    }
    request
}

async fn read(Path(id): Path<String>, caller: Verified) -> String {
    format!("record {id}, for {}\n", caller.subject())
}

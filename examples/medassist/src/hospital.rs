//! The hospital's service: it follows the broker's keys and revocations, and sends it no request for a token.

use std::sync::Arc;

use agentwrit_verify::{SystemClock, remote::Follower};
use tokio::net::TcpListener;

use crate::{Failure, Store, routes};

/// Issuer of the tokens that the hospital accepts.
const ISSUER: &str = "https://agentwrit.local";

/// Serves the API until the listener fails. It starts with the broker's keys and revocations, and responds 503 after 30
/// s without them.
///
/// # Errors
///
/// When the follower, the database or the listener cannot start.
pub async fn serve(broker_url: &str, listener: TcpListener) -> Result<(), Failure> {
    let broker = Follower::builder(broker_url).issuer(ISSUER).start().await?;
    let verifier = broker.verifier().build();
    let routes = routes(Store::with_made_up_patients()?, verifier, Arc::new(SystemClock));
    Ok(axum::serve(listener, routes).await?)
}

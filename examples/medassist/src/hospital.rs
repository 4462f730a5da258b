//! The hospital's service as it would run: it follows the broker for keys and revocations, and never asks it about a
//! request.

use std::sync::Arc;

use agentwrit_verify::{SystemClock, remote::Follower};
use tokio::net::TcpListener;

use crate::{Failure, Store, routes};

/// Who signs the tokens that the hospital honours.
const ISSUER: &str = "https://agentwrit.local";

/// Serves the API until the listener fails. It answers nobody before it has the broker's keys and revocations, and 503
/// when it has been cut off from them for 30 s.
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

//! A protected service: all that a resource server needs.

use agentwrit_tower::{RequireScope, Verified};
use agentwrit_verify::remote::Follower;
use axum::{Router, extract::Path, routing::get};
use tokio::net::TcpListener;

use crate::Failure;

/// Serves `GET /data/{id}` to whoever holds `read:data:*`. The broker is followed for its keys and its revocations, and
/// never asked about a request.
pub(crate) async fn serve(broker: &str, listener: TcpListener) -> Result<(), Failure> {
    let broker = Follower::builder(broker).issuer("https://agentwrit.local").start().await?;
    let verifier = broker.verifier().build();
    let routes =
        Router::new().route("/data/{id}", get(read)).layer(RequireScope::new("read:data:*").verifier(verifier));
    Ok(axum::serve(listener, routes).await?)
}

async fn read(Path(id): Path<String>, who: Verified) -> String {
    format!("record {id}, for {}\n", who.subject())
}

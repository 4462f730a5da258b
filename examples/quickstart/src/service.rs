//! Protected service: a complete resource server.

use agentwrit_tower::{RequireScope, Verified};
use agentwrit_verify::remote::Follower;
use axum::{Router, extract::Path, routing::get};
use tokio::net::TcpListener;

use crate::Failure;

/// Serves `GET /data/{id}` to tokens with `read:data:*`. It follows the broker's keys and revocations, and sends it no
/// request for a token.
pub(crate) async fn serve(broker: &str, listener: TcpListener) -> Result<(), Failure> {
    let broker = Follower::builder(broker).issuer("https://agentwrit.local").start().await?;
    let verifier = broker.verifier().build();
    let routes =
        Router::new().route("/data/{id}", get(read)).layer(RequireScope::new("read:data:*").verifier(verifier));
    Ok(axum::serve(listener, routes).await?)
}

async fn read(Path(id): Path<String>, caller: Verified) -> String {
    format!("record {id}, for {}\n", caller.subject())
}

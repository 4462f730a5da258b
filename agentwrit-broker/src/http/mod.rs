//! The HTTP side: the route table, then one file per resource. A handler decodes, calls the [`Authority`], encodes.

mod admin_auth;
mod app_auth;
mod apps;
mod challenge;
mod client;
mod health;
mod keys;
mod launch_tokens;
mod members;
mod problem;
mod register;
mod request;
mod validate;

use std::sync::Arc;

use agentwrit_tower::RequireScope;
use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};

pub(crate) use self::client::PeerAddress;
use crate::authority::Authority;

/// What every handler has at hand.
type Shared = Arc<Authority>;

/// The whole API.
pub(crate) fn router(authority: Arc<Authority>, edge: Edge) -> Router {
    let needs = |scope: &str, routes: MethodRouter<Shared>| {
        // Method by method: an unknown method of a guarded path is 405, not 401.
        routes.route_layer(RequireScope::new(scope).verifier(authority.verifier.clone()))
    };
    let admin = |routes| needs("admin:launch-tokens:*", routes);
    Router::new()
        .route("/v1/health", get(health::health))
        .route("/v1/metrics", get(health::metrics))
        .route("/v1/challenge", get(challenge::issue))
        .route("/.well-known/jwks.json", get(keys::key_set))
        .route("/v1/token/validate", post(validate::validate))
        .route("/v1/admin/auth", post(admin_auth::authenticate))
        .route("/v1/app/auth", post(app_auth::authenticate))
        .route("/v1/register", post(register::register))
        .route("/v1/admin/launch-tokens", admin(post(launch_tokens::issue)))
        .route("/v1/app/launch-tokens", needs("app:launch-tokens:*", post(launch_tokens::issue)))
        .route("/v1/admin/apps", admin(get(apps::list).post(apps::create)))
        .route("/v1/admin/apps/{id}", admin(get(apps::show).put(apps::update).delete(apps::deregister)))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state((Arc::clone(&authority), Arc::new(edge)), request::serve))
        .with_state(authority)
}

/// What the surroundings of the broker mean for its answers.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether connections are encrypted here, so that browsers should insist on it.
    pub(crate) tls: bool,
}

//! The HTTP side: the route table, then one file per resource. A handler decodes, calls the [`Services`], encodes.

mod admin_auth;
mod app_auth;
mod apps;
mod audit;
mod body;
mod challenge;
mod client;
mod health;
mod keys;
mod large;
mod launch_tokens;
mod lists;
mod members;
mod openapi;
mod parameters;
mod problem;
mod register;
mod request;
mod revocations;
mod tokens;
mod validate;

use std::sync::Arc;

use agentwrit_tower::{Authenticate, RequireScope};
use axum::{
    Router, middleware,
    routing::{MethodRouter, delete, get, post},
};

pub(crate) use self::{client::PeerAddress, health::health};
use crate::service::Services;

/// What every handler has at hand.
type Shared = Arc<Services>;

/// The whole API.
pub(crate) fn router(services: Arc<Services>, edge: Edge) -> Router {
    routes(&services)
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state((Arc::clone(&services), Arc::new(edge)), request::serve))
        .with_state(services)
}

/// The route table. docs/openapi.json describes each of them; a test holds the two together.
fn routes(services: &Services) -> [(&'static str, MethodRouter<Shared>); 25] {
    let needs = |scope: &str, routes: MethodRouter<Shared>| {
        // Method by method: an unknown method of a guarded path is 405, not 401.
        routes.route_layer(RequireScope::new(scope).verifier(services.verifier.clone()))
    };
    let admin = |routes| needs("admin:launch-tokens:*", routes);
    let holder = |routes: MethodRouter<Shared>| routes.route_layer(Authenticate::new(services.verifier.clone()));
    let renew = holder(post(tokens::renew)).route_layer(middleware::map_response(tokens::say_renewal_failed));
    let release = holder(post(tokens::release)).route_layer(middleware::map_response(tokens::accept_released));
    [
        ("/v1/health", get(health::health_endpoint)),
        ("/v1/metrics", get(health::metrics)),
        ("/v1/openapi.json", get(openapi::document)),
        ("/v1/challenge", get(challenge::issue)),
        ("/.well-known/jwks.json", get(keys::key_set)),
        ("/v1/token/validate", post(validate::validate)),
        ("/v1/admin/auth", post(admin_auth::authenticate)),
        ("/v1/app/auth", post(app_auth::authenticate)),
        ("/v1/register", post(register::register)),
        ("/v1/token/renew", renew),
        ("/v1/token/release", release),
        ("/v1/delegate", holder(post(tokens::delegate))),
        ("/v1/revocations", get(revocations::feed)),
        ("/v1/revoke", needs("admin:revoke:*", post(revocations::revoke))),
        ("/v1/admin/revocations", needs("admin:revoke:*", get(revocations::list))),
        ("/v1/audit/events", needs("admin:audit:*", get(audit::all_events))),
        ("/v1/app/audit/events", needs("app:audit:read", get(audit::own_events))),
        ("/v1/app/agents", needs("app:agents:*", get(audit::own_agents))),
        ("/v1/admin/launch-tokens", admin(get(launch_tokens::list).post(launch_tokens::issue))),
        ("/v1/admin/launch-tokens/{id}", admin(delete(launch_tokens::delete))),
        ("/v1/app/launch-tokens", needs("app:launch-tokens:*", post(launch_tokens::issue))),
        ("/v1/admin/apps", admin(get(apps::list).post(apps::create))),
        ("/v1/admin/apps/{id}", admin(get(apps::show).put(apps::update).delete(apps::deregister))),
        ("/v1/admin/apps/{id}/suspend", admin(post(apps::suspend))),
        ("/v1/admin/apps/{id}/resume", admin(post(apps::resume))),
    ]
}

/// What the surroundings of the broker mean for its answers.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether connections are encrypted here, so that browsers should insist on it.
    pub(crate) tls: bool,
}

//! HTTP: the route table, then one file per resource. A handler decodes, calls the [`Services`], encodes.

mod apps;
mod audit;
mod body;
mod client;
mod client_address;
mod confirmed;
mod enrolment;
mod errors;
mod inventory;
mod keys;
mod large_responses;
mod launch_tokens;
mod logins;
mod operation;
mod proofs;
mod query;
mod recheck;
mod registration;
mod reports;
mod request;
mod request_ids;
mod revocations;
#[cfg(test)]
mod tests;
mod tokens;
mod trust_rules;
mod verifiers;

use std::sync::Arc;

use agentwrit_protocol::paths;
use agentwrit_tower::{Authenticate, RequireScope};
use axum::{
    Extension, Router, middleware,
    routing::{MethodRouter, delete, get, post},
};

use self::request::Entrance;
pub(crate) use self::{
    body::{ConnectionPlace, FormBody, ServerStopping},
    client::{Client, PeerAddress},
    errors::{Described, HttpError},
    operation::health,
    proofs::ProofVerifiers,
};
use crate::service::Services;

/// State of the handlers.
type Shared = Arc<Services>;

/// Builds the whole API.
#[cfg(test)]
pub(crate) fn router(services: Arc<Services>, edge: Edge) -> Router {
    finished(api(&services, &edge), services, edge)
}

/// Builds the whole API, and adds the pages of the console.
pub(crate) fn router_with_pages(services: Arc<Services>, edge: Edge, pages: Router<Shared>) -> Router {
    finished(api(&services, &edge).merge(pages), services, edge)
}

/// Returns the routes of the API.
fn api(services: &Arc<Services>, edge: &Edge) -> Router<Shared> {
    let routes = routes(services, &edge.proofs).into_iter();
    routes.fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

/// Adds what every request passes.
fn finished(router: Router<Shared>, services: Arc<Services>, edge: Edge) -> Router {
    router
        .fallback(errors::not_found)
        .method_not_allowed_fallback(errors::method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::new(Entrance::new(Arc::clone(&services), edge)), request::serve))
        .with_state(services)
}

/// Returns the route table. docs/openapi.json describes each route; a test compares the two.
fn routes(services: &Arc<Services>, verifiers: &ProofVerifiers) -> [(&'static str, MethodRouter<Shared>); 41] {
    // Runs before the layer that judges the token. The revocations of a single broker are always up to date.
    let confirm = |routes: MethodRouter<Shared>| {
        if !services.ledger.store.is_shared() {
            return routes;
        }
        routes.route_layer(middleware::from_fn_with_state(Arc::clone(services), confirmed::confirm))
    };
    let require = |scope: &str, routes: MethodRouter<Shared>| {
        // Method by method: an unknown method of a guarded path is 405, not 401.
        let rechecked = routes.route_layer(middleware::from_fn_with_state(Arc::clone(services), recheck::recheck));
        confirm(rechecked.route_layer(RequireScope::new(scope).verifier(services.verifier.clone())))
    };
    let admin = |routes| require("admin:launch-tokens:*", routes);
    let keys = |routes| require("admin:keys:*", routes);
    let authenticate = Authenticate::new(services.verifier.clone()).proofs(verifiers.tokens.clone());
    let holder = |routes: MethodRouter<Shared>| confirm(routes.route_layer(authenticate.clone()));
    let challenge = || middleware::from_fn(proofs::challenge_in_scheme);
    let renew = holder(post(tokens::renew)).route_layer(middleware::map_response(tokens::reject_renewal));
    let release = holder(post(tokens::release)).route_layer(middleware::map_response(tokens::accept_released));
    [
        (paths::HEALTH, get(operation::health_endpoint)),
        (paths::METRICS, get(operation::metrics)),
        (paths::OPENAPI, get(operation::openapi)),
        (paths::CHALLENGE, get(registration::challenge)),
        (paths::KEY_SET, get(verifiers::key_set)),
        (paths::TOKEN_VALIDATE, post(tokens::validate)),
        (paths::ADMIN_AUTH, post(logins::admin)),
        (paths::APP_AUTH, post(logins::app)),
        (paths::REGISTER, post(registration::register).route_layer(Extension(verifiers.clone()))),
        (paths::TOKEN_RENEW, renew.route_layer(challenge())),
        (paths::TOKEN_RELEASE, release.route_layer(challenge())),
        (paths::DELEGATE, holder(post(tokens::delegate)).route_layer(challenge())),
        (paths::REVOCATIONS, get(verifiers::revocation_feed)),
        (paths::REVOKE, require("admin:revoke:*", post(revocations::revoke))),
        (paths::REVOCATION_CONFIRMATION, require("admin:revoke:*", get(revocations::confirmation))),
        (paths::CONFIRMATION_EVIDENCE, require("admin:revoke:*", get(revocations::evidence))),
        (paths::ADMIN_REVOCATIONS, require("admin:revoke:*", get(revocations::list))),
        (paths::ADMIN_KEYS, keys(get(keys::list).post(keys::prepare))),
        (paths::ADMIN_KEY_ROTATION, keys(post(keys::rotate))),
        (paths::ADMIN_KEY_ACTIVATE, keys(post(keys::activate))),
        (paths::ADMIN_KEY_RETIRE, keys(post(keys::retire))),
        (paths::ADMIN_KEY_WITHDRAW, keys(post(keys::withdraw))),
        (paths::AUDIT_EVENTS, require("admin:audit:*", get(audit::list))),
        (paths::APP_AUDIT_EVENTS, require("app:audit:read", get(audit::list_own))),
        (paths::APP_AGENTS, require("app:agents:*", get(registration::list_own))),
        (paths::ADMIN_LAUNCH_TOKENS, admin(get(launch_tokens::list).post(launch_tokens::issue))),
        (paths::ADMIN_LAUNCH_TOKEN, admin(delete(launch_tokens::delete))),
        (paths::APP_LAUNCH_TOKENS, require("app:launch-tokens:*", post(launch_tokens::issue))),
        (paths::VERIFIER_REPORTS, post(reports::report)),
        (paths::ADMIN_VERIFIERS, require("admin:verifiers:*", get(enrolment::list).post(enrolment::enrol))),
        (paths::ADMIN_VERIFIER, require("admin:verifiers:*", delete(enrolment::remove).put(enrolment::update))),
        (paths::ADMIN_VERIFIER_INSTANCE, require("admin:verifiers:*", delete(enrolment::forget))),
        (paths::ADMIN_TRUST_RULES, require("admin:trust-rules:*", get(trust_rules::list).post(trust_rules::add))),
        (paths::ADMIN_TRUST_RULE, require("admin:trust-rules:*", delete(trust_rules::remove))),
        (paths::ADMIN_APPS, admin(get(apps::list).post(apps::create))),
        (paths::ADMIN_APP, admin(get(apps::show).put(apps::update).delete(apps::deregister))),
        (paths::ADMIN_APP_SUSPEND, admin(post(apps::suspend))),
        (paths::ADMIN_APP_RESUME, admin(post(apps::resume))),
        (paths::ADMIN_APP_ROTATE_SECRET, admin(post(apps::rotate_secret))),
        (paths::ADMIN_AGENTS, require("admin:agents:*", get(inventory::agents))),
        (paths::ADMIN_TOKENS, require("admin:agents:*", get(inventory::tokens))),
    ]
}

/// Facts about the network in front of the broker that responses depend on.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Proxies whose `X-Forwarded-For` counts.
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// True when the broker terminates TLS itself, so that browsers should insist on it.
    pub(crate) tls: bool,
    /// Verifiers of proofs for the URLs by which clients reach the broker.
    pub(crate) proofs: ProofVerifiers,
}

#[cfg(test)]
impl Edge {
    /// The edge of a broker that clients reach as `http://127.0.0.1:8080`.
    pub(crate) fn for_tests(services: &Services) -> Self {
        let address = ([127, 0, 0, 1], 8080).into();
        let proofs = ProofVerifiers::new(&[], address, false, &services.ledger.clock).unwrap();
        Self { trusted_proxies: Vec::new(), tls: false, proofs }
    }
}

//! The operator's console: pages under `/console`, if `AA_CONSOLE` is true.
//!
//! 1. A session is made of the admin secret, in memory of this broker. Its cookie names it; the session holds the operator's
//!    token, which never leaves the broker, so that a revocation of `admin` or of that token ends the session too.
//! 2. A session ends after [`IDLE_LIMIT`](session::IDLE_LIMIT) without a request, and with its token. Requests by which a page
//!    refreshes itself, waits for news or asks for the time that is left do not keep it alive.
//! 3. A request of another site is rejected. One that changes something also needs the token of its session in its form.
//! 4. A page loads nothing from other hosts, has no inline script or style, and is in no frame. It works without the script.
//! 5. The services do the work, as for the API. Their events name the console.
//! 6. A secret that is issued is in one response, and nowhere else.
//!
//! ```text
//! guard → session → handler → service → template
//! ```

mod agents;
mod apps;
mod assets;
mod audit;
mod counts;
mod error;
mod fields;
mod format;
mod frame;
mod guard;
mod keys;
mod launch_tokens;
mod live;
mod overview;
mod page;
mod revocation;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;
mod trust_rules;
mod verifiers;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{any, get, post},
};

use tokio::sync::Semaphore;

use self::{counts::Counter, error::ConsoleError, overview::Activity, session::Sessions};
use crate::service::Services;

/// Name of the console in events.
const INTERFACE: &str = "console";

/// State of the pages.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    services: Arc<Services>,
    sessions: Arc<Sessions>,
    activity: Arc<Activity>,
    counter: Arc<Counter>,
    /// Places of requests that wait for news.
    waiting: Arc<Semaphore>,
}

impl Console {
    /// Creates a console without sessions. `is_https` tells whether browsers reach it by TLS.
    pub(crate) fn new(services: Arc<Services>, is_https: bool) -> Self {
        let (sessions, waiting) = (Arc::new(Sessions::new(is_https)), Arc::new(Semaphore::new(live::MAX_WAITING)));
        Self { services, sessions, activity: Arc::default(), counter: Arc::new(Counter::new()), waiting }
    }

    /// Returns the routes of the pages, for the router of the broker.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new()
            .route("/console", get(overview::page))
            .route("/console/sign-in", get(sign_in::page).post(sign_in::sign_in))
            .route("/console/sign-out", post(sign_in::sign_out))
            .route("/console/session", get(page::session))
            .route("/console/agents", get(agents::list))
            .route("/console/agent", get(agents::page))
            .route("/console/revoke", get(revocation::page).post(revocation::revoke))
            .route("/console/confirmation", get(revocation::confirmation))
            .route("/console/apps", get(apps::list).post(apps::create))
            .route("/console/app", get(apps::page).post(apps::change))
            .route("/console/launch-tokens", get(launch_tokens::list).post(launch_tokens::issue))
            .route("/console/launch-tokens/delete", post(launch_tokens::delete))
            .route("/console/trust-rules", get(trust_rules::list).post(trust_rules::add))
            .route("/console/trust-rules/remove", post(trust_rules::remove))
            .route("/console/verifiers", get(verifiers::list).post(verifiers::enrol))
            .route("/console/verifiers/remove", post(verifiers::remove))
            .route("/console/keys", get(keys::list).post(keys::change))
            .route("/console/audit", get(audit::list))
            .route("/console/audit/export", get(audit::export))
            .route("/console/audit/verify", post(audit::verify))
            .route("/console/assets/icon.svg", get(assets::icon))
            .route("/console/assets/console.css", get(assets::style))
            .route("/console/assets/console.js", get(assets::script))
            // Here, so that the responses have the headers of the guard.
            .route("/console/", any(not_found))
            .route("/console/{*path}", any(not_found))
            .method_not_allowed_fallback(not_allowed)
            .layer(middleware::from_fn(guard::guard))
            .with_state(self)
    }
}

async fn not_found() -> ConsoleError {
    ConsoleError::NotFound { what: "the console has no such page" }
}

async fn not_allowed() -> ConsoleError {
    ConsoleError::MethodNotAllowed
}

//! The page: one document, one script, one stylesheet, and each run as server-sent events.
//!
//! 1. Nothing is inline and nothing comes from elsewhere (Content-Security-Policy). The script sets text only.
//! 2. Requests must name the loopback interface as their host, so that no other site reaches the page by a DNS name of
//!    its own; a run is started by `application/json` only, which no foreign form can send.
//! 3. The number of runs at a time and of runs kept is bounded.

mod guard;
mod runs;

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    http::{StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use tokio::net::TcpListener;

use self::runs::Runs;
use crate::{
    Failure, PreparedTicket, TICKETS,
    desk::{CEILING, Desk},
};

const STYLE: &str = include_str!("../assets/desk.css");
const ICON: &str = include_str!("../assets/icon.svg");
const SCRIPT: &str = include_str!("../assets/desk.js");

/// Page of a desk.
#[derive(Clone, Debug)]
pub struct Page {
    desk: Arc<Desk>,
    runs: Runs,
    pace: Duration,
}

/// Document.
#[derive(Template)]
#[template(path = "page.html")]
struct Document<'a> {
    tickets: &'a [PreparedTicket],
    ceiling: &'a [&'a str],
    model: String,
    is_language_model: bool,
    broker_url: &'a str,
    service_url: &'a str,
}

impl Page {
    /// Builds the page. A run pauses for `pace` between its steps.
    #[must_use]
    pub fn new(desk: Arc<Desk>, pace: Duration) -> Self {
        Self { desk, runs: Runs::default(), pace }
    }

    /// Serves the page until `stop` is done. Open streams are cut then.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let serving = axum::serve(listener, self.routes());
        tokio::select! {
            served = serving => Ok(served?),
            () = stop => Ok(()),
        }
    }

    /// Builds the routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/", get(document))
            .route("/desk.css", get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }))
            .route("/desk.js", get(|| async { ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT) }))
            .route("/icon.svg", get(|| async { ([(header::CONTENT_TYPE, "image/svg+xml")], ICON) }))
            .route("/runs", post(runs::start))
            .route("/runs/{run}/events", get(runs::events))
            .layer(middleware::from_fn(guard::check))
            .with_state(self)
    }
}

async fn document(axum::extract::State(page): axum::extract::State<Page>) -> Response {
    let description = page.desk.model().description();
    let document = Document {
        tickets: &TICKETS,
        ceiling: &CEILING,
        model: description.to_string(),
        is_language_model: description.is_language_model(),
        broker_url: page.desk.broker_url(),
        service_url: page.desk.service_url(),
    };
    match document.render() {
        Ok(html) => Html(html).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

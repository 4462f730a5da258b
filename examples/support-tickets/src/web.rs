//! The page: one document, one script, one stylesheet, and each run as server-sent events.
//!
//! 1. The page is confined to the loopback interface and to its own origin. The script sets text only.
//! 2. The number of runs at a time and of runs kept is bounded.

mod runs;

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use demo_common::web::{Asset, SCRIPT, STYLE, asset_routes, confined, operator_routes};
use tokio::net::TcpListener;

use self::runs::Runs;
use crate::{
    Failure, PreparedTicket, TICKETS,
    desk::{CEILING, Desk},
};

const ASSETS: [Asset; 3] = [
    Asset { path: "/desk.css", media_type: STYLE, contents: include_str!("../assets/desk.css") },
    Asset { path: "/desk.js", media_type: SCRIPT, contents: include_str!("../assets/desk.js") },
    Asset { path: "/icon.svg", media_type: "image/svg+xml", contents: include_str!("../assets/icon.svg") },
];

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

    /// Serves the page.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), Failure> {
        Ok(axum::serve(listener, self.routes()).await?)
    }

    /// Builds the routes.
    pub fn routes(self) -> Router {
        let broker = self.desk.connected().clone();
        let routes = Router::new()
            .route("/", get(document))
            .route("/runs", post(runs::start))
            .route("/runs/{run}/events", get(runs::events))
            .with_state(self)
            .merge(operator_routes(broker))
            .merge(asset_routes(&ASSETS));
        confined(routes, Vec::new())
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

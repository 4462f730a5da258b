//! The frame around a page, and the response that holds it.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

/// Entries of the navigation: path and title.
const ENTRIES: [(&str, &str); 9] = [
    ("/console", "Overview"),
    ("/console/agents", "Agents"),
    ("/console/revoke", "Revoke"),
    ("/console/apps", "Apps"),
    ("/console/launch-tokens", "Launch tokens"),
    ("/console/trust-rules", "Trust rules"),
    ("/console/verifiers", "Verifiers"),
    ("/console/keys", "Keys"),
    ("/console/audit", "Audit"),
];
/// Paths of the other pages.
const DETAILS: [&str; 3] = ["/console/agent", "/console/app", "/console/confirmation"];

/// Frame around a page.
#[derive(Debug)]
pub(super) struct Frame {
    /// Name of the active entry of the navigation.
    pub(super) active: &'static str,
    /// Token of the session's forms; empty outside of a session.
    pub(super) form_token: String,
    /// Seconds until the session ends without another request.
    pub(super) session_left: u64,
}

impl Frame {
    /// Frame of a page outside of a session.
    pub(super) fn outside() -> Self {
        Self { active: "", form_token: String::new(), session_left: 0 }
    }

    pub(super) fn is_signed_in(&self) -> bool {
        !self.form_token.is_empty()
    }

    /// Returns the entries of the navigation: path, title, and whether it is the active one.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        ENTRIES.into_iter().map(|(path, title)| (path, title, title == self.active))
    }

    /// Returns true for the path of a page that a link leads to.
    pub(super) fn is_page(path: &str) -> bool {
        ENTRIES.iter().any(|(entry, _)| *entry == path) || DETAILS.contains(&path)
    }
}

/// Renders a page.
pub(super) fn html(page: &impl Template, status: StatusCode) -> Result<Response, askama::Error> {
    Ok((status, Html(page.render()?)).into_response())
}

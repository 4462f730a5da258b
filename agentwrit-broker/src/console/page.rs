//! The operator who sees a page, and the response to a request without a session.

use askama::Template;
use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderName, Method, StatusCode, request::Parts};

use std::net::IpAddr;

use super::{
    Console,
    error::ConsoleError,
    frame::{Frame, html},
};
use crate::{
    http::Client,
    service::{Bearer, Error},
};

/// Header of requests by which a page refreshes itself.
const REFRESH: HeaderName = HeaderName::from_static("agentwrit-refresh");

/// Operator of a session that has not ended.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) bearer: Bearer,
    pub(super) form_token: String,
    pub(super) client: IpAddr,
}

impl Operator {
    /// Returns the frame of a page.
    pub(super) fn frame(&self, active: &'static str) -> Frame {
        Frame { active, form_token: self.form_token.clone() }
    }

    /// Returns the bearer of an operation.
    #[expect(clippy::unnecessary_wraps, reason = "services take the bearer of a request, if it has one")]
    pub(super) fn bearer(&self) -> Option<Bearer> {
        Some(self.bearer.clone())
    }
}

impl FromRequestParts<Console> for Operator {
    type Rejection = SignedOut;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, SignedOut> {
        let Ok(Client(client)) = Client::from_request_parts(parts, console).await;
        let services = &console.services;
        let counts = !parts.headers.contains_key(REFRESH);
        let session = console.sessions.find(&parts.headers, services.ledger.monotonic(), counts);
        let session = session.ok_or_else(|| SignedOut::of(parts))?;
        if services.ledger.store.is_shared() {
            services.ledger.confirm().await.map_err(|error| SignedOut::Failed(Error::from(error)))?;
        }
        if let Ok(token) = services.verifier.verify_token(&session.token) {
            return Ok(Self { bearer: token.into(), form_token: session.form_token, client });
        }
        console.sessions.end(&parts.headers);
        Err(SignedOut::of(parts))
    }
}

/// A request without a session.
#[derive(Debug)]
pub(super) enum SignedOut {
    /// The request shows a page, which follows the sign-in.
    Page(String),
    /// The request would change something.
    Action,
    /// The store did not tell if the session has ended.
    Failed(Error),
}

impl SignedOut {
    fn of(parts: &Parts) -> Self {
        let target = parts.uri.path_and_query().map_or("/console", |target| target.as_str());
        if parts.method == Method::GET { Self::Page(target.to_owned()) } else { Self::Action }
    }
}

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        match self {
            Self::Page(target) => {
                let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", &target).finish();
                Redirect::to(&format!("/console/sign-in?{query}")).into_response()
            }
            Self::Action => ConsoleError::SignedOut.into_response(),
            Self::Failed(error) => ConsoleError::Service(error).into_response(),
        }
    }
}

impl From<SignedOut> for ConsoleError {
    fn from(signed_out: SignedOut) -> Self {
        match signed_out {
            SignedOut::Page(_) | SignedOut::Action => Self::SignedOut,
            SignedOut::Failed(error) => Self::Service(error),
        }
    }
}

/// Renders a page.
pub(super) fn render(page: &impl Template) -> Result<Response, ConsoleError> {
    html(page, StatusCode::OK).map_err(ConsoleError::Template)
}

//! The operator who sees a page, and the response to a request without a session.

use agentwrit_verify::FeedCursor;
use askama::Template;
use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Redirect, Response},
};
use http::{Method, StatusCode, request::Parts};

use std::{net::IpAddr, time::Duration};

use super::{
    Console,
    error::ConsoleError,
    frame::{Frame, html},
    session::{RevokedHere, Session, is_refresh},
};
use crate::{
    http::Client,
    service::{Bearer, Error},
};

/// Operator of a session that has not ended.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) bearer: Bearer,
    pub(super) form_token: String,
    pub(super) client: IpAddr,
    /// Time until the session ends without another request.
    session_left: Duration,
    session: Session,
}

impl Operator {
    /// Returns the frame of a page.
    pub(super) fn frame(&self, active: &'static str) -> Frame {
        Frame { active, form_token: self.form_token.clone(), session_left: self.session_left.as_secs() }
    }

    /// Returns the revocation that ended at a place of the log, if this session made it.
    pub(super) fn revocation(&self, cursor: &FeedCursor) -> Option<&RevokedHere> {
        self.session.revocation(cursor)
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
        let now = services.ledger.monotonic();
        let session = console.sessions.find(&parts.headers, now, !is_refresh(&parts.headers));
        let session = session.ok_or_else(|| SignedOut::of(parts, console))?;
        if services.ledger.store.is_shared() {
            services.ledger.confirm().await.map_err(|error| SignedOut::Failed(Error::from(error)))?;
        }
        if let Ok(token) = services.verifier.verify_token(&session.token) {
            let session_left = session.idle_left(now).min(token.expires_in());
            let form_token = session.form_token.clone();
            return Ok(Self { bearer: token.into(), form_token, client, session_left, session });
        }
        console.sessions.end(&parts.headers);
        Err(SignedOut::of(parts, console))
    }
}

/// A request without a session.
#[derive(Debug)]
pub(super) enum SignedOut {
    /// The request shows a page, which follows the sign-in.
    Page {
        target: String,
        /// True if the request names a session, which has ended.
        has_ended: bool,
    },
    /// The request would change something.
    Action,
    /// The store did not tell if the session has ended.
    Failed(Error),
}

impl SignedOut {
    fn of(parts: &Parts, console: &Console) -> Self {
        if parts.method != Method::GET {
            return Self::Action;
        }
        let target = parts.uri.path_and_query().map_or("/console", |target| target.as_str());
        Self::Page { target: target.to_owned(), has_ended: console.sessions.is_named(&parts.headers) }
    }
}

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        match self {
            Self::Page { target, has_ended } => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("next", &target);
                if has_ended {
                    query.append_pair("ended", "1");
                }
                Redirect::to(&format!("/console/sign-in?{}", query.finish())).into_response()
            }
            Self::Action => ConsoleError::SignedOut.into_response(),
            Self::Failed(error) => ConsoleError::Service(error).into_response(),
        }
    }
}

impl From<SignedOut> for ConsoleError {
    fn from(signed_out: SignedOut) -> Self {
        match signed_out {
            SignedOut::Page { .. } | SignedOut::Action => Self::SignedOut,
            SignedOut::Failed(error) => Self::Service(error),
        }
    }
}

/// Returns the number of seconds until the session ends without another request.
pub(super) async fn session(operator: Operator) -> String {
    operator.session_left.as_secs().to_string()
}

/// Renders a page.
pub(super) fn render(page: &impl Template) -> Result<Response, ConsoleError> {
    html(page, StatusCode::OK).map_err(ConsoleError::Template)
}

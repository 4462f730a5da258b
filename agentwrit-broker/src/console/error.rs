//! Failures, as pages.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};

use super::frame::{Frame, html};
use crate::{http::Described, service::Error, store::StoreError};

/// Reason that a page is not shown.
#[derive(Debug)]
pub(super) enum ConsoleError {
    /// The session has ended, or there is none.
    SignedOut,
    /// The request is of another site.
    OtherSite,
    /// The form is not one of the session's.
    StaleForm,
    /// The body is not a form.
    Form(crate::http::HttpError),
    /// A field of the form or the address is malformed.
    Field { name: &'static str, problem: String },
    /// There is nothing at the address.
    NotFound { what: &'static str },
    /// The address takes requests of other methods.
    MethodNotAllowed,
    /// An operation was rejected, or failed.
    Service(Error),
    /// A template failed.
    Template(askama::Error),
}

impl From<Error> for ConsoleError {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl From<StoreError> for ConsoleError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

#[derive(askama::Template)]
#[template(path = "console/error.html")]
struct ErrorPage {
    frame: Frame,
    title: &'static str,
    detail: String,
    hint: Option<&'static str>,
}

impl IntoResponse for ConsoleError {
    fn into_response(self) -> Response {
        let described = self.described();
        let status = StatusCode::from_u16(described.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = status.canonical_reason().unwrap_or("Error");
        let Described { detail, hint, retry_after, .. } = described;
        let page = ErrorPage { frame: Frame::outside(), title, detail, hint };
        let mut response = html(&page, status).unwrap_or_else(|_| status.into_response());
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl ConsoleError {
    fn described(&self) -> Described {
        let rejected = |status: StatusCode, detail: &str, hint| Described {
            status: status.as_u16(),
            detail: detail.to_owned(),
            hint,
            retry_after: None,
        };
        match self {
            Self::SignedOut => {
                rejected(StatusCode::UNAUTHORIZED, "the session has ended; nothing was done", Some("sign in again"))
            }
            Self::OtherSite => {
                rejected(StatusCode::FORBIDDEN, "the request is of another site; nothing was done", None)
            }
            Self::StaleForm => rejected(
                StatusCode::FORBIDDEN,
                "the form is of an earlier session; nothing was done",
                Some("open the page again and repeat the action"),
            ),
            Self::Form(error) => Described::of(error),
            Self::Field { name, problem } => rejected(StatusCode::BAD_REQUEST, &format!("{name}: {problem}"), None),
            Self::NotFound { what } => rejected(StatusCode::NOT_FOUND, what, None),
            Self::MethodNotAllowed => {
                rejected(StatusCode::METHOD_NOT_ALLOWED, "the page takes no request of this method", None)
            }
            Self::Service(error) => Described::of_service(error),
            Self::Template(error) => {
                tracing::error!(component = "console", %error, "a page was not rendered");
                rejected(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered", None)
            }
        }
    }
}

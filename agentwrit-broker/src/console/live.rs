//! Requests of pages that wait for news.
//!
//! 1. A page sends the version that it shows. Its request is answered once there is another version, after [`LONGEST_WAIT`], or when
//!    the broker stops.
//! 2. Few requests wait. Any other is answered at once, and its page asks each second.
//! 3. It does not keep its session alive, and gets no page of a session that ended while it waited.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Console,
    page::{Operator, SignedOut},
    session::NEWEST,
};

/// Longest time that a request waits.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Largest number of requests that wait.
pub(super) const MAX_WAITING: usize = 16;

/// A request that may wait for news.
#[derive(Debug)]
pub(super) struct Live {
    parts: Parts,
    /// Version that the page shows; none if it is opened.
    shown: Option<String>,
    place: Option<OwnedSemaphorePermit>,
}

impl FromRequestParts<Console> for Live {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Infallible> {
        let shown = parts.headers.get(NEWEST).and_then(|shown| Some(shown.to_str().ok()?.to_owned()));
        let place = shown.as_ref().and_then(|_| Arc::clone(&console.waiting).try_acquire_owned().ok());
        Ok(Self { parts: parts.clone(), shown, place })
    }
}

impl Live {
    /// Returns the version that the page shows, if the request waits for another.
    pub(super) fn waits_beyond(&self) -> Option<&str> {
        self.shown.as_deref().filter(|_| self.place.is_some())
    }

    /// Returns the operator, whose session may have ended while the request waited.
    pub(super) async fn operator(mut self, console: &Console) -> Result<Operator, SignedOut> {
        Operator::from_request_parts(&mut self.parts, console).await
    }

    /// Seconds until the page requests the next version: none to speak of if the broker makes it wait.
    pub(super) fn pause(&self) -> &'static str {
        if self.shown.is_some() && self.place.is_none() { "1" } else { "0.1" }
    }
}

//! Observability of decisions: an event, the fields of the current span, and with the `metrics` feature a counter and a
//! histogram.
//!
//! The fields are `agent` (the token's subject), `task`, `scope` (the required one), `outcome` (`accepted`, `refused`)
//! and `reason` (of a rejection, out of a fixed list). No field ever holds a token.

use std::error::Error as _;

use agentwrit_protocol::RequestId;
use agentwrit_verify::{PathSegment, Subject};
use http::request::Parts;
use tracing::field::display;
use tracing::level_filters::LevelFilter;
use tracing::{Span, debug, error, warn};

use crate::rejection::{Rejection, spaced};
use crate::requirement::RequiredScopes;
use crate::verified::Verified;

/// Records that the token grants the scopes that the route requires.
pub(crate) fn granted(verified: &Verified, required: &RequiredScopes) {
    debug!(
        agent = %verified.subject(),
        task = verified.task_id().map(display),
        scope = %required,
        outcome = "accepted",
        "accepted"
    );
    on_current_span(|span| {
        record_identity(span, Some(verified.subject()), verified.task_id());
        span.record("scope", display(required)).record("outcome", "accepted");
    });
}

/// Records that the token is valid and the layer requires no scope; `None`: an optional layer, and no token.
pub(crate) fn authenticated(verified: Option<&Verified>) {
    debug!(
        agent = verified.map(|verified| display(verified.subject())),
        task = verified.and_then(|verified| verified.task_id()).map(display),
        outcome = "accepted",
        "accepted"
    );
    on_current_span(|span| {
        if let Some(verified) = verified {
            record_identity(span, Some(verified.subject()), verified.task_id());
        }
        span.record("outcome", "accepted");
    });
}

/// Logs a rejection under the request id that the client receives.
///
/// Rejections that an unauthenticated client can cause are logged at debug: bad tokens cannot fill a disk.
pub(crate) fn rejected(rejection: &Rejection, head: &Parts, request_id: &RequestId, path: &str) {
    let verified = rejection.verified().or_else(|| claims_checked_before(rejection, head));
    let subject = rejection.subject().or_else(|| verified.map(|verified| verified.subject()));
    let task = verified.and_then(|verified| verified.task_id());
    macro_rules! log {
        ($level:ident $(, $field:ident)?) => {
            $level!(
                request_id = request_id.as_str(),
                $($field,)?
                agent = subject.map(display),
                task = task.map(display),
                scope = scope(rejection),
                outcome = "refused",
                reason = rejection.reason(),
                cause = rejection.source().map(display),
                "refused: {rejection}"
            )
        };
    }
    match rejection {
        Rejection::Misconfigured(_) => log!(error, path),
        Rejection::Unavailable(_) => log!(warn),
        Rejection::NoToken(_)
        | Rejection::MultipleTokens
        | Rejection::InvalidToken(_)
        | Rejection::InsufficientScope { .. }
        | Rejection::NotAnAgent(_)
        | Rejection::BadIdentifier { .. }
        | Rejection::BadRequest(_)
        | Rejection::MethodNotAllowed { .. }
        | Rejection::UnknownPath
        | Rejection::MalformedCursor
        | Rejection::CursorNotReached { .. } => log!(debug),
    }
    on_current_span(|span| {
        record_identity(span, subject, task);
        if let Some(scope) = scope(rejection) {
            span.record("scope", scope);
        }
        span.record("outcome", "refused").record("reason", rejection.reason());
    });
}

/// Records that a response was ended with its token.
#[cfg(feature = "long-responses")]
pub(crate) fn ended(claims: &agentwrit_verify::Claims, error: &agentwrit_verify::VerifyError) {
    debug!(
        agent = %claims.subject(),
        task = claims.task_id().map(display),
        outcome = "ended",
        reason = error.reason(),
        "the token no longer counts: {error}"
    );
}

/// Returns the claims of a request that was rejected for a reason that is checked only after the token.
fn claims_checked_before<'a>(rejection: &Rejection, head: &'a Parts) -> Option<&'a Verified> {
    let checked_after_token = matches!(
        rejection,
        Rejection::BadIdentifier { .. }
            | Rejection::BadRequest(_)
            | Rejection::MethodNotAllowed { .. }
            | Rejection::UnknownPath
    );
    head.extensions.get().filter(|_| checked_after_token)
}

fn record_identity(span: &Span, subject: Option<&Subject>, task: Option<&PathSegment>) {
    if let Some(subject) = subject {
        span.record("agent", display(subject));
    }
    if let Some(task) = task {
        span.record("task", display(task));
    }
}

fn on_current_span(record: impl FnOnce(&Span)) {
    // Without a subscriber there is no span: asking for the current one costs more than the rest of a decision's record.
    if LevelFilter::current() == LevelFilter::OFF {
        return;
    }
    let span = Span::current();
    if !span.is_disabled() {
        record(&span);
    }
}

fn scope(rejection: &Rejection) -> Option<String> {
    if let Rejection::InsufficientScope { required, .. } = rejection { Some(spaced(required)) } else { None }
}

/// Counts a decision and measures its duration.
#[derive(Debug)]
pub(crate) struct DecisionTimer {
    #[cfg(feature = "metrics")]
    started: std::time::Instant,
}

impl DecisionTimer {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            started: std::time::Instant::now(),
        }
    }

    /// Both labels are words out of fixed lists, which bounds the number of time series.
    #[cfg(feature = "metrics")]
    pub(crate) fn stop(&self, rejection: Option<&Rejection>) {
        let took = self.started.elapsed();
        match rejection {
            None => {
                metrics::counter!("agentwrit_decisions_total", "outcome" => "accepted", "reason" => "none")
                    .increment(1);
                metrics::histogram!("agentwrit_decision_seconds", "outcome" => "accepted").record(took);
            }
            Some(rejection) => {
                let reason = rejection.reason();
                metrics::counter!("agentwrit_decisions_total", "outcome" => "refused", "reason" => reason).increment(1);
                metrics::histogram!("agentwrit_decision_seconds", "outcome" => "refused").record(took);
            }
        }
    }

    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "with the `metrics` feature it is used")]
    pub(crate) fn stop(&self, _: Option<&Rejection>) {}
}

//! Cursor that requests require of the services that they reach.

use std::sync::{Arc, Mutex, PoisonError};

use agentwrit_verify::FeedCursor;
use http::{HeaderMap, HeaderName, HeaderValue};

const AT_LEAST: HeaderName = HeaderName::from_static(FeedCursor::AT_LEAST);

/// Latest revocation that services must apply before they accept a request: the header `AgentWrit-At-Least` of the
/// requests of an [`AuthorizeLayer`](crate::AuthorizeLayer) or [`AuthorizeMiddleware`](crate::AuthorizeMiddleware).
/// Clones share it.
///
/// For an orchestrator that revokes and goes on: a service waits up to a second until its list has the revocation, else
/// it responds 503 with `Retry-After`.
///
/// ```
/// use agentwrit_client::{Admin, AtLeast, AuthorizeLayer, ClientError, LiveAgent, Origins, RevocationTarget};
///
/// async fn revoke(admin: &Admin, target: &RevocationTarget, at_least: &AtLeast) -> Result<(), ClientError> {
///     let response = admin.revoke(target, Some("taken over")).await?;
///     at_least.raise(response.cursor.as_ref());
///     Ok(())
/// }
///
/// fn layer(agent: &LiveAgent, at_least: &AtLeast) -> Result<AuthorizeLayer, ClientError> {
///     Ok(AuthorizeLayer::new(agent.clone(), Origins::new(["https://records.example"])?).at_least(at_least))
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct AtLeast {
    cursor: Arc<Mutex<Option<FeedCursor>>>,
}

impl AtLeast {
    /// Requires nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires this cursor from now on, unless a later one of the same epoch is required already. The cursor of another
    /// epoch replaces the one before: after a restored backup everything that was revoked before is revoked again.
    /// `None`, from a broker that sends no cursor, changes nothing.
    pub fn raise(&self, cursor: Option<&FeedCursor>) {
        let mut required = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cursor) = cursor
            && !required.as_ref().is_some_and(|required| required.has_reached(cursor))
        {
            *required = Some(cursor.clone());
        }
    }

    /// Requires nothing any more.
    pub fn clear(&self) {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Adds the header, unless the request has one.
    pub(crate) fn require(&self, headers: &mut HeaderMap) {
        let required = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ToString::to_string);
        // A cursor has no characters that a header may not have.
        if let Some(value) = required.and_then(|text| HeaderValue::try_from(text).ok())
            && !headers.contains_key(AT_LEAST)
        {
            headers.insert(AT_LEAST, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_after(cursors: &[&str]) -> Option<String> {
        let at_least = AtLeast::new();
        for cursor in cursors {
            at_least.raise(FeedCursor::parse(cursor).ok().as_ref());
        }
        let mut headers = HeaderMap::new();
        at_least.require(&mut headers);
        headers.get("AgentWrit-At-Least").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn requires_latest_cursor_of_latest_epoch() {
        assert_eq!(header_after(&[]), None);
        assert_eq!(header_after(&["a.5", "a.4"]).as_deref(), Some("a.5"));
        assert_eq!(header_after(&["a.5", "a.6", "none"]).as_deref(), Some("a.6"));
        assert_eq!(header_after(&["a.5", "b.1"]).as_deref(), Some("b.1"));
    }

    #[test]
    fn clears_and_keeps_header_of_request() {
        let at_least = AtLeast::new();
        at_least.raise(FeedCursor::parse("a.5").ok().as_ref());
        let mut headers = HeaderMap::from_iter([(AT_LEAST, HeaderValue::from_static("a.9"))]);
        at_least.require(&mut headers);
        assert_eq!(headers["agentwrit-at-least"], "a.9");
        at_least.clear();
        let mut headers = HeaderMap::new();
        at_least.require(&mut headers);
        assert!(headers.is_empty());
    }
}

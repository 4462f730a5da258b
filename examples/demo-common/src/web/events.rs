//! Server-sent events.

use std::convert::Infallible;

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt};
use serde::Serialize;

/// Builds an event whose data is JSON.
pub fn event(contents: &impl Serialize) -> Event {
    // The contents have string keys only, so that they always have a JSON form.
    Event::default().data(serde_json::to_string(contents).unwrap_or_default())
}

/// Streams events. Comments keep the connection alive in between.
pub fn event_stream(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response()
}

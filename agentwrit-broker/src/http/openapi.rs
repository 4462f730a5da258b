//! `GET /v1/openapi.json`: the API described for machines.
//!
//! The tests walk through the API and hold every answer against the document.

use super::parameters::NoParameters;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// OpenAPI 3.1, written by hand.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

pub(super) async fn document(_: NoParameters) -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests;

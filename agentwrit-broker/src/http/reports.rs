//! `POST /v1/verifiers/reports`: signed reports of verifiers, which need no other credential.

use agentwrit_verify::{
    FeedCursor,
    report::{Report, ReportAcceptance},
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderName, StatusCode};

use super::{Shared, body::ReportBody, client::Client, errors::HttpError, query::NoParameters};

pub(super) async fn report(
    State(services): State<Shared>,
    Client(client): Client,
    _: NoParameters,
    ReportBody(text): ReportBody,
) -> Result<Response, HttpError> {
    let accepted = services.verifiers.report(text.trim_end(), client).await?;
    let headers = [
        (HeaderName::from_static(FeedCursor::AT_LEAST), accepted.at_least.to_string()),
        (HeaderName::from_static(Report::INTERVAL), accepted.interval.as_secs().to_string()),
        (HeaderName::from_static(ReportAcceptance::HEADER), accepted.signed),
    ];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

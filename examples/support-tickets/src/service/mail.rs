//! `/mail/…`: mail to colleagues, and mail out of the company, each with a scope of its own.

use axum::{Json, extract::State};
use demo_common::service::{Object, ServiceError};
use http::StatusCode;
use serde::Deserialize;

use super::Service;
use crate::store::Mail;

/// Domain of the company's own addresses.
const COMPANY: &str = "@brightpath.example";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMail {
    to: String,
    text: String,
}

/// Accepts an address of the company only: otherwise the scope for internal mail would send external mail.
pub(super) async fn internal(
    service: State<Service>,
    Object(mail): Object<NewMail>,
) -> Result<(StatusCode, Json<Mail>), ServiceError> {
    let local = mail.to.strip_suffix(COMPANY).unwrap_or_default();
    if local.is_empty() || !local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err(ServiceError::invalid(format!("`to` is one address that ends in `{COMPANY}`")));
    }
    send(&service, mail)
}

pub(super) async fn external(
    service: State<Service>,
    Object(mail): Object<NewMail>,
) -> Result<(StatusCode, Json<Mail>), ServiceError> {
    send(&service, mail)
}

fn send(State(service): &State<Service>, mail: NewMail) -> Result<(StatusCode, Json<Mail>), ServiceError> {
    if mail.to.is_empty() || mail.text.trim().is_empty() {
        return Err(ServiceError::invalid("`to` and `text` are needed"));
    }
    Ok((StatusCode::CREATED, Json(service.store.send(mail.to, mail.text))))
}

//! `/console/sign-in` and `/console/sign-out`.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{RETRY_AFTER, SET_COOKIE},
};

use super::{
    Console,
    error::ConsoleError,
    fields::{Action, Fields, form},
    frame::{Frame, html},
    page::render,
    session::TOKEN_TTL,
};
use crate::{
    http::{Client, Described},
    keys::Secret,
};

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignInPage {
    frame: Frame,
    /// Page that follows.
    next: String,
    problem: Option<String>,
    /// True if the operator comes from a page whose session has ended.
    has_ended: bool,
}

pub(super) async fn page(fields: Fields) -> Result<Response, ConsoleError> {
    let has_ended = fields.text("ended").is_some();
    render(&SignInPage { frame: Frame::outside(), next: next(&fields), problem: None, has_ended })
}

pub(super) async fn sign_in(
    State(console): State<Console>,
    Client(client): Client,
    request: Request,
) -> Result<Response, ConsoleError> {
    let form = form(request).await?;
    let services = &console.services;
    let secret = Secret::new(form.shown("secret"));
    match services.logins.authenticate_admin_for(client, secret, TOKEN_TTL).await {
        Ok(issued) => {
            let random = services.issuer.random();
            let cookie = console.sessions.begin(issued.access_token, &random, services.ledger.monotonic());
            Ok(([(SET_COOKIE, cookie)], Redirect::to(&next(&form))).into_response())
        }
        Err(error) => {
            let Described { status, detail, retry_after, .. } = Described::of_service(&error);
            let wait = retry_after.map(|seconds| format!(": try again in {seconds} s")).unwrap_or_default();
            let problem = Some(detail + &wait);
            let page = SignInPage { frame: Frame::outside(), next: next(&form), problem, has_ended: false };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
            let mut response = html(&page, status).map_err(ConsoleError::Template)?;
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Ok(response)
        }
    }
}

pub(super) async fn sign_out(
    State(console): State<Console>,
    headers: HeaderMap,
    action: Action,
) -> Result<Response, ConsoleError> {
    let cookie = console.sessions.end(&headers);
    let Action { operator, .. } = action;
    console.services.tokens.release(operator.bearer, operator.client).await?;
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/console/sign-in")).into_response())
}

/// Returns the page that follows the sign-in: one of the console, so that no link leads elsewhere through it, and none that a form
/// alone leads to. The query is as browsers send it: a header has no line feed.
fn next(fields: &Fields) -> String {
    let is_sent = |target: &str| target.bytes().all(|byte| byte.is_ascii_graphic());
    let is_page = |target: &&str| Frame::is_page(target.split('?').next().unwrap_or_default()) && is_sent(target);
    fields.text("next").filter(is_page).unwrap_or("/console").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_leads_to_pages_of_console_only() {
        for (target, expected) in [
            ("/console/agents?scope=a%3Ab%3Ac", "/console/agents?scope=a%3Ab%3Ac"),
            ("/console", "/console"),
            ("//evil.test/console", "/console"),
            ("https://evil.test", "/console"),
            ("/console/../v1/health", "/console"),
            ("/console//evil.test", "/console"),
            ("/console\\evil", "/console"),
            ("/consoles", "/console"),
            ("/console?x=\ny", "/console"),
            ("/console?x=\r\nSet-Cookie: a=b", "/console"),
            ("/console?x=a b", "/console"),
            ("/console?x=\u{e9}", "/console"),
            ("/console/sign-out", "/console"),
            ("/console/sign-in?next=/console", "/console"),
            ("/console/agent?id=x", "/console/agent?id=x"),
            ("/console/confirmation?cursor=x", "/console/confirmation?cursor=x"),
            ("/console/audit/verify", "/console"),
            ("/console/sign-in?ended=1", "/console"),
        ] {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", target).finish();
            assert_eq!(next(&Fields::of_query(&query)), expected, "{target}");
        }
    }
}

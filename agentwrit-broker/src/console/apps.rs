//! `/console/apps` and `/console/app`.

use agentwrit_protocol::{
    AppStatus, AppUpdateRequest,
    limits::{DEFAULT_PAGE, DEFAULT_SECRET_OVERLAP, MAX_SECRET_OVERLAP, MAX_TOKEN_TTL, MIN_APP_TOKEN_TTL},
};
use agentwrit_verify::{AppId, Scope, ScopeSet, UnixTime};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use super::{
    Console,
    error::ConsoleError,
    fields::{Action, Fields, query},
    format::{Time, number, scopes},
    frame::Frame,
    page::{Operator, render},
};
use crate::{
    domain::{App, AppName},
    service::{Error, apps::NewApp},
};

#[derive(Template)]
#[template(path = "console/apps.html")]
struct AppsPage {
    frame: Frame,
    total: String,
    apps: Vec<AppRow>,
    /// Query of the next page.
    next: Option<String>,
}

struct AppRow {
    id: String,
    query: String,
    name: String,
    client_id: String,
    status: &'static str,
    token_ttl: u64,
    is_bound: bool,
    created: Time,
    updated: Time,
    former_secret: Option<Time>,
    scopes: Vec<String>,
}

impl AppRow {
    fn of(app: &App, now: UnixTime) -> Self {
        Self {
            id: app.app_id.to_string(),
            query: query("id", app.app_id.as_str()),
            name: app.name.to_string(),
            client_id: app.client_id.clone(),
            status: app.status.as_str(),
            token_ttl: app.token_ttl,
            is_bound: app.sender_constrained,
            created: Time::new(app.created_at, now),
            updated: Time::new(app.updated_at, now),
            former_secret: app.former_secret_expires_at(now).map(|at| Time::new(at, now)),
            scopes: scopes(&app.scopes),
        }
    }
}

/// Shows apps, newest first. No app is ever deleted: a page is named by the number of apps that are as old as its first one.
pub(super) async fn list(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let now = console.services.ledger.now();
    let (_, total) = console.services.apps.list(0, 0).await?;
    let end = fields.number("end")?.unwrap_or(total).min(total);
    let begin = end.saturating_sub(DEFAULT_PAGE);
    let (apps, _) = console.services.apps.list(end.saturating_sub(begin), begin).await?;
    render(&AppsPage {
        frame: operator.frame("Apps"),
        total: number(total),
        apps: apps.iter().rev().map(|app| AppRow::of(app, now)).collect(),
        next: (begin > 0).then(|| fields.query_with("end", &begin.to_string())),
    })
}

/// A secret that is shown this once.
#[derive(Template)]
#[template(path = "console/secret.html")]
pub(super) struct SecretPage {
    pub(super) frame: Frame,
    pub(super) title: &'static str,
    /// Name and value of what belongs to the secret.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) name: &'static str,
    pub(super) secret: String,
    /// Page to go on with.
    pub(super) back: String,
}

pub(super) async fn create(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let new = NewApp {
        name: form.required("name", AppName::parse)?,
        scopes: form.required("scopes", grantable)?,
        token_ttl: token_ttl(&form)?,
        sender_constrained: form.text("sender_constrained").is_some(),
    };
    let (app, secret) = console.services.apps.create(operator.bearer(), new, operator.client).await?;
    render(&secret_page(&operator, "App registered", &app, secret.expose()))
}

fn secret_page(operator: &Operator, title: &'static str, app: &App, secret: &str) -> SecretPage {
    SecretPage {
        frame: operator.frame("Apps"),
        title,
        facts: vec![("app_id", app.app_id.to_string()), ("client_id", app.client_id.clone())],
        name: "client_secret",
        secret: secret.to_owned(),
        back: format!("/console/app?{}", query("id", app.app_id.as_str())),
    }
}

/// Parses scopes that agents may hold, separated by white space. A comma may be a part of a scope; at its end it is most likely
/// a separator, and as a part of the scope would match nothing.
pub(super) fn grantable(text: &str) -> Result<ScopeSet, String> {
    if let Some(scope) = text.split_whitespace().find(|scope| scope.ends_with(',')) {
        return Err(format!("`{scope}` ends in a comma: separate scopes by spaces"));
    }
    let scopes = ScopeSet::parse(text.split_whitespace()).map_err(|error| error.to_string())?;
    match scopes.iter().find(|scope| Scope::is_reserved(scope)) {
        Some(scope) => Err(format!("`{scope}` is the broker's own: no agent can hold it")),
        None => Ok(scopes),
    }
}

fn token_ttl(form: &Fields) -> Result<Option<u64>, ConsoleError> {
    form.parsed("token_ttl", |text| {
        let seconds = text.parse().ok().filter(|seconds| (MIN_APP_TOKEN_TTL..=MAX_TOKEN_TTL).contains(seconds));
        seconds.ok_or_else(|| format!("must be {MIN_APP_TOKEN_TTL} to {MAX_TOKEN_TTL} seconds"))
    })
}

#[derive(Template)]
#[template(path = "console/app.html")]
struct AppPage {
    frame: Frame,
    app: AppRow,
    overlap: u64,
}

pub(super) async fn page(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let id = fields.required("id", AppId::parse)?;
    let app = console.services.apps.find(id).await?;
    let app = AppRow::of(&app, console.services.ledger.now());
    render(&AppPage { frame: operator.frame("Apps"), app, overlap: DEFAULT_SECRET_OVERLAP })
}

pub(super) async fn change(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let (apps, id) = (&console.services.apps, form.required("id", AppId::parse)?);
    let status = match form.text("action") {
        Some("suspend") => AppStatus::Suspended,
        Some("resume") => AppStatus::Active,
        Some("deregister") => AppStatus::Inactive,
        Some("update") => return update(&console, &operator, &form, id).await,
        Some("rotate-secret") => {
            let overlap = form.number("overlap")?;
            if overlap.is_some_and(|seconds| seconds > MAX_SECRET_OVERLAP) {
                let problem = format!("must be 0 to {MAX_SECRET_OVERLAP} seconds");
                return Err(ConsoleError::Field { name: "overlap", problem });
            }
            let (app, secret) = apps.rotate_secret(operator.bearer(), id, overlap, operator.client).await?;
            return render(&secret_page(&operator, "Secret rotated", &app, secret.expose()));
        }
        Some(_) | None => return Err(Error::invalid("action", "is not known").into()),
    };
    apps.set_status(operator.bearer(), id.clone(), status, operator.client).await?;
    Ok(back_to(&id))
}

async fn update(console: &Console, operator: &Operator, form: &Fields, id: AppId) -> Result<Response, ConsoleError> {
    let change = AppUpdateRequest {
        scopes: Some(form.required("scopes", grantable)?),
        token_ttl: token_ttl(form)?,
        // A binding is never loosened: without the mark it stays as it is.
        sender_constrained: form.text("sender_constrained").map(|_| true),
    };
    console.services.apps.update(operator.bearer(), id.clone(), change, operator.client).await?;
    Ok(back_to(&id))
}

fn back_to(id: &AppId) -> Response {
    Redirect::to(&format!("/console/app?{}", query("id", id.as_str()))).into_response()
}

//! `awrit app`: apps, which create agents within a ceiling of scopes.

use std::time::Duration;

use agentwrit_client::{Admin, AppRecord, AppStatus, AppUpdate, NewApp};
use agentwrit_protocol::{
    AppCreationResponse, AppDeregistrationResponse, AppListResponse, limits::DEFAULT_SECRET_OVERLAP,
};
use agentwrit_verify::AppId;
use clap::{ArgGroup, Args, Subcommand};

use crate::{context::Context, error::CliError, format, output};

/// Register, list, update, suspend, resume and remove apps, and rotate their secrets
#[derive(Subcommand)]
pub(crate) enum App {
    Register(Register),
    /// List every app, inactive ones too
    List,
    Get(Get),
    Update(Update),
    RotateSecret(RotateSecret),
    Suspend(Suspend),
    Resume(Resume),
    Remove(Remove),
}

impl App {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Register(register) => register.run(context).await,
            Self::List => list(context).await,
            Self::Get(get) => get.run(context).await,
            Self::Update(update) => update.run(context).await,
            Self::RotateSecret(rotate) => rotate.run(context).await,
            Self::Suspend(suspend) => suspend.run(context).await,
            Self::Resume(resume) => resume.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
        }
    }
}

/// Register an app; its client secret is shown this once
#[derive(Args)]
#[command(after_help = "\
Example:
  awrit app register --name invoice-desk --scopes 'read:invoices:*,write:reminders:*' --token-ttl 1800")]
pub(crate) struct Register {
    /// Name of the app: lower-case words joined by `-`, 2 to 64 characters
    #[arg(long)]
    name: String,
    /// Ceiling: the scopes that its agents may hold at most
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// Lifetime of the app's own tokens in seconds, 60 to 86400
    #[arg(long, value_name = "SECONDS")]
    token_ttl: Option<u64>,
    /// Bind the tokens of the app's agents to the key of each agent (RFC 9449)
    #[arg(long)]
    sender_constrained: bool,
}

impl Register {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut app = NewApp::new(self.name, &self.scopes)?;
        if let Some(seconds) = self.token_ttl {
            app = app.token_ttl(Duration::from_secs(seconds))?;
        }
        if self.sender_constrained {
            app = app.sender_constrained();
        }
        let created = context.admin()?.create_app(&app).await?;
        let response = AppCreationResponse::new(created.record.clone(), created.client_secret.clone());
        context.output.print(&response, |out| {
            let mut fields = fields(&created.record);
            fields.insert(2, ("client_secret", created.client_secret.expose().to_owned()));
            output::fields(out, &fields)?;
            writeln!(out, "\nThe client secret is shown this once: the broker keeps a digest only.")
        })
    }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let apps = list_response(context.admin()?.apps().await?);
    context.output.print(&apps, |out| {
        let AppListResponse { apps, .. } = &apps;
        if apps.is_empty() {
            return writeln!(out, "There is no app: `awrit app register` registers one.");
        }
        let rows = apps.iter().map(|app| {
            vec![
                app.app_id.to_string(),
                app.name.clone(),
                format::or_dash(app.status.map(AppStatus::as_str).as_ref()),
                app.client_id.clone(),
                format::or_dash(app.token_ttl.as_ref()),
                format::or_dash(app.created_at.as_ref()),
                format::scopes(&app.scopes),
            ]
        });
        let columns = ["APP ID", "NAME", "STATUS", "CLIENT ID", "TTL", "CREATED", "SCOPES"];
        context.output.table(out, &columns, rows)
    })
}

/// Show one app
#[derive(Args)]
pub(crate) struct Get {
    /// Id of the app
    #[arg(value_name = "ID", value_parser = app_id)]
    id: AppId,
}

impl Get {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let app = context.admin()?.app(&self.id).await?;
        let app = app.ok_or_else(|| CliError::failed(format!("there is no app `{}`", self.id)).hint(LIST_HINT))?;
        print(context, &app)
    }
}

/// Change an app's ceiling, the lifetime of its tokens, or the binding of its agents' tokens
///
/// A narrower ceiling holds at once for new requests of the app's agents; tokens that they hold stay valid.
#[derive(Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["scopes", "token_ttl", "sender_constrained"])))]
pub(crate) struct Update {
    /// Id of the app
    #[arg(long, value_parser = app_id)]
    id: AppId,
    /// New ceiling, which replaces the old one
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Lifetime of the app's own tokens in seconds, 60 to 86400
    #[arg(long, value_name = "SECONDS")]
    token_ttl: Option<u64>,
    /// Bind the tokens of the app's agents to the key of each agent (RFC 9449), for good
    #[arg(long)]
    sender_constrained: bool,
}

impl Update {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut update = AppUpdate::default();
        if !self.scopes.is_empty() {
            update = update.scopes(&self.scopes)?;
        }
        if let Some(seconds) = self.token_ttl {
            update = update.token_ttl(Duration::from_secs(seconds))?;
        }
        if self.sender_constrained {
            update = update.sender_constrained();
        }
        print(context, &context.admin()?.update_app(&self.id, &update).await?)
    }
}

/// Give an app a new secret; it is shown this once
///
/// The former secret is accepted until the overlap ends, so that the app can be configured meanwhile; one before that is not.
/// Tokens that the app holds stay valid: if the secret has leaked, rotate it with `--overlap 0` and then
/// `awrit revoke --level agent --target app:ID`.
#[derive(Args)]
pub(crate) struct RotateSecret {
    /// Id of the app
    #[arg(value_name = "ID", value_parser = app_id)]
    id: AppId,
    /// Seconds for which the former secret is accepted, 0 to 604800
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_SECRET_OVERLAP)]
    overlap: u64,
}

impl RotateSecret {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        if self.overlap == 0 {
            context
                .confirm(&format!("Rotate the secret of {}? The app cannot log in with the former one.", self.id))?;
        }
        let rotated = context.admin()?.rotate_app_secret(&self.id, Duration::from_secs(self.overlap)).await?;
        context.output.print(&rotated, |out| {
            let mut fields = vec![
                ("app_id", rotated.app_id.to_string()),
                ("client_id", rotated.client_id.clone()),
                ("client_secret", rotated.client_secret.expose().to_owned()),
            ];
            fields.extend(rotated.former_secret_expires_at.map(|at| ("former_secret_expires_at", at.to_rfc3339())));
            output::fields(out, &fields)?;
            writeln!(out, "\nThe client secret is shown this once: the broker keeps a digest only.")
        })
    }
}

/// Suspend an app and end its tokens and unused launch tokens at once
///
/// Until `awrit app resume` it cannot log in, and its agents cannot register, renew, or take part in a delegation. Agents
/// that are registered keep their tokens until they expire: revoke them if they must not.
#[derive(Args)]
pub(crate) struct Suspend {
    /// Id of the app
    #[arg(value_name = "ID", value_parser = app_id)]
    id: AppId,
}

impl Suspend {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        context.confirm(&format!("Suspend {}? This ends its tokens and unused launch tokens at once.", self.id))?;
        let app = context.admin()?.suspend_app(&self.id).await?;
        context.output.print(&app, |out| {
            writeln!(out, "{} is suspended. Its agents keep their tokens until they expire.", app.app_id)
        })
    }
}

/// Resume a suspended app, or all of them
///
/// After a restore from a backup every app is suspended: check `awrit app list` first, and remove the apps that were
/// deregistered after the backup.
#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "all"])))]
pub(crate) struct Resume {
    /// Id of the app
    #[arg(value_name = "ID", value_parser = app_id)]
    id: Option<AppId>,
    /// Resume every app that is suspended
    #[arg(long)]
    all: bool,
}

impl Resume {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let admin = context.admin()?;
        let ids = match self.id {
            Some(id) => vec![id],
            None => suspended(&admin).await?,
        };
        let mut resumed = Vec::with_capacity(ids.len());
        for id in &ids {
            resumed.push(admin.resume_app(id).await?);
        }
        let resumed = list_response(resumed);
        context.output.print(&resumed, |out| {
            let AppListResponse { apps: resumed, .. } = &resumed;
            if resumed.is_empty() {
                return writeln!(out, "No app is suspended.");
            }
            resumed.iter().try_for_each(|app| writeln!(out, "{} is active.", app.app_id))
        })
    }
}

async fn suspended(admin: &Admin) -> Result<Vec<AppId>, CliError> {
    let apps = admin.apps().await?.into_iter();
    Ok(apps.filter(|app| app.status == Some(AppStatus::Suspended)).map(|app| app.app_id).collect())
}

/// Deregister an app and end its tokens and unused launch tokens at once
///
/// Agents that are registered keep their tokens until they expire: revoke them if they must not.
#[derive(Args)]
pub(crate) struct Remove {
    /// Id of the app
    #[arg(long, value_parser = app_id)]
    id: AppId,
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        context.confirm(&format!("Deregister {}? This ends its tokens and unused launch tokens at once.", self.id))?;
        let at = context.admin()?.delete_app(&self.id).await?;
        let (app_id, status) = (Some(self.id.clone()), Some(AppStatus::Inactive));
        context.output.print(&AppDeregistrationResponse { app_id, status, deregistered_at: at }, |out| {
            writeln!(out, "{} was deregistered at {at}. Its agents keep their tokens until they expire.", self.id)
        })
    }
}

fn list_response(apps: Vec<AppRecord>) -> AppListResponse {
    AppListResponse { total: Some(apps.len() as u64), apps }
}

fn print(context: &Context, app: &AppRecord) -> Result<(), CliError> {
    context.output.print(app, |out| output::fields(out, &fields(app)))
}

fn fields(app: &AppRecord) -> Vec<(&'static str, String)> {
    let mut fields =
        vec![("app_id", app.app_id.to_string()), ("client_id", app.client_id.clone()), ("name", app.name.clone())];
    // AgentWrit v2 sends fewer members.
    fields.extend(app.status.map(|status| ("status", status.as_str().to_owned())));
    fields.push(("scopes", format::scopes(&app.scopes)));
    fields.extend(app.token_ttl.map(|seconds| ("token_ttl", seconds.to_string())));
    if app.sender_constrained {
        fields.push(("sender_constrained", "true".to_owned()));
    }
    fields.extend(app.created_at.map(|time| ("created_at", time.to_rfc3339())));
    fields.extend(app.updated_at.map(|time| ("updated_at", time.to_rfc3339())));
    fields.extend(app.former_secret_expires_at.map(|time| ("former_secret_expires_at", time.to_rfc3339())));
    fields
}

const LIST_HINT: &str = "`awrit app list` shows them all";

pub(crate) fn app_id(text: &str) -> Result<AppId, String> {
    AppId::parse(text).map_err(|error| format!("{error}; {LIST_HINT}"))
}

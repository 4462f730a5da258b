//! Connection to a running broker: with the app's credentials, or with the operator's secret, which registers the app.

use std::{env, sync::Arc, time::Duration};

use agent_model::Model;
use agentwrit_client::{Admin, App, AppStatus, Client, NewApp, Secret};

use crate::{
    Failure,
    assistant::Parties,
    hospital::Hospital,
    scene::{APP, CEILING},
};

/// Pause between attempts to reach a broker that starts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Attempts to reach a broker that starts: two minutes.
const ATTEMPTS: u32 = 240;

/// Broker, and the secrets that the program has for it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the environment's variables")]
pub struct BrokerAccess {
    /// URL of the broker.
    pub url: String,
    /// Client id and secret of the app.
    pub credentials: Option<(String, Secret)>,
    /// The operator's secret: it registers the app if there are no credentials, and opens the pages for the operator.
    pub admin_secret: Option<Secret>,
}

impl BrokerAccess {
    /// Reads `AGENTWRIT_CLIENT_ID`, `AGENTWRIT_CLIENT_SECRET` and `AGENTWRIT_ADMIN_SECRET`.
    ///
    /// # Errors
    ///
    /// When half of the credentials is missing, or all secrets are.
    pub fn from_env(url: &str) -> Result<Self, Failure> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let credentials = match (set("AGENTWRIT_CLIENT_ID"), set("AGENTWRIT_CLIENT_SECRET")) {
            (Some(id), Some(secret)) => Some((id, secret.into())),
            (None, None) => None,
            _ => return Err("set both AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET, or none".into()),
        };
        let admin_secret: Option<Secret> = set("AGENTWRIT_ADMIN_SECRET").map(Into::into);
        if credentials.is_none() && admin_secret.is_none() {
            let hint =
                "set AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET, or AGENTWRIT_ADMIN_SECRET to register the app";
            return Err(hint.into());
        }
        Ok(Self { url: url.to_owned(), credentials, admin_secret })
    }
}

/// App and operator at a running broker.
#[derive(Clone, Debug)]
pub struct Connected {
    app: App,
    client_id: String,
    admin: Option<Admin>,
}

impl Connected {
    /// Returns the parties of an encounter.
    ///
    /// # Errors
    ///
    /// When the hospital's HTTP client cannot be made.
    pub fn parties(&self, hospital: &Hospital, model: Arc<dyn Model>) -> Result<Parties, Failure> {
        let Self { app, client_id, admin } = self.clone();
        Ok(Parties { app, client_id, admin, model, store: hospital.store().clone(), hospital: hospital.visitor()? })
    }
}

/// Waits for the broker's health and connects. Without credentials the app is registered; one of its name that is there
/// already gets a new secret, so that a restart needs no stored one.
///
/// # Errors
///
/// When the broker does not become healthy within two minutes, or refuses.
pub async fn connect(access: &BrokerAccess) -> Result<Connected, Failure> {
    let client = Client::new(access.url.clone())?;
    wait_for_health(&client).await?;
    let admin = access.admin_secret.clone().map(|secret| client.admin(secret)).transpose()?;
    let (client_id, secret) = match (&access.credentials, &admin) {
        (Some(credentials), _) => credentials.clone(),
        (None, Some(admin)) => register(admin).await?,
        (None, None) => return Err("neither the app's credentials nor the operator's secret are known".into()),
    };
    let app = client.app(client_id.clone(), secret)?;
    Ok(Connected { app, client_id, admin })
}

async fn wait_for_health(client: &Client) -> Result<(), Failure> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match client.health().await {
            Ok(health) if health.is_ok() => return Ok(()),
            Ok(health) => last = format!("it is {}", health.status),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(format!("the broker at {} did not become healthy: {last}", client.url()).into())
}

async fn register(admin: &Admin) -> Result<(String, Secret), Failure> {
    let apps = admin.apps().await?;
    let known = apps.into_iter().find(|app| app.name == APP && app.status == Some(AppStatus::Active));
    if let Some(app) = known {
        let rotated = admin.rotate_app_secret(&app.app_id, Duration::ZERO).await?;
        return Ok((app.client_id, rotated.client_secret));
    }
    let created = admin.create_app(&NewApp::new(APP, CEILING)?).await?;
    Ok((created.record.client_id, created.client_secret))
}

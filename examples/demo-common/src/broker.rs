//! Broker of a demo, and the demo's app there.
//!
//! 1. Without a running broker the demo starts its own, with a database in a temporary directory.
//! 2. At a running broker the demo uses the app of its environment, or one that it registers. No secret of an existing app is
//!    changed: another instance may use it.
//! 3. Credentials of a registered app are kept in a file for the next start.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use agentwrit_broker::{Broker, Config};
use agentwrit_client::{Admin, App, Client, ClientError, NewApp, Secret};
use clap::Args;
use tempfile::TempDir;

use crate::{Failure, credentials_file::CredentialsFile, random_hex};

/// Issuer of a broker with default settings.
pub const DEFAULT_ISSUER: &str = "https://agentwrit.local";

/// Pause between attempts to reach a broker that starts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Attempts to reach a broker that starts: two minutes.
const ATTEMPTS: u32 = 240;

/// Name and ceiling of a demo's app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "each demo sets both")]
pub struct DemoApp {
    /// Name; of a second instance it is the beginning of the name.
    pub name: &'static str,
    /// Ceiling.
    pub ceiling: &'static [&'static str],
}

/// Credentials of an app.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an app has these two")]
pub struct AppCredentials {
    /// Public part.
    pub client_id: String,
    /// Secret part.
    pub client_secret: Secret,
}

/// Options that name a running broker. The secrets come by the environment alone: other users see a command line.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct BrokerArguments {
    /// URL of a running broker, in place of one of the demo's own. With `AGENTWRIT_CLIENT_ID` and `AGENTWRIT_CLIENT_SECRET` of an
    /// app there, or `AGENTWRIT_ADMIN_SECRET` to register one
    #[arg(long, value_name = "URL", env = "AGENTWRIT_BROKER_URL")]
    pub broker: Option<String>,
    /// Issuer of that broker's tokens
    #[arg(long, default_value = DEFAULT_ISSUER)]
    pub issuer: String,
    /// File for the credentials of the app that the demo registers there, by default below `~/.local/state/agentwrit`
    #[arg(long, value_name = "FILE", env = "AGENTWRIT_CREDENTIALS_FILE")]
    pub credentials: Option<PathBuf>,
}

impl BrokerArguments {
    /// Returns the access to the running broker that the options name; none without `--broker`.
    ///
    /// # Errors
    ///
    /// When half of the app's credentials is missing in the environment, or all secrets are.
    pub fn access(&self, app: &DemoApp) -> Result<Option<BrokerAccess>, Failure> {
        self.access_with(app, |name| env::var(name).ok())
    }

    fn access_with(
        &self,
        app: &DemoApp,
        setting: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<BrokerAccess>, Failure> {
        let Some(url) = self.broker.clone() else { return Ok(None) };
        let set = |name: &str| setting(name).filter(|value| !value.is_empty());
        let credentials = match (set("AGENTWRIT_CLIENT_ID"), set("AGENTWRIT_CLIENT_SECRET")) {
            (Some(client_id), Some(secret)) => Some(AppCredentials { client_id, client_secret: secret.into() }),
            (None, None) => None,
            _ => return Err("set both AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET, or none".into()),
        };
        let default = || {
            let state = set("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || set("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let state = state.or_else(|| home().map(|home| home.join(".local/state")))?;
            Some(state.join("agentwrit").join(format!("{}.json", app.name)))
        };
        let file = self.credentials.clone().or_else(default);
        let admin_secret: Option<Secret> = set("AGENTWRIT_ADMIN_SECRET").map(Into::into);
        let is_kept = file.as_ref().is_some_and(|file| file.exists());
        if credentials.is_none() && admin_secret.is_none() && !is_kept {
            return Err(NO_CREDENTIALS.into());
        }
        if credentials.is_none() && file.is_none() {
            return Err("there is no home directory: name a file for the app's credentials with --credentials".into());
        }
        Ok(Some(BrokerAccess { url, credentials, admin_secret, credentials_file: file }))
    }
}

const NO_CREDENTIALS: &str =
    "set AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET, or AGENTWRIT_ADMIN_SECRET to register the app";

/// Running broker, and what the demo has for it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests build it too")]
pub struct BrokerAccess {
    /// URL of the broker.
    pub url: String,
    /// Credentials of the app to use.
    pub credentials: Option<AppCredentials>,
    /// The operator's secret: it registers the app if there are no credentials, and opens the pages for the operator.
    pub admin_secret: Option<Secret>,
    /// File of the credentials of a registered app; without one they are lost at the end.
    pub credentials_file: Option<PathBuf>,
}

/// App of a demo at a broker, and the operator if its secret is known.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectedApp {
    /// App that creates agents.
    pub app: App,
    /// Public part of the app's credentials.
    pub client_id: String,
    /// Operator.
    pub admin: Option<Admin>,
}

/// Waits for the broker's health and connects the demo's app.
///
/// # Errors
///
/// When the broker does not become healthy within two minutes or refuses, or the credentials cannot be kept.
pub async fn connect(access: &BrokerAccess, demo: &DemoApp) -> Result<ConnectedApp, Failure> {
    let client = Client::new(access.url.clone())?;
    wait_for_health(&client).await?;
    let admin = access.admin_secret.clone().map(|secret| client.admin(secret)).transpose()?;
    let (app, client_id) = match &access.credentials {
        Some(credentials) => (app_of(&client, credentials)?, credentials.client_id.clone()),
        None => kept_or_registered(&client, admin.as_ref(), access.credentials_file.as_deref(), demo).await?,
    };
    Ok(ConnectedApp { app, client_id, admin })
}

async fn wait_for_health(client: &Client) -> Result<(), Failure> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        match client.health().await {
            Ok(health) if health.is_ok() => return Ok(()),
            Ok(health) => last = format!("it is {}", health.status),
            Err(error) => last = error.to_string(),
        }
        if attempt == 0 {
            eprintln!("waiting for the broker at {}: {last}", client.url());
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(format!("the broker at {} did not become healthy: {last}", client.url()).into())
}

fn app_of(client: &Client, credentials: &AppCredentials) -> Result<App, ClientError> {
    client.app(credentials.client_id.clone(), credentials.client_secret.clone())
}

/// Returns the app whose credentials the file holds, if the broker accepts them; otherwise registers one. The file is locked
/// meanwhile, so that instances that start at the same time register one app.
async fn kept_or_registered(
    client: &Client,
    admin: Option<&Admin>,
    path: Option<&Path>,
    demo: &DemoApp,
) -> Result<(App, String), Failure> {
    let file = match path {
        Some(path) => Some(CredentialsFile::open(path).await?),
        None => None,
    };
    if let Some(kept) = file.as_ref().map(|file| file.credentials(client.url())).transpose()?.flatten() {
        let app = app_of(client, &kept)?;
        match app.authenticate().await {
            Ok(()) => return Ok((app, kept.client_id)),
            // The app was removed, or the broker has another database.
            Err(error) if error.status() == Some(401) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let registered = register(admin.ok_or(NO_CREDENTIALS)?, demo).await?;
    if let Some(file) = file {
        file.keep(client.url(), &registered)?;
    }
    Ok((app_of(client, &registered)?, registered.client_id))
}

/// Registers an app under the demo's name, or, where an app has it already, under the name with a random ending.
async fn register(admin: &Admin, demo: &DemoApp) -> Result<AppCredentials, Failure> {
    let create = async |name: &str| admin.create_app(&NewApp::new(name, demo.ceiling.iter().copied())?).await;
    let created = match create(demo.name).await {
        Err(error) if error.status() == Some(409) => create(&format!("{}-{}", demo.name, random_hex::<4>()?)).await?,
        created => created?,
    };
    Ok(AppCredentials { client_id: created.record.client_id, client_secret: created.client_secret })
}

/// Broker of a demo on a free port of the loopback interface.
pub struct OwnBroker {
    broker: Broker,
    admin_secret: Secret,
    directory: TempDir,
}

impl OwnBroker {
    /// Starts a broker; `demo` is part of the name of its temporary directory.
    ///
    /// # Errors
    ///
    /// When it cannot start.
    pub async fn start(demo: &str) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix(&format!("agentwrit-{demo}-")).tempdir()?;
        let admin_secret = Secret::from(random_hex::<16>()?);
        let broker = Broker::start(Config::for_development(directory.path(), admin_secret.expose())?).await?;
        Ok(Self { broker, admin_secret, directory })
    }

    /// Returns the broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.broker.local_addr())
    }

    /// Returns an operator's access that keeps no credentials.
    #[must_use]
    pub fn access(&self) -> BrokerAccess {
        let admin_secret = Some(self.admin_secret.clone());
        BrokerAccess { url: self.url(), credentials: None, admin_secret, credentials_file: None }
    }

    /// Returns the directory of the broker's database and key.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Stops the broker and removes its directory.
    pub async fn stop(self) {
        self.broker.shutdown().await;
    }
}

impl fmt::Debug for OwnBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnBroker").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: DemoApp = DemoApp { name: "demo", ceiling: &["read:data:*"] };

    fn access(arguments: (&str, Option<&str>), settings: &[(&str, &str)]) -> Result<Option<BrokerAccess>, String> {
        let (broker, file) = arguments;
        let arguments = BrokerArguments {
            broker: Some(broker.to_owned()).filter(|url| !url.is_empty()),
            issuer: DEFAULT_ISSUER.to_owned(),
            credentials: file.map(Into::into),
        };
        let setting = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        arguments.access_with(&DEMO, setting).map_err(|error| error.to_string())
    }

    #[test]
    fn file_of_credentials_is_below_state_directory_unless_named() {
        let secret = ("AGENTWRIT_ADMIN_SECRET", "s");
        for (named, settings, expected) in [
            (None, vec![secret, ("HOME", "/home/a")], "/home/a/.local/state/agentwrit/demo.json"),
            (None, vec![secret, ("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")], "/s/agentwrit/demo.json"),
            (
                None,
                vec![secret, ("HOME", "/home/a"), ("XDG_STATE_HOME", "s")],
                "/home/a/.local/state/agentwrit/demo.json",
            ),
            (Some("/f.json"), vec![secret], "/f.json"),
        ] {
            let access = access(("http://b", named), &settings).unwrap().unwrap();
            assert_eq!(access.credentials_file, Some(expected.into()), "{settings:?}");
        }
    }

    #[test]
    fn rejects_settings_without_which_no_app_can_be_used() {
        let (id, secret) = (("AGENTWRIT_CLIENT_ID", "i"), ("AGENTWRIT_CLIENT_SECRET", "s"));
        assert!(access(("", None), &[]).unwrap().is_none(), "no running broker");
        assert!(access(("http://b", None), &[id, secret]).unwrap().is_some());
        let half = "set both AGENTWRIT_CLIENT_ID and AGENTWRIT_CLIENT_SECRET, or none";
        assert_eq!(access(("http://b", None), &[id]).unwrap_err(), half);
        assert_eq!(access(("http://b", None), &[secret, ("AGENTWRIT_CLIENT_ID", "")]).unwrap_err(), half);
        assert_eq!(access(("http://b", Some("/nowhere/f")), &[]).unwrap_err(), NO_CREDENTIALS);
        let homeless = access(("http://b", None), &[("AGENTWRIT_ADMIN_SECRET", "s")]).unwrap_err();
        assert!(homeless.contains("--credentials"), "{homeless}");
    }
}

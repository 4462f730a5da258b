//! Set-up of the example: a real broker, the hospital's service, and an app that may create agents.

use std::{sync::Arc, time::Duration};

use agent_model::Model;
use agentwrit_broker::{Broker, Config};
use agentwrit_client::{Admin, Agent, App, Client, NewApp, Secret};
use tempfile::TempDir;

use crate::{
    Failure,
    assistant::Parties,
    hospital::{Hospital, ISSUER},
    visitor::Visitor,
};

/// Name of the app.
pub const APP: &str = "medassist";

/// Ceiling of the app. Controlled drugs need another app.
pub const CEILING: [&str; 13] = [
    "read:patients:*",
    "read:records:*",
    "read:notes:*",
    "write:notes:*",
    "read:labs:*",
    "read:prescriptions:*",
    "write:prescriptions:*",
    "read:interactions:*",
    "read:billing:*",
    "read:insurance:*",
    "read:billing-codes:*",
    "write:claims:*",
    "read:formulary:*",
];

/// Lifetime of the agents' tokens: long enough to try the printed lines.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Broker and hospital, each on a port of its own.
#[derive(Debug)]
pub struct Scene {
    broker: Broker,
    hospital: Hospital,
    app: App,
    client_id: String,
    admin: Admin,
    admin_secret: Secret,
    directory: TempDir,
}

impl Scene {
    /// Starts both, and registers the app.
    ///
    /// # Errors
    ///
    /// When one of them cannot start.
    pub async fn set() -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("agentwrit-medassist-").tempdir()?;
        let admin_secret = random_secret()?;
        let broker = Broker::start(Config::for_development(directory.path(), admin_secret.expose())?).await?;
        let broker_url = format!("http://{}", broker.local_addr());

        let hospital = Hospital::start(&broker_url, ISSUER).await?;
        let client = Client::new(broker_url)?;
        let admin = client.admin(admin_secret.clone())?;
        let credentials = admin.create_app(&NewApp::new(APP, CEILING)?).await?;
        let client_id = credentials.record.client_id;
        let app = client.app(client_id.clone(), credentials.client_secret)?;
        Ok(Self { broker, hospital, app, client_id, admin, admin_secret, directory })
    }

    /// Registers an agent for a task of this encounter.
    ///
    /// # Errors
    ///
    /// When the broker rejects the registration.
    pub async fn agent(&self, task: &str, scopes: &[&str]) -> Result<Agent, Failure> {
        Ok(self.app.agent("encounter-7301", task).scope(scopes)?.max_ttl(LIFETIME).create().await?)
    }

    /// Returns the operator.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Returns the operator's secret, for the lines that `--serve` prints.
    #[must_use]
    pub fn admin_secret(&self) -> &Secret {
        &self.admin_secret
    }

    /// Returns the broker's URL.
    #[must_use]
    pub fn broker_url(&self) -> String {
        format!("http://{}", self.broker.local_addr())
    }

    /// Returns the hospital's URL.
    #[must_use]
    pub fn hospital_url(&self) -> String {
        self.hospital.url()
    }

    /// Returns an HTTP client of the hospital.
    pub(crate) fn visitor(&self) -> Result<Visitor, Failure> {
        self.hospital.visitor()
    }

    /// Returns the parties of an encounter that `model` drives.
    ///
    /// # Errors
    ///
    /// When the hospital's HTTP client cannot be made.
    pub fn parties(&self, model: Arc<dyn Model>) -> Result<Parties, Failure> {
        let (app, admin) = (self.app.clone(), Some(self.admin.clone()));
        let client_id = self.client_id.clone();
        Ok(Parties { app, client_id, admin, model, store: self.hospital.store().clone(), hospital: self.visitor()? })
    }

    /// Returns the directory of the broker's database and key.
    #[must_use]
    pub fn directory(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Stops both.
    pub async fn strike(self) {
        drop(self.hospital);
        self.broker.shutdown().await;
    }
}

fn random_secret() -> Result<Secret, Failure> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
    Ok(data_encoding::HEXLOWER.encode(&secret).into())
}

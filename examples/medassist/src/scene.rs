//! Set-up of the example: a real broker, the hospital's service, and an app that may create agents.

use std::{sync::Arc, time::Duration};

use agent_model::Model;
use agentwrit_client::{Admin, Agent};
use demo_common::{
    broker::{ConnectedApp, DEFAULT_ISSUER, DemoApp, OwnBroker, connect},
    service_client::ServiceClient,
};

use crate::{Failure, assistant::Parties, hospital::Hospital};

/// The demo's app.
pub const APP: DemoApp = DemoApp { name: "medassist", ceiling: &CEILING };

/// Ceiling of the app. Controlled drugs need another app.
const CEILING: [&str; 13] = [
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
    broker: OwnBroker,
    hospital: Hospital,
    app: ConnectedApp,
    admin: Admin,
}

impl Scene {
    /// Starts both, and registers the app.
    ///
    /// # Errors
    ///
    /// When one of them cannot start.
    pub async fn set() -> Result<Self, Failure> {
        let broker = OwnBroker::start(APP.name).await?;
        let hospital = Hospital::start(&broker.url(), DEFAULT_ISSUER).await?;
        let app = connect(&broker.access(), &APP).await?;
        let admin = app.admin.clone().ok_or("the broker's own secret is missing")?;
        Ok(Self { broker, hospital, app, admin })
    }

    /// Registers an agent for a task of this encounter.
    ///
    /// # Errors
    ///
    /// When the broker rejects the registration.
    pub async fn agent(&self, task: &str, scopes: &[&str]) -> Result<Agent, Failure> {
        Ok(self.app.app.agent("encounter-7301", task).scope(scopes)?.max_ttl(LIFETIME).create().await?)
    }

    /// Returns the operator.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Returns the broker.
    #[must_use]
    pub fn broker(&self) -> &OwnBroker {
        &self.broker
    }

    /// Returns the hospital.
    #[must_use]
    pub fn hospital(&self) -> &Hospital {
        &self.hospital
    }

    /// Returns an HTTP client of the hospital.
    pub(crate) fn hospital_client(&self) -> Result<ServiceClient, Failure> {
        self.hospital.client()
    }

    /// Returns the parties of an encounter that `model` drives.
    ///
    /// # Errors
    ///
    /// When the hospital's HTTP client cannot be built.
    pub fn parties(&self, model: Arc<dyn Model>) -> Result<Parties, Failure> {
        Parties::new(&self.app, &self.hospital, model)
    }

    /// Stops both.
    pub async fn strike(self) {
        drop(self.hospital);
        self.broker.stop().await;
    }
}

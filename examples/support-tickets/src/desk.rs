//! Set-up of the desk: broker, ticket service, app and model.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_model::Model;
use agentwrit_client::{App, Client};
use demo_common::{
    broker::{ConnectedApp, DEFAULT_ISSUER, DemoApp, OwnBroker, connect},
    runs::Runs,
    service::RunningService,
    service_client::ServiceClient,
};

use crate::{Failure, service, store::Store};

/// The desk's app.
pub const APP: DemoApp = DemoApp { name: "support-tickets", ceiling: &CEILING };

/// Ceiling of the app: external mail is not in it; account deletion is, and no agent gets it.
pub const CEILING: [&str; 8] = [
    "read:tickets:*",
    "read:customers:*",
    "read:billing:*",
    "write:billing:*",
    "read:kb:*",
    "write:notes:*",
    "write:email:internal",
    "delete:account:*",
];

/// Runs at a time.
const MAX_RUNS: u16 = 8;

/// App at a running broker, and the issuer of that broker's tokens.
#[derive(Clone, Debug)]
pub struct RunningBroker {
    /// App.
    pub app: ConnectedApp,
    /// Issuer.
    pub issuer: String,
}

/// Broker, ticket service and app.
#[derive(Debug)]
pub struct Desk {
    own_broker: Mutex<Option<OwnBroker>>,
    service: RunningService,
    client: ServiceClient,
    store: Arc<Store>,
    app: ConnectedApp,
    model: Arc<dyn Model>,
    expiry: Duration,
    runs: Runs,
}

impl Desk {
    /// Starts the ticket service, and a broker unless one is given. `expiry` is the lifetime of the token that is left
    /// to expire.
    ///
    /// # Errors
    ///
    /// When one of them cannot start, or the broker cannot be followed.
    pub async fn start(
        running: Option<RunningBroker>,
        model: Arc<dyn Model>,
        expiry: Duration,
    ) -> Result<Self, Failure> {
        let (own_broker, RunningBroker { app, issuer }) = if let Some(running) = running {
            (None, running)
        } else {
            let broker = OwnBroker::start(APP.name).await?;
            let app = connect(&broker.access(), &APP).await?;
            (Some(broker), RunningBroker { app, issuer: DEFAULT_ISSUER.to_owned() })
        };
        let store = Arc::new(Store::with_made_up_customers());
        let routes = |verifier| service::routes(Arc::clone(&store), verifier);
        let service = RunningService::start(app.app.client().url(), &issuer, routes).await?;
        let client = ServiceClient::new(service.url().to_owned())?;
        let (own_broker, runs) = (Mutex::new(own_broker), Runs::new(MAX_RUNS));
        Ok(Self { own_broker, service, client, store, app, model, expiry, runs })
    }

    /// Returns the broker's URL.
    #[must_use]
    pub fn broker_url(&self) -> &str {
        self.app.app.client().url()
    }

    /// Returns the ticket service's URL.
    #[must_use]
    pub fn service_url(&self) -> &str {
        self.service.url()
    }

    /// Returns the service's store, into which the mail gateway files tickets.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the model.
    #[must_use]
    pub fn model(&self) -> &dyn Model {
        &*self.model
    }

    /// Returns the app, which may create agents.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app.app
    }

    /// Returns the app with the operator, if its secret is known.
    #[must_use]
    pub fn connected(&self) -> &ConnectedApp {
        &self.app
    }

    /// Returns the broker's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.app.app.client()
    }

    /// Returns the places of simultaneous runs.
    #[must_use]
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Waits for the end of the service, which only a failure causes.
    pub async fn service_ended(&self) -> Failure {
        self.service.ended().await
    }

    pub(crate) fn service(&self) -> &ServiceClient {
        &self.client
    }

    pub(crate) fn expiry(&self) -> Duration {
        self.expiry
    }

    /// Waits for the runs in progress to release their agents, then stops the broker. Returns whether all runs ended.
    pub async fn stop(&self) -> bool {
        let have_ended = self.runs.stop().await;
        let own_broker = self.own_broker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(broker) = own_broker {
            broker.stop().await;
        }
        have_ended
    }
}

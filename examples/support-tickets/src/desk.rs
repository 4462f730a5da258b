//! Set-up of the desk: broker, ticket service, app and model.

use std::{sync::Arc, time::Duration};

use agent_model::Model;
use agentwrit_broker::{Broker, Config};
use agentwrit_client::{App, Client, NewApp, Secret};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Failure, client::ServiceClient, service, store::Store};

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

/// Issuer of a broker with default settings.
pub const DEFAULT_ISSUER: &str = "https://agentwrit.local";

/// Running broker to use in place of one's own.
#[derive(Clone, Debug)]
pub struct RunningBroker {
    /// URL.
    pub url: String,
    /// Issuer of its tokens.
    pub issuer: String,
    /// App's client id.
    pub client_id: String,
    /// App's secret.
    pub client_secret: Secret,
}

/// Broker, ticket service and app.
#[derive(Debug)]
pub struct Desk {
    own_broker: Option<(Broker, TempDir)>,
    serving: JoinHandle<()>,
    service: ServiceClient,
    service_url: String,
    store: Arc<Store>,
    client: Client,
    app: App,
    model: Arc<dyn Model>,
    expiry: Duration,
}

impl Desk {
    /// Starts the ticket service, and a broker unless one is given. `expiry` is the lifetime of the token that is left
    /// to expire.
    ///
    /// # Errors
    ///
    /// When one of them cannot start.
    pub async fn start(
        running: Option<RunningBroker>,
        model: Arc<dyn Model>,
        expiry: Duration,
    ) -> Result<Self, Failure> {
        let (own_broker, running) = if let Some(running) = running {
            (None, running)
        } else {
            let (broker, directory, running) = start_broker().await?;
            (Some((broker, directory)), running)
        };
        let store = Arc::new(Store::with_made_up_customers());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let service_url = format!("http://{}", listener.local_addr()?);
        let (url, issuer, served) = (running.url.clone(), running.issuer, Arc::clone(&store));
        let serving = tokio::spawn(async move {
            if let Err(failure) = service::serve(&url, &issuer, served, listener).await {
                eprintln!("support-tickets: the ticket service ended: {failure}");
            }
        });
        let client = Client::new(running.url)?;
        let app = client.app(running.client_id, running.client_secret)?;
        let service = ServiceClient::new(service_url.clone())?;
        Ok(Self { own_broker, serving, service, service_url, store, client, app, model, expiry })
    }

    /// Returns the broker's URL.
    #[must_use]
    pub fn broker_url(&self) -> &str {
        self.client.url()
    }

    /// Returns the ticket service's URL.
    #[must_use]
    pub fn service_url(&self) -> &str {
        &self.service_url
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
        &self.app
    }

    /// Returns the broker's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn service(&self) -> &ServiceClient {
        &self.service
    }

    pub(crate) fn expiry(&self) -> Duration {
        self.expiry
    }

    /// Stops service and broker.
    pub async fn stop(self) {
        self.serving.abort();
        if let Some((broker, _directory)) = self.own_broker {
            broker.shutdown().await;
        }
    }
}

async fn start_broker() -> Result<(Broker, TempDir, RunningBroker), Failure> {
    let directory = tempfile::Builder::new().prefix("agentwrit-support-tickets-").tempdir()?;
    let admin_secret = random_secret()?;
    let broker = Broker::start(Config::for_development(directory.path(), admin_secret.expose())?).await?;
    let url = format!("http://{}", broker.local_addr());
    let admin = Client::new(url.clone())?.admin(admin_secret)?;
    let credentials = admin.create_app(&NewApp::new("support-tickets", CEILING)?).await?;
    let running = RunningBroker {
        url,
        issuer: DEFAULT_ISSUER.to_owned(),
        client_id: credentials.record.client_id,
        client_secret: credentials.client_secret,
    };
    Ok((broker, directory, running))
}

fn random_secret() -> Result<Secret, Failure> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
    Ok(data_encoding::HEXLOWER.encode(&secret).into())
}

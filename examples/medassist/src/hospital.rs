//! The hospital's service: it follows the broker's keys and revocations, and sends it no request for a token.

use std::{net::SocketAddr, sync::Arc};

use agentwrit_verify::{SystemClock, remote::Follower};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Failure, Store, routes, visitor::Visitor};

/// Issuer of the tokens that the hospital accepts, unless another is named.
pub const ISSUER: &str = "https://agentwrit.local";

/// Running service of the hospital, on a free port of the loopback interface. It ends when dropped.
#[derive(Debug)]
pub struct Hospital {
    address: SocketAddr,
    store: Store,
    task: JoinHandle<Result<(), Failure>>,
}

impl Hospital {
    /// Starts the service for tokens of `issuer`, with the made-up patients. It responds 503 after 30 s without the
    /// broker's keys and revocations.
    ///
    /// # Errors
    ///
    /// When the database or the listener cannot start.
    pub async fn start(broker_url: &str, issuer: &str) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let store = Store::with_made_up_patients()?;
        let task = tokio::spawn(serve(broker_url.to_owned(), issuer.to_owned(), store.clone(), listener));
        Ok(Self { address, store, task })
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns an HTTP client of the service.
    pub(crate) fn visitor(&self) -> Result<Visitor, Failure> {
        Visitor::of(self.url())
    }
}

impl Drop for Hospital {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the API until the listener fails.
async fn serve(broker_url: String, issuer: String, store: Store, listener: TcpListener) -> Result<(), Failure> {
    let broker = Follower::builder(&broker_url).issuer(&issuer).start().await?;
    let verifier = broker.verifier().build();
    Ok(axum::serve(listener, routes(store, verifier, Arc::new(SystemClock))).await?)
}

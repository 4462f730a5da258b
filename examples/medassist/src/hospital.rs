//! The hospital's service: it follows the broker's keys and revocations, and sends it no request for a token.

use std::sync::Arc;

use agentwrit_verify::SystemClock;
use demo_common::{service::RunningService, service_client::ServiceClient};

use crate::{Failure, Store, routes};

/// Running service of the hospital. It ends when dropped.
#[derive(Debug)]
pub struct Hospital {
    service: RunningService,
    store: Store,
}

impl Hospital {
    /// Starts the service for tokens of `issuer`, with the made-up patients.
    ///
    /// # Errors
    ///
    /// When the database cannot start, or the broker cannot be followed.
    pub async fn start(broker_url: &str, issuer: &str) -> Result<Self, Failure> {
        let store = Store::with_made_up_patients()?;
        let service = RunningService::start(broker_url, issuer, |verifier| {
            routes(store.clone(), verifier, Arc::new(SystemClock))
        });
        Ok(Self { service: service.await?, store })
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.service.url()
    }

    /// Waits for the end of the service, which only a failure causes.
    pub async fn ended(&self) -> Failure {
        self.service.ended().await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns an HTTP client of the service.
    pub(crate) fn client(&self) -> Result<ServiceClient, Failure> {
        Ok(ServiceClient::new(self.url().to_owned())?)
    }
}

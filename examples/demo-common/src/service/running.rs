//! Service that follows a broker, on a free port of the loopback interface.

use agentwrit_verify::{Verifier, remote::Follower};
use axum::Router;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::Failure;

/// Running service. It ends when dropped.
#[derive(Debug)]
pub struct RunningService {
    url: String,
    task: JoinHandle<()>,
    ended: watch::Receiver<Option<String>>,
}

impl RunningService {
    /// Starts a service for tokens of `issuer`, once it has the broker's keys and revocations. `routes` gets the verifier, which
    /// sends the broker no request for a token. The service responds 503 after 30 s without the broker.
    ///
    /// # Errors
    ///
    /// When the broker cannot be followed, for example since its issuer is another one, or no port is free.
    pub async fn start(
        broker_url: &str,
        issuer: &str,
        routes: impl FnOnce(Verifier) -> Router,
    ) -> Result<Self, Failure> {
        let follower = Follower::builder(broker_url).issuer(issuer).start().await.map_err(|error| {
            format!("the service cannot follow the broker at {broker_url} as the issuer `{issuer}`: {error}")
        })?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = routes(follower.verifier().build());
        let (end, ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            let failure = axum::serve(listener, routes).await.err().map(|error| error.to_string());
            drop(follower);
            end.send_replace(Some(failure.unwrap_or_default()));
        });
        Ok(Self { url, task, ended })
    }

    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the end of the service, which only a failure causes.
    pub async fn ended(&self) -> Failure {
        let mut ended = self.ended.clone();
        let failure = ended.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        format!("the service ended: {}", failure.unwrap_or_default()).into()
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

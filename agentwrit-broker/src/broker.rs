//! Start, service and shutdown of a broker.

mod key_rotation;
mod opening;

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use agentwrit_verify::proof::ExternalUrlError;
use axum::Router;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use crate::{
    attestation::KubernetesSetupError,
    config::{Config, TlsConfig},
    console::Console,
    http::{Edge, ProofVerifiers, router_with_pages},
    keys::{
        CustodyError, Entropy, EntropyError, KeyEncryptionKeyError, KeyFileError, OpenKeysError, OsEntropy,
        SealedKeyError,
    },
    maintenance::file_checks,
    server::{Connections, FailedHandshakes, HealthSocket, Reload, Server, Tls, TlsError, listen, serve_health_checks},
    service::{Services, seed_tokens},
    store::{LostHistory, OpenError, StoreError},
    telemetry::metrics::Metrics,
};

/// Interval at which spent nonces, expired launch tokens and the like are deleted.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);
/// Interval at which the certificate files are checked for changes.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);
/// Interval at which folded denials are written.
const DENIAL_INTERVAL: Duration = Duration::from_millis(250);
/// Time limit at the stop for requests whose clients hung up, after the connections are closed.
const TASKS_GRACE: Duration = Duration::from_secs(1);
/// Time limit for the whole shutdown. Then the store is left as after a crash: durable, its log not folded. The process ends
/// within a second of it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(7);

/// A broker that serves until it is shut down.
pub struct Broker {
    address: SocketAddr,
    services: Arc<Services>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    background_tasks: Vec<JoinHandle<()>>,
    tls: Option<CertificateRenewal>,
    failed_handshakes: FailedHandshakes,
    health_socket: Option<HealthSocket>,
}

impl Broker {
    /// Opens key and store, binds, and serves in the background of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the fault and its remedy.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy::open()?);
        let tls = Tls::load(&config.tls)?;
        config.attestation.check()?;
        let (store, keys) = opening::open(&config, &entropy).await?;
        warn_of_files(&config).await;
        let health_entropy = Arc::clone(&entropy);
        let services = Arc::new(Services::build(&config, store, keys, entropy).await?);
        let listener =
            listen(config.bind).map_err(|cause| StartError::Bind { address: config.bind, cause: cause.to_string() })?;
        let address = listener
            .local_addr()
            .map_err(|cause| StartError::Bind { address: config.bind, cause: cause.to_string() })?;
        if config.seed_tokens {
            seed_tokens::print(&services).await.map_err(|error| StartError::Seed { cause: error.to_string() })?;
        }
        let capacity = services.pools.capacity;
        let connections = Connections::new(capacity.connections, &config.trusted_proxies);
        let has_tls = config.tls != TlsConfig::None;
        let proofs = ProofVerifiers::new(&config.external_urls, address, has_tls, &services.ledger.clock)?;
        let edge = Edge { trusted_proxies: config.trusted_proxies.clone(), tls: has_tls, proofs };
        let pages = pages(&config, &services);
        let (stop, stopping) = watch::channel(false);
        let failed_handshakes = FailedHandshakes::new(Arc::clone(&services.metrics));
        let secured = tls.clone().map(|tls| (tls, failed_handshakes.clone()));
        let server = Server {
            listener,
            tls: secured,
            router: router_with_pages(Arc::clone(&services), edge, pages),
            connections,
        };
        let server = tokio::spawn(server.run(stopping));
        let mut background_tasks = vec![
            tokio::spawn(run_housekeeping(Arc::clone(&services))),
            tokio::spawn(write_denials(Arc::clone(&services))),
            tokio::spawn(record_confirmations(Arc::clone(&services))),
            tokio::spawn(key_rotation::run(Arc::clone(&services))),
        ];
        background_tasks.extend(services.attestor.watch(services.pods.clone()).map(|watch| tokio::spawn(watch.run())));
        let tls = tls.map(|tls| CertificateRenewal { tls, metrics: Arc::clone(&services.metrics) });
        background_tasks
            .extend(tls.clone().map(|renewal| tokio::spawn(watch_certificates(renewal, failed_handshakes.clone()))));
        let health_socket =
            listen_for_checks(config.own_file(), health_entropy.as_ref(), &services, &mut background_tasks);
        let memory = capacity.memory.map_or_else(|| String::from("unknown"), |bytes| format!("{} MiB", bytes >> 20));
        tracing::info!(
            component = "server",
            memory,
            connections = capacity.connections,
            "limits of this machine or container"
        );
        tracing::info!(component = "broker", address = %address, issuer = services.issuer.name(), "listening");
        Ok(Self { address, services, stop, server, background_tasks, tls, failed_handshakes, health_socket })
    }

    /// Address of the listener.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Reloads certificate, key and client authorities, as on SIGHUP. Files that cannot be used change nothing.
    pub fn reload(&self) {
        if let Some(renewal) = self.tls.clone() {
            // On a thread that may block. The result goes to the log.
            drop(spawn_blocking(move || renewal.report(renewal.tls.reload())));
        }
    }

    /// Waits until the broker has to stop because its database lost commits (`AA_ON_LOST_HISTORY=stop`).
    pub async fn history_lost(&self) -> LostHistory {
        self.services.ledger.store.history_lost().await
    }

    /// Stops accepting connections, finishes the requests in flight, writes what waits, and closes the store: within 7
    /// seconds, even if clients or the database stall.
    pub async fn shutdown(self) {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        self.stop.send_replace(true);
        self.services.stopping.send_replace(true);
        if let Err(error) = self.server.await {
            tracing::error!(component = "broker", %error, "the server ended with an error");
        }
        for task in &self.background_tasks {
            task.abort();
        }
        self.failed_handshakes.write_all();
        let closed = timeout_at(deadline, close(&self.services, self.health_socket)).await;
        if closed.is_err() {
            tracing::error!(component = "store", "the store did not close in time; check its file system");
        }
        tracing::info!(component = "broker", "stopped");
    }
}

/// Writes what waits and closes the store.
async fn close(services: &Services, health_socket: Option<HealthSocket>) {
    // Requests whose clients hung up may still be denied, which the trail must tell.
    let tasks = &services.ledger.tasks;
    tasks.close();
    if timeout(TASKS_GRACE, tasks.wait()).await.is_err() {
        tracing::warn!(component = "broker", "requests of clients that hung up were still running at the end");
    }
    if let Err(error) = services.ledger.write_all_denials().await {
        tracing::error!(component = "audit", %error, "denials were not written");
    }
    if let Err(error) = services.ledger.record_time_now().await {
        tracing::warn!(component = "clock", %error, "the time of the shutdown was not recorded");
    }
    // While the database is locked: afterwards it may belong to another broker.
    drop(health_socket);
    services.ledger.store.clone().close().await;
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Returns the pages of the console; without it no route, and nothing that a request would meet.
fn pages(config: &Config, services: &Arc<Services>) -> Router<Arc<Services>> {
    if !config.console {
        return Router::new();
    }
    let is_https = config.tls != TlsConfig::None || config.is_behind_https();
    Console::new(Arc::clone(services), is_https).routes()
}

/// Listens for health checks on a Unix socket. Returns `None` if the file system has no sockets.
fn listen_for_checks(
    database: &Path,
    entropy: &dyn Entropy,
    services: &Arc<Services>,
    background_tasks: &mut Vec<JoinHandle<()>>,
) -> Option<HealthSocket> {
    match HealthSocket::bind(database, entropy) {
        Ok((socket, listener)) => {
            background_tasks.push(tokio::spawn(serve_health_checks(listener, Arc::clone(services))));
            Some(socket)
        }
        Err(error) => {
            tracing::warn!(
                component = "health", %error,
                "no health socket beside the database: `agentwrit-broker health` will ask as any client does"
            );
            None
        }
    }
}

/// Logs warnings about files that other users can read or replace. All files exist by now.
async fn warn_of_files(config: &Config) {
    let config = config.clone();
    let warnings = spawn_blocking(move || file_checks::inspect(&config, rustix::process::geteuid().as_raw()));
    for warning in warnings.await.unwrap_or_default() {
        tracing::warn!(component = "files", "{warning}");
    }
}

/// Deletes expired records at intervals.
async fn run_housekeeping(services: Arc<Services>) {
    let mut ticks = interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.housekeeping.delete_expired().await {
            services.metrics.db_error("housekeeping");
            tracing::warn!(component = "store", %error, "housekeeping failed, it is tried again in a minute");
        }
    }
}

/// Records confirmations that no request waits for any more.
async fn record_confirmations(services: Arc<Services>) {
    services.confirmations.record_watched().await;
}

/// Reloads certificates whose files were replaced, and logs counts of failed handshakes.
async fn watch_certificates(renewal: CertificateRenewal, failed_handshakes: FailedHandshakes) {
    let mut ticks = interval(CERTIFICATE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        failed_handshakes.write_due();
        let renewal = renewal.clone();
        let reload = spawn_blocking(move || renewal.report(renewal.tls.reload_if_changed()));
        if reload.await.is_err() {
            // The runtime is shutting down.
            return;
        }
    }
}

/// Reload of certificates while the broker runs, with its metrics.
#[derive(Clone)]
struct CertificateRenewal {
    tls: Tls,
    metrics: Arc<Metrics>,
}

impl CertificateRenewal {
    fn report(&self, reload: Reload) {
        // The current state, so that the metric ends right when reloads overlap.
        self.metrics.set_tls_renewal_failing(self.tls.is_renewal_failing());
        match reload {
            Reload::Unchanged | Reload::StillFailing => {}
            Reload::Loaded => tracing::info!(component = "tls", "certificates were read again"),
            Reload::Failed(error) => {
                tracing::error!(
                    component = "tls",
                    %error,
                    "the new certificates cannot be used, the old ones stay; tried again every 2 s"
                );
            }
        }
    }
}

async fn write_denials(services: Arc<Services>) {
    let mut ticks = interval(DENIAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.ledger.write_due_denials().await {
            services.metrics.db_error("audit");
            tracing::warn!(component = "audit", %error, "denials wait for the store");
        }
    }
}

/// Reason that a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system has no random number generator.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key under which the keys in a shared database are sealed cannot be used.
    #[error(transparent)]
    KeyEncryptionKey(#[from] KeyEncryptionKeyError),
    /// The keys in a shared database cannot be used.
    #[error(transparent)]
    SealedKey(#[from] SealedKeyError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] CustodyError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Certificate, key or client authorities cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The files of the Kubernetes API server cannot be used.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesSetupError),
    /// The address is in use, or is not an address of this machine.
    #[error("cannot listen on {address}: {cause}; set AA_BIND_ADDRESS and AA_PORT")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Error of the operating system.
        cause: String,
    },
    /// The address of the listener cannot be part of a URL.
    #[error("{0}; set AA_EXTERNAL_URL")]
    ExternalUrl(#[from] ExternalUrlError),
    /// The seed tokens were not issued.
    #[error("AA_SEED_TOKENS: the tokens could not be issued: {cause}")]
    Seed {
        /// Error of the service.
        cause: String,
    },
}

impl From<OpenKeysError> for StartError {
    fn from(error: OpenKeysError) -> Self {
        match error {
            OpenKeysError::File(error) => Self::KeyFile(error),
            OpenKeysError::Custody(error) => Self::Keys(error),
            OpenKeysError::Store(error) => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests;

//! A running broker: start, serve, stop.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use agentwrit_verify::{Clock, SystemClock};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use crate::{
    config::{Config, TlsConfig},
    http::{Edge, router},
    keys::{Entropy, EntropyError, KeyFile, KeyFileError, OsEntropy},
    maintenance::file_checks,
    server::{Connections, FailedHandshakes, HealthSocket, Reload, Server, Tls, TlsError, listen, serve_health_checks},
    service::{Services, seed_tokens},
    store::{OpenError, Store, StoreError, StoreOptions},
    telemetry::metrics::Metrics,
};

/// How often spent nonces, expired launch tokens and the like are dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// How often the certificate files are looked at.
const CERTIFICATES: Duration = Duration::from_secs(2);
/// How often folded refusals are written.
const DENIALS: Duration = Duration::from_millis(250);
/// Time limit at the stop for requests whose clients hung up, after the connections are closed.
const TASKS_GRACE: Duration = Duration::from_secs(1);

/// Time limit for the whole shutdown, after which the store is left as a crash would leave it: durable, its log not folded.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// A broker that serves until it is shut down.
pub struct Broker {
    address: SocketAddr,
    services: Arc<Services>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    chores: Vec<JoinHandle<()>>,
    tls: Option<CertificateRenewal>,
    failed_handshakes: FailedHandshakes,
    health_socket: Option<HealthSocket>,
}

impl Broker {
    /// Opens key and store, binds, and serves in the background of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is wrong and what to do about it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy::open()?);
        let tls = Tls::load(&config.tls)?;
        let key_file = KeyFile::open(&config.signing_key_path, entropy.as_ref())?;
        if key_file.created {
            tracing::info!(component = "signing", path = %config.signing_key_path.display(), "a new signing key was made");
        }
        let accept_broken_audit = config.accept_broken_audit.clone();
        let options = StoreOptions { accept_broken_audit, ..StoreOptions::default() };
        let path = config.db_path.clone();
        let store = spawn_blocking(move || Store::open(&path, options))
            .await
            .map_err(|error| StoreError::Internal { cause: error.to_string() })??;
        warn_of_files(&config).await;
        let health_entropy = Arc::clone(&entropy);
        let services = Arc::new(Services::build(&config, store, key_file, clock, entropy).await?);
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
        let edge = Edge { trusted_proxies: config.trusted_proxies, tls: config.tls != TlsConfig::None };
        let (stop, stopping) = watch::channel(false);
        let failed_handshakes = FailedHandshakes::new(Arc::clone(&services.metrics));
        let secured = tls.clone().map(|tls| (tls, failed_handshakes.clone()));
        let server = Server { listener, tls: secured, router: router(Arc::clone(&services), edge), connections };
        let server = tokio::spawn(server.run(stopping));
        let mut chores =
            vec![tokio::spawn(tidy(Arc::clone(&services))), tokio::spawn(write_denials(Arc::clone(&services)))];
        let tls = tls.map(|tls| CertificateRenewal { tls, metrics: Arc::clone(&services.metrics) });
        chores.extend(tls.clone().map(|renewal| tokio::spawn(watch_certificates(renewal, failed_handshakes.clone()))));
        let health_socket = listen_for_checks(&config.db_path, health_entropy.as_ref(), &services, &mut chores);
        let memory = capacity.memory.map_or_else(|| String::from("unknown"), |bytes| format!("{} MiB", bytes >> 20));
        tracing::info!(
            component = "server",
            memory,
            connections = capacity.connections,
            "limits of this machine or container"
        );
        tracing::info!(component = "broker", address = %address, issuer = services.issuer.name(), "listening");
        Ok(Self { address, services, stop, server, chores, tls, failed_handshakes, health_socket })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Reads certificate, key and client authority again, as SIGHUP asks. When they can't be used the old ones stay.
    pub fn reload(&self) {
        if let Some(renewal) = self.tls.clone() {
            // Files are read on a thread that may block; its end is not waited for.
            drop(spawn_blocking(move || renewal.report(renewal.tls.reload())));
        }
    }

    /// Stops accepting connections, finishes the requests in flight, writes what waits, and closes the store: within 8
    /// seconds, whatever clients do.
    pub async fn shutdown(self) {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        self.stop.send_replace(true);
        self.services.stopping.send_replace(true);
        if let Err(error) = self.server.await {
            tracing::error!(component = "broker", %error, "the server ended with an error");
        }
        for chore in &self.chores {
            chore.abort();
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

/// Answers health checks by a socket of their own, where the file system has sockets.
fn listen_for_checks(
    database: &Path,
    entropy: &dyn Entropy,
    services: &Arc<Services>,
    chores: &mut Vec<JoinHandle<()>>,
) -> Option<HealthSocket> {
    match HealthSocket::bind(database, entropy) {
        Ok((socket, listener)) => {
            chores.push(tokio::spawn(serve_health_checks(listener, Arc::clone(services))));
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

/// Tells what others than the operator could do with the files, which all exist by now.
async fn warn_of_files(config: &Config) {
    let config = config.clone();
    let inspection = spawn_blocking(move || file_checks::inspect(&config, rustix::process::geteuid().as_raw()));
    for warning in inspection.await.unwrap_or_default() {
        tracing::warn!(component = "files", "{warning}");
    }
}

/// Drops what has no more use.
async fn tidy(services: Arc<Services>) {
    let mut ticks = interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.housekeeping.delete_expired().await {
            services.metrics.db_error("housekeeping");
            tracing::warn!(component = "store", %error, "housekeeping failed, it is tried again in a minute");
        }
    }
}

/// Takes over a certificate soon after its file was replaced, and tells of handshakes that failed.
async fn watch_certificates(renewal: CertificateRenewal, failed_handshakes: FailedHandshakes) {
    let mut ticks = interval(CERTIFICATES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        failed_handshakes.write_due();
        let renewal = renewal.clone();
        let looked = spawn_blocking(move || renewal.report(renewal.tls.reload_if_changed()));
        if looked.await.is_err() {
            // The runtime is shutting down.
            return;
        }
    }
}

/// Certificates that are replaced while the broker runs, and where that is reported.
#[derive(Clone)]
struct CertificateRenewal {
    tls: Tls,
    metrics: Arc<Metrics>,
}

impl CertificateRenewal {
    fn report(&self, reload: Reload) {
        // The state of now, so that reports that overtake each other end with the right one.
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
    let mut ticks = interval(DENIALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.ledger.write_due_denials().await {
            services.metrics.db_error("audit");
            tracing::warn!(component = "audit", %error, "refusals wait for the store");
        }
    }
}

/// Why a broker didn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No randomness to be had.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database, after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Certificate, key or client authority.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {cause}; set AA_BIND_ADDRESS and AA_PORT")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        cause: String,
    },
    /// The seed tokens were not issued.
    #[error("AA_SEED_TOKENS: the tokens could not be issued: {cause}")]
    Seed {
        /// Why.
        cause: String,
    },
}

#[cfg(test)]
mod tests;

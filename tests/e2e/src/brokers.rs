//! Several brokers on one PostgreSQL database.
//!
//! 1. Each broker has a directory, a port and a [`Link`] to the database of its own, and keeps them over restarts.
//! 2. All share the key files that brokers of one database need to share.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use postgres_server::PostgresServer;
use tempfile::TempDir;

use crate::{Balancer, Broker, Link, Stopped, free_port};

/// Brokers on one database.
#[derive(Debug)]
pub struct Brokers {
    /// The server of the database.
    pub server: Arc<PostgresServer>,
    /// Name of the database.
    pub database: String,
    members: Vec<Member>,
    settings: Vec<(String, String)>,
    shared: TempDir,
}

#[derive(Debug)]
struct Member {
    /// None while the broker is down.
    broker: Option<Broker>,
    directory: Option<TempDir>,
    link: Link,
    port: u16,
    /// Variables of this broker alone.
    settings: Vec<(String, String)>,
}

static DATABASES: AtomicU64 = AtomicU64::new(0);

impl Brokers {
    /// Starts `count` brokers on a new database of `server`.
    pub async fn start(server: &Arc<PostgresServer>, count: usize) -> Self {
        Self::start_with(server, count, &[]).await
    }

    /// Starts brokers with these environment variables beside the usual ones.
    pub async fn start_with(server: &Arc<PostgresServer>, count: usize, settings: &[(&str, &str)]) -> Self {
        let mut brokers = Self::prepare(server, count, settings).await;
        for number in 0..count {
            brokers.start_one(number).await;
        }
        brokers
    }

    /// Prepares a new database and the files of `count` brokers, which are down.
    pub async fn prepare(server: &Arc<PostgresServer>, count: usize, settings: &[(&str, &str)]) -> Self {
        let database = format!("brokers_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        server.create_database(&database);
        let shared = directory();
        fs::write(shared.path().join("encryption.key"), random_key()).unwrap();
        restrict(&shared.path().join("encryption.key"));
        let mut members = Vec::new();
        for _ in 0..count {
            let link = Link::to(server.socket()).await;
            let directory = Some(directory());
            members.push(Member { broker: None, directory, link, port: free_port(), settings: Vec::new() });
        }
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { server: Arc::clone(server), database, members, settings, shared }
    }

    /// Returns a running broker.
    #[must_use]
    pub fn at(&self, number: usize) -> &Broker {
        self.members[number].broker.as_ref().expect("the broker is running")
    }

    /// Returns the link of a broker to the database.
    #[must_use]
    pub fn link(&self, number: usize) -> &Link {
        &self.members[number].link
    }

    /// Returns the address of each broker, `host:port`, running or not.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect()
    }

    /// Starts a balancer in front of all brokers.
    pub async fn balancer(&self) -> Balancer {
        let addresses = self.addresses();
        Balancer::start(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Sets variables of one broker, from its next start on.
    pub fn set(&mut self, number: usize, settings: &[(&str, &str)]) {
        self.members[number].settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Starts a broker that is down, on its own files and port.
    pub async fn start_one(&mut self, number: usize) {
        let environment = self.environment(number);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let member = &mut self.members[number];
        let directory = member.directory.take().expect("the broker is down");
        member.broker = Some(Broker::start_in(directory, &environment).await);
    }

    /// Sends SIGKILL to a broker and waits for its end.
    pub async fn kill(&mut self, number: usize) {
        let member = &mut self.members[number];
        let broker = member.broker.take().expect("the broker is running");
        member.directory = Some(broker.kill().await);
    }

    /// Sends SIGTERM to a broker and waits for its end.
    pub async fn terminate(&mut self, number: usize) -> Stopped {
        let member = &mut self.members[number];
        let (stopped, directory) = member.broker.take().expect("the broker is running").terminate().await;
        member.directory = Some(directory);
        stopped
    }

    /// Returns the environment that a broker starts with.
    #[must_use]
    pub fn environment(&self, number: usize) -> Vec<(String, String)> {
        let member = &self.members[number];
        let port = member.link.port();
        let shared = |file: &str| self.shared.path().join(file).to_str().unwrap().to_owned();
        let usual = [
            ("AA_DATABASE_URL", format!("postgres://agentwrit@127.0.0.1:{port}/{}?sslmode=disable", self.database)),
            ("AA_KEY_ENCRYPTION_KEY_PATH", shared("encryption.key")),
            ("AA_PORT", member.port.to_string()),
        ];
        let mut environment: Vec<_> = usual.map(|(name, value)| (name.to_owned(), value)).into();
        environment.extend(self.settings.iter().chain(&member.settings).cloned());
        environment
    }
}

/// Variables that set the clock of a process off by this number of seconds: Debian's `faketime`, preloaded.
#[must_use]
pub fn clock_offset(seconds: i64) -> Vec<(&'static str, String)> {
    let library = fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file())
        .expect("Debian's `faketime` is installed");
    vec![
        ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
        ("FAKETIME", format!("{seconds:+}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// Sends a signal to a broker.
pub fn signal(broker: &Broker, name: &str) {
    let pid = broker.pid().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success(), "{name} to {pid}");
}

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("agentwrit-e2e-").tempdir().unwrap()
}

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    getrandom::fill(&mut key).unwrap();
    key
}

fn restrict(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

//! Brokers, services and the operator of a test.

use std::sync::{Arc, LazyLock};

use agentwrit_e2e::{ADMIN_SECRET, Agent, Balancer, Broker, Brokers, ProtectedService, Run, awrit};
use postgres_server::PostgresServer;
use serde_json::json;
use tempfile::TempDir;

static SERVER: LazyLock<Arc<PostgresServer>> = LazyLock::new(|| Arc::new(PostgresServer::start()));

/// Bound of the services, in seconds.
pub(crate) const BOUND: u64 = 6;

/// One broker with SQLite, or three on PostgreSQL behind `HAProxy`.
pub(crate) struct Site {
    brokers: Kind,
    /// Files of the operator.
    pub(crate) directory: TempDir,
}

enum Kind {
    One(Broker),
    Three { brokers: Brokers, balancer: Balancer },
}

impl Site {
    pub(crate) async fn one(settings: &[(&str, &str)]) -> Self {
        Self::of(Kind::One(Broker::start_with(settings).await))
    }

    pub(crate) async fn three(settings: &[(&str, &str)]) -> Self {
        let settings = [settings, &[("AA_TRUSTED_PROXIES", "127.0.0.1")]].concat();
        let brokers = Brokers::start_with(&SERVER, 3, &settings).await;
        let balancer = brokers.balancer().await;
        Self::of(Kind::Three { brokers, balancer })
    }

    fn of(brokers: Kind) -> Self {
        Self { brokers, directory: tempfile::tempdir().unwrap() }
    }

    /// Returns a broker: of three, that of this number.
    pub(crate) fn broker(&self, number: usize) -> &Broker {
        match &self.brokers {
            Kind::One(broker) => broker,
            Kind::Three { brokers, .. } => brokers.at(number % 3),
        }
    }

    /// Returns the address that clients use.
    pub(crate) fn url(&self) -> &str {
        match &self.brokers {
            Kind::One(broker) => &broker.url,
            Kind::Three { balancer, .. } => &balancer.url,
        }
    }

    /// Runs `awrit` as the operator.
    pub(crate) async fn awrit(&self, arguments: &[&str]) -> Run {
        let operator = [("AACTL_BROKER_URL", self.url()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
        awrit(self.directory.path(), &operator, arguments, "").await
    }

    /// Enrols a verifier and starts its service, with the operator's commands.
    pub(crate) async fn service(&self, name: &str) -> ProtectedService {
        let bound = BOUND.to_string();
        self.enrol_verifier(name, &["--max-bound", &bound]).await;
        self.instance(name, &["--max-staleness", &bound, "--clock-leeway", "1"]).await
    }

    /// Enrols a verifier and starts its service, which accepts a revocation list of any age.
    pub(crate) async fn service_without_bound(&self, name: &str) -> ProtectedService {
        self.enrol_verifier(name, &[]).await;
        self.instance(name, &["--accept-stale-revocations"]).await
    }

    /// Makes a key pair, `<name>.pem`, and enrols its verifier.
    pub(crate) async fn enrol_verifier(&self, name: &str, options: &[&str]) {
        let (private, public) = (format!("{name}.pem"), format!("{name}.pub.pem"));
        let made = self.awrit(&["verifier", "keygen", "--private-key", &private]).await;
        std::fs::write(self.directory.path().join(&public), &made.stdout).unwrap();
        let added = self.awrit(&[&["verifier", "add", name, "--public-key", &public], options].concat()).await;
        assert_eq!(added.code, 0, "{}", added.stderr);
    }

    /// Starts an instance of an enrolled verifier.
    pub(crate) async fn instance(&self, name: &str, arguments: &[&str]) -> ProtectedService {
        let key = self.directory.path().join(format!("{name}.pem"));
        ProtectedService::start(self.url(), name, &key, arguments).await
    }

    /// Registers an agent whose tokens the services accept.
    pub(crate) async fn agent(&self, task: &str) -> Agent {
        let broker = self.broker(0);
        let admin = broker.admin_token().await;
        broker.enrol(&admin, task, json!({"allowed_scope": ["read:records:*"]})).await
    }
}

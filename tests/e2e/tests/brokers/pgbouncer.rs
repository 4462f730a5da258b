//! `PgBouncer` between brokers and database.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use agentwrit_e2e::{Broker, Brokers, assert_whole_chain, free_port};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{SERVER, enrol, within};

#[tokio::test]
async fn two_brokers_serve_through_pgbouncer_in_session_mode() {
    let mut brokers = Brokers::prepare(&SERVER, 2, &[]).await;
    let bouncer = Bouncer::start("session").await;
    let url = bouncer.url(&brokers.database);
    for number in 0..2 {
        brokers.set(number, &[("AA_DATABASE_URL", &url)]);
        brokers.start_one(number).await;
    }
    let admin = brokers.at(0).admin_token().await;
    for round in 0..10 {
        let agent = enrol(brokers.at(round % 2), &admin, "task-1").await;
        assert!(brokers.at((round + 1) % 2).accepts(&agent.token).await);
        assert_eq!(brokers.at(round % 2).revoked(&admin, "agent", &agent.id).await, 1);
        assert!(!brokers.at((round + 1) % 2).accepts(&agent.token).await);
    }
    assert_whole_chain(&brokers.at(1).events(&admin, "").await);
}

#[tokio::test]
async fn broker_rejects_pgbouncer_in_transaction_mode_at_its_start() {
    let mut brokers = Brokers::prepare(&SERVER, 1, &[]).await;
    let bouncer = Bouncer::start("transaction").await;
    let url = bouncer.url(&brokers.database);
    brokers.set(0, &[("AA_DATABASE_URL", &url)]);
    let environment = brokers.environment(0);
    let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let stopped = Broker::refuses_to_start(&environment).await;
    assert!(stopped.output.contains("a pooler in transaction mode"), "{}", stopped.output);
}

struct Bouncer {
    _process: Child,
    _directory: TempDir,
    port: u16,
}

impl Bouncer {
    async fn start(mode: &str) -> Self {
        let directory = TempDir::new().unwrap();
        // The user `postgres` reads it when the test runs as root.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (port, host) = (free_port(), SERVER.directory().display());
        let file = directory.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host={host} port={} user=agentwrit\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            SERVER.port()
        );
        fs::write(&file, settings).unwrap();
        let id = std::process::Command::new("id").arg("-u").output().unwrap().stdout;
        let mut command = if id == b"0\n" {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "pgbouncer"]);
            command
        } else {
            Command::new("pgbouncer")
        };
        // Debian keeps it in a directory that is not in every PATH.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.kill_on_drop(true).spawn().expect("Debian's `pgbouncer` is installed");
        let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        within(Duration::from_secs(10), "PgBouncer listens", listens).await;
        Self { _process: process, _directory: directory, port }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://agentwrit@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

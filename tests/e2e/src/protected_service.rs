//! The example `records-service` as a process: a protected service that reports to the broker.

use std::{
    path::{Path, PathBuf},
    process::{Command as BlockingCommand, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::broker::{PATIENCE, binary};

/// A running service. It is ended by its process id when dropped.
#[derive(Debug)]
pub struct ProtectedService {
    process: Child,
    /// Name under which it is enrolled; empty for a service that sends no reports.
    pub name: String,
    /// Without a trailing slash.
    pub url: String,
    http: reqwest::Client,
}

impl ProtectedService {
    /// Starts a service that follows the broker at `broker`, with the key in `key` and further arguments.
    pub async fn start(broker: &str, name: &str, key: &Path, arguments: &[&str]) -> Self {
        let key = key.to_str().expect("UTF-8");
        Self::spawn(name, &[&["--broker", broker, "--verifier", name, "--key", key], arguments].concat()).await
    }

    /// Starts a service that follows the broker at `broker` and sends no reports.
    pub async fn start_without_reports(broker: &str, arguments: &[&str]) -> Self {
        Self::spawn("", &[&["--broker", broker], arguments].concat()).await
    }

    async fn spawn(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["--listen", "127.0.0.1:0"]).args(arguments).env_clear().kill_on_drop(true);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("records-service runs");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("records-service starts").unwrap();
        let line = line.unwrap_or_else(|| panic!("`{name}` ended at its start"));
        let address = line.strip_prefix("listening on ").expect("it prints its address");
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().tls_certs_only([]).build().unwrap();
        Self { process, name: name.to_owned(), url: format!("http://{address}"), http }
    }

    /// Returns the status of a request with this token, which has a scope `read:records:*`.
    pub async fn status_for(&self, token: &str) -> u16 {
        let request = self.http.get(format!("{}/records/7", self.url)).bearer_auth(token);
        request.send().await.expect("the service responds").status().as_u16()
    }

    /// Waits until the service responds to the token with `status`; until then each status is one of `before`.
    pub async fn until_status(&self, token: &str, status: u16, before: &[u16]) {
        let begun = Instant::now();
        loop {
            let found = self.status_for(token).await;
            if found == status {
                return;
            }
            assert!(before.contains(&found), "`{}` responded {found} before {status}", self.name);
            assert!(begun.elapsed() < PATIENCE, "`{}` still responds {found}, not {status}", self.name);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the process, as a debugger or an overloaded machine would, until [`ProtectedService::resume`].
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets the process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends SIGTERM and waits until the process has left.
    pub async fn leave(mut self) {
        self.signal("TERM");
        timeout(PATIENCE, self.process.wait()).await.expect("the service ends").unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().expect("the service is running").to_string();
        assert!(BlockingCommand::new("kill").args(["-s", name, &pid]).status().unwrap().success(), "{name} to {pid}");
    }
}

/// The program, beside the broker's; built by the same command.
fn program() -> PathBuf {
    binary().with_file_name("records-service")
}

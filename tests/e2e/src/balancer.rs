//! `HAProxy` in front of several brokers, with the configuration that `deploy/` ships.

use std::{fmt::Write as _, fs, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{broker::PATIENCE, free_port};

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/haproxy/haproxy.cfg");
/// Name of the last broker in the shipped configuration.
const LAST: &str = "broker-2";

/// A running `HAProxy`.
#[derive(Debug)]
pub struct Balancer {
    _process: Child,
    _directory: TempDir,
    /// Without a trailing slash.
    pub url: String,
}

impl Balancer {
    /// Starts `HAProxy` in front of the brokers at these addresses, `host:port`: two at least.
    pub async fn start(brokers: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, configuration(&brokers[2..])).unwrap();
        let mut haproxy = Command::new("haproxy");
        // Debian keeps it in a directory that is not in every PATH.
        haproxy.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        haproxy.arg("-db").arg("-f").arg(&file).env("AGENTWRIT_BIND", &address);
        haproxy.env("AGENTWRIT_BROKER_1", brokers[0]).env("AGENTWRIT_BROKER_2", brokers[1]);
        haproxy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = haproxy.spawn().expect("Debian's `haproxy` is installed");
        let listening = async {
            while TcpStream::connect(&address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("HAProxy listens");
        Self { _process: process, _directory: directory, url: format!("http://{address}") }
    }
}

/// Returns the shipped configuration with further brokers in each backend, as its comments tell operators to add them.
fn configuration(further: &[&str]) -> String {
    let mut configuration = String::new();
    for line in fs::read_to_string(CONFIGURATION).unwrap().lines() {
        writeln!(configuration, "{line}").unwrap();
        if line.trim_start().starts_with(&format!("server {LAST} ")) {
            let (_, options) = line.rsplit_once('"').unwrap();
            for (number, address) in (3..).zip(further) {
                let options = options.replace(LAST, &format!("broker-{number}"));
                writeln!(configuration, "    server broker-{number} {address}{options}").unwrap();
            }
        }
    }
    configuration
}

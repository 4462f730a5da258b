//! Varnish as a mirror of the feed, with the configuration that `deploy/` ships.

use std::{fs, process::Stdio, time::Duration};

use http::Method;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{Request, broker::PATIENCE, free_port};

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/proxies/feed.vcl");

/// A running Varnish.
#[derive(Debug)]
pub struct Mirror {
    _process: Child,
    http: reqwest::Client,
    _directory: TempDir,
    /// Without a trailing slash.
    pub url: String,
}

impl Mirror {
    /// Starts Varnish in front of the broker with this URL.
    pub async fn start(broker: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let port = broker.rsplit_once(':').unwrap().1;
        let shipped = fs::read_to_string(CONFIGURATION).unwrap();
        assert_eq!(
            shipped.matches(r#".port = "8080""#).count(),
            1,
            "the shipped configuration names the broker's port"
        );
        let file = directory.path().join("feed.vcl");
        fs::write(&file, shipped.replace(r#".port = "8080""#, &format!(r#".port = "{port}""#))).unwrap();
        let mut varnish = Command::new("varnishd");
        // Debian keeps it in a directory that is not in every PATH.
        varnish.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        // One process, and the user of the test: its files are in the directory of the test.
        varnish.args(["-F", "-j", "none", "-T", "none", "-s", "malloc,64m", "-a", &address, "-f"]).arg(&file);
        varnish.arg("-n").arg(directory.path().join("state"));
        varnish.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = varnish.spawn().expect("Debian's `varnish` is installed");
        let listening = async {
            while TcpStream::connect(&address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("Varnish listens");
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().tls_certs_only([]).build().unwrap();
        Self { _process: process, http, _directory: directory, url: format!("http://{address}") }
    }

    /// A request to the mirror.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::at(self.http.clone(), &self.url, method, path)
    }
}

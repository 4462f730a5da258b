//! The broker as a process.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command as BlockingCommand, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use http::Method;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::request::Request;

/// The admin secret of every broker that a test starts.
pub const ADMIN_SECRET: &str = "correct-horse-battery-staple";

/// How long a start, or an end, may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    output: Output,
    /// Told after each line.
    wrote: Arc<Notify>,
    /// How much of the output was looked through.
    read: Mutex<usize>,
    readers: Vec<JoinHandle<()>>,
    /// State of the readers of its output: reading or stopped.
    reading: watch::Sender<bool>,
    /// Without a trailing slash.
    pub url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) directory: TempDir,
}

/// How a broker ended.
#[derive(Debug)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it wrote to stdout and stderr.
    pub output: String,
}

type Output = Arc<Mutex<String>>;

impl Broker {
    /// Starts a broker with its defaults.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a broker with these environment variables beside, or in place of, the usual ones.
    pub async fn start_with(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("agentwrit-e2e-").tempdir().unwrap();
        Self::start_in(directory, environment).await
    }

    /// Starts a broker on the files of one that ran before.
    pub async fn start_in(directory: TempDir, environment: &[(&str, &str)]) -> Self {
        Self::start_with_arguments(directory, environment, &[]).await
    }

    /// Starts a broker on the files of one that ran before, with arguments on its command line.
    pub async fn start_with_arguments(directory: TempDir, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = command(binary(), directory.path(), environment);
        command.args(arguments);
        Self::spawn(command, directory).await
    }

    /// Starts a broker through a shell: `preparation` runs first, in the process that becomes the broker.
    pub async fn start_after(preparation: &str, directory: TempDir, environment: &[(&str, &str)]) -> Self {
        let mut shell = command(Path::new("/bin/sh"), directory.path(), environment);
        shell.arg("-c").arg(format!("{preparation}; exec \"$0\"")).arg(binary());
        Self::spawn(shell, directory).await
    }

    /// Starts a broker whose admin secret stands in a config file.
    pub async fn start_by_file(directory: TempDir, config: &str) -> Self {
        let mut command = command(binary(), directory.path(), &[("AA_CONFIG_PATH", config)]);
        command.env_remove("AA_ADMIN_SECRET");
        Self::spawn(command, directory).await
    }

    async fn spawn(mut command: Command, directory: TempDir) -> Self {
        let mut process = command.kill_on_drop(true).spawn().expect("the broker runs");
        let (output, wrote) = (Output::default(), Arc::new(Notify::new()));
        let (lines, mut seen) = mpsc::unbounded_channel();
        let reading = watch::Sender::new(true);
        let readers = vec![
            follow(process.stdout.take().unwrap(), &output, &wrote, lines.clone(), reading.subscribe()),
            follow(process.stderr.take().unwrap(), &output, &wrote, lines, reading.subscribe()),
        ];
        let address = timeout(PATIENCE, async {
            while let Some(line) = seen.recv().await {
                if let Some(address) = listening_address(&line) {
                    return Some(address);
                }
            }
            None
        });
        let Ok(Some(address)) = address.await else {
            panic!("the broker does not say where it listens:\n{}", output.lock().unwrap());
        };
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            process,
            output,
            wrote,
            read: Mutex::default(),
            readers,
            reading,
            url: format!("http://{address}"),
            http,
            directory,
        }
    }

    /// Runs a broker that is expected to refuse to start.
    pub async fn refuses_to_start(environment: &[(&str, &str)]) -> Stopped {
        let directory = tempfile::tempdir().unwrap();
        let stopped = Self::run_in(directory.path(), environment, &[]).await;
        assert!(!stopped.status.success(), "{environment:?}: {}", stopped.output);
        stopped
    }

    /// Runs the broker's program to its end: a start that it refuses, or another command.
    pub async fn run_in(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Stopped {
        let run = command(binary(), directory, environment).args(arguments).kill_on_drop(true).output();
        let ended = timeout(PATIENCE, run).await.expect("the program ends").expect("the program runs");
        let text = [ended.stdout, ended.stderr].concat();
        Stopped { status: ended.status, output: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Value of `--accept-broken-audit` that the error of a refused start names.
    pub async fn breaks_of_trail(directory: &Path) -> String {
        let stopped = Self::run_in(directory, &[], &[]).await;
        assert!(!stopped.status.success(), "{}", stopped.output);
        let (_, named) = stopped.output.split_once("--accept-broken-audit ").expect("it names the flag");
        named.split('`').next().unwrap().to_owned()
    }

    /// The broker's program in the environment of a test, with stdout and stderr piped.
    pub fn program(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut program = command(binary(), directory, environment);
        program.args(arguments).kill_on_drop(true);
        program
    }

    /// Sends SIGTERM and waits for the end. Gives back the directory, for another start.
    pub async fn terminate(mut self) -> (Stopped, TempDir) {
        let pid = self.process.id().expect("the broker is running").to_string();
        let sent = BlockingCommand::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success(), "SIGTERM to {pid}: {sent}");
        let status = timeout(PATIENCE, self.process.wait()).await.expect("the broker ends").unwrap();
        self.reading.send_replace(true);
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        let output = self.output.lock().unwrap().clone();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        (Stopped { status, output }, directory)
    }

    /// Sends SIGKILL and waits for the end: what a crash leaves. Gives back the directory, for another start.
    pub async fn kill(mut self) -> TempDir {
        self.process.kill().await.expect("the broker is killed");
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    /// Reads the broker's output no more, until [`Broker::read_output`]: as a log collector that hangs.
    pub fn stop_reading_output(&self) {
        self.reading.send_replace(false);
    }

    /// Reads the broker's output again.
    pub fn read_output(&self) {
        self.reading.send_replace(true);
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id().expect("the broker is running")
    }

    /// Output of the broker so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until the broker writes `text`; what it wrote before the last such wait doesn't count.
    pub async fn says(&self, text: &str) {
        let waiting = async {
            loop {
                let written = self.wrote.notified();
                if self.find(text) {
                    return;
                }
                written.await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("the broker did not say `{text}`"));
    }

    /// Returns true if `text` was written since the last match.
    fn find(&self, text: &str) -> bool {
        let output = self.output.lock().unwrap();
        let mut read = self.read.lock().unwrap();
        let Some(at) = output.get(*read..).and_then(|unread| unread.find(text)) else { return false };
        *read += at + text.len();
        true
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Directory of the broker's files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A `GET` to be awaited.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// A `POST` to be awaited.
    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    /// A request to be awaited.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self, method, path)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the broker said:\n{}---", self.output());
        }
    }
}

/// Nothing of the caller's environment reaches the broker but what a test passes on.
fn command(program: &Path, directory: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", directory)
        .env("AA_ADMIN_SECRET", ADMIN_SECRET)
        .env("AA_PORT", "0")
        .env("AA_DB_PATH", directory.join("data.db"))
        .env("AA_SIGNING_KEY_PATH", directory.join("signing.key"))
        .envs(environment.iter().copied())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn follow(
    stream: impl AsyncRead + Unpin + Send + 'static,
    output: &Output,
    wrote: &Arc<Notify>,
    lines: mpsc::UnboundedSender<String>,
    mut reading: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let (output, wrote) = (Arc::clone(output), Arc::clone(wrote));
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream).lines();
        // An error means that the broker is dropped, and its output of no use.
        while reading.wait_for(|reading| *reading).await.is_ok() {
            let Ok(Some(line)) = reader.next_line().await else { return };
            output.lock().unwrap().extend([line.as_str(), "\n"]);
            wrote.notify_waiters();
            // The receiver goes once the address is known.
            lines.send(line).ok();
        }
    })
}

/// `… | listening | address=127.0.0.1:43210, …`, or the same as JSON.
fn listening_address(line: &str) -> Option<String> {
    if let Ok(event) = serde_json::from_str::<serde_json::Value>(line) {
        let address = event["fields"]["address"].as_str().filter(|_| event["message"] == "listening");
        return address.map(str::to_owned);
    }
    let (_, rest) = line.split_once("listening")?.1.split_once("address=")?;
    let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
    rest.get(..end).map(str::to_owned)
}

/// The broker under test, with `awrit` beside it, built at most once per test process.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("AGENTWRIT_BROKER_BIN") {
        Some(path) => PathBuf::from(path).canonicalize().expect("AGENTWRIT_BROKER_BIN names a file"),
        None => build(),
    })
}

/// Builds broker and tool in the profile, and into the target directory, of the running test.
fn build() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let mut cargo = BlockingCommand::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "agentwrit-broker", "-p", "awrit", "-p", "records-service", "--bins"]);
    cargo.arg("--target-dir");
    cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().expect("cargo runs");
    assert!(built.success(), "building the broker: {built}");
    profile.join("agentwrit-broker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        for line in [
            "[AA:BROKER:OK] 2026-11-21T08:00:00Z | BROKER | listening | address=127.0.0.1:4321, tls=none",
            "[AA:HTTP:OK] 2026-11-21T08:00:00Z | HTTP | listening | address=127.0.0.1:4321",
            r#"{"component":"broker","fields":{"address":"127.0.0.1:4321"},"level":"OK","message":"listening"}"#,
        ] {
            assert_eq!(listening_address(line).as_deref(), Some("127.0.0.1:4321"));
        }
        assert_eq!(listening_address("[AA:BROKER:OK] … | BROKER | starting | port=0"), None);
    }
}

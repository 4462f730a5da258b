//! PostgreSQL servers for tests and measurements.
//!
//! 1. A [`PostgresServer`] has its data, its socket and its log in a directory of its own, and listens on a free port of
//!    127.0.0.1 too. Its superuser `agentwrit` needs no password.
//! 2. It can be stopped as a power cut would, started again, copied to a streaming standby, and promoted.
//! 3. It ends with the process that started it, however that process ends: a shell waits for the end of a pipe.
//!
//! Debian's package `postgresql` is required. As root the server runs as the user `postgres`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test harness reports by panicking")]
#![expect(clippy::missing_panics_doc, reason = "every function panics when the server does not do what it is told")]

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

const SCRIPT: &str = include_str!("server.sh");

/// A PostgreSQL server.
#[derive(Debug)]
pub struct PostgresServer {
    directory: PathBuf,
    port: u16,
    settings: Vec<String>,
    shell: Mutex<Shell>,
}

/// How a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Connections are ended, transactions are rolled back, and what was written is checkpointed.
    Fast,
    /// Nothing is written any more: the next start recovers from the log of transactions.
    Immediate,
}

impl PostgresServer {
    /// Starts a server with its defaults.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with settings, each of the form `name=value`.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let mut all = vec!["max_connections=300".to_owned()];
        all.extend(settings.iter().map(|&setting| setting.to_owned()));
        let server = Self::prepare(&["initialise"], all);
        server.start_again();
        server
    }

    /// Starts a standby, which follows this server.
    #[must_use]
    pub fn standby(&self) -> Self {
        let socket = self.directory.to_str().unwrap();
        let standby = Self::prepare(&["copy", socket, &self.port.to_string()], self.settings.clone());
        standby.start_again();
        standby
    }

    fn prepare(arguments: &[&str], settings: Vec<String>) -> Self {
        let mut shell = Shell::run(arguments);
        let directory = shell.line();
        assert!(!directory.is_empty(), "no PostgreSQL server: install Debian's `postgresql`");
        Self { directory: directory.into(), port: free_port(), settings, shell: Mutex::new(shell) }
    }

    /// Starts the server after a stop, on the same port.
    pub fn start_again(&self) {
        let mut command = format!("start -p {} -c listen_addresses=127.0.0.1", self.port);
        for setting in &self.settings {
            write!(command, " -c {setting}").unwrap();
        }
        self.command(&command);
    }

    /// Stops the server.
    pub fn stop(&self, how: Stop) {
        self.command(match how {
            Stop::Fast => "stop fast",
            Stop::Immediate => "stop immediate",
        });
    }

    /// Stops all processes of the server where they are, by SIGSTOP: connections stay, and nothing responds.
    pub fn suspend(&self) {
        // The first one starts no other any more while the others are looked for.
        let first = self.first_process();
        signal(first, Signal::STOP);
        for process in children_of(first) {
            signal(process, Signal::STOP);
        }
    }

    /// Lets all processes go on after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        let first = self.first_process();
        children_of(first).into_iter().chain([first]).for_each(|process| signal(process, Signal::CONT));
    }

    fn first_process(&self) -> Pid {
        let file = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().trim().parse().unwrap()).unwrap()
    }

    /// Turns a standby into a server that accepts writes.
    pub fn promote(&self) {
        self.command("promote");
    }

    /// Creates a database.
    pub fn create_database(&self, name: &str) {
        self.query("postgres", &format!("CREATE DATABASE {name}"));
    }

    /// Returns the URL of a database, by TCP.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://agentwrit@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Returns the directory of the server's files and of its socket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the path of the server's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port))
    }

    /// Returns the server's TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Executes a statement. Returns its rows, columns separated by `|`.
    pub fn query(&self, database: &str, sql: &str) -> Vec<String> {
        self.try_query(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}\n{}", self.log()))
    }

    /// Executes a statement. Returns its rows.
    ///
    /// # Errors
    ///
    /// The message of `psql`: the server is down, or rejects the statement.
    pub fn try_query(&self, database: &str, sql: &str) -> Result<Vec<String>, String> {
        let mut psql = Command::new("psql");
        psql.arg("-h").arg(&self.directory).args(["-p", &self.port.to_string(), "-U", "agentwrit", "-d", database]);
        let output = psql.args(["-XAtqc", sql]).stdin(Stdio::null()).output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Returns the server's log.
    #[must_use]
    pub fn log(&self) -> String {
        ["log", "control"]
            .map(|file| std::fs::read(self.directory.join(file)).unwrap_or_default())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .concat()
    }

    fn command(&self, command: &str) {
        let mut shell = self.shell();
        writeln!(shell.input.as_ref().unwrap(), "{command}").unwrap();
        let result = shell.line();
        assert_eq!(result, "done", "{command}:\n{}", self.log());
    }

    fn shell(&self) -> MutexGuard<'_, Shell> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // A server that is suspended could not end.
        if std::thread::panicking() && self.directory.join("data/postmaster.pid").exists() {
            self.resume();
        }
        self.shell.get_mut().unwrap_or_else(PoisonError::into_inner).end();
    }
}

fn signal(process: Pid, signal: Signal) {
    match kill_process(process, signal) {
        // A connection may have ended.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => panic!("{signal:?} to {process:?}: {error}"),
    }
}

/// Returns the processes that a process has started.
fn children_of(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |number: &i32| {
        let state = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // The name of the program, in parentheses, may hold spaces.
        state.rsplit_once(')').and_then(|(_, state)| state.split_whitespace().nth(1)) == Some(&parent)
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// The shell that owns the server.
#[derive(Debug)]
struct Shell {
    process: Child,
    /// None after the end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn run(arguments: &[&str]) -> Self {
        // PostgreSQL does not run as root.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.args(["-c", SCRIPT, "server.sh"]).args(arguments);
        let mut process = command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input: Some(input), output: BufReader::new(output) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Ends the input, and waits until the server is gone.
    fn end(&mut self) {
        drop(self.input.take());
        self.process.wait().unwrap();
    }
}

/// Returns a port below those that the system gives to outgoing connections: such a connection could take it before the next
/// start.
fn free_port() -> u16 {
    let begin = std::process::id().wrapping_mul(89);
    (0..5_000)
        .map(|_| 15_000 + begin.wrapping_add(NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % 5_000)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap()
}

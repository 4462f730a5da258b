//! A PostgreSQL server of the test process: started by the first test that needs it, on a unix socket in a directory of its
//! own, and stopped when the process ends. Each test has a schema of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::*;
use crate::store::postgres::execute_batch;

/// Starts a server and prints its directory. Ends with its input, which is this process's end of a pipe.
const SCRIPT: &str = r#"
    set -e
    PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)"
    directory=$(mktemp -d)
    trap 'kill -QUIT $server 2>/dev/null; wait; rm -rf "$directory"' EXIT
    initdb -D "$directory/data" --no-sync -A trust -U agentwrit -E UTF8 --locale=C > "$directory/log" 2>&1
    postgres -D "$directory/data" -k "$directory" -c listen_addresses= -c max_connections=200 >> "$directory/log" 2>&1 &
    server=$!
    until psql -h "$directory" -U agentwrit -d postgres -c 'SELECT 1' > /dev/null 2>&1; do
        kill -0 $server
        sleep 0.1
    done
    echo "$directory"
    read -r end || true
"#;

struct Server {
    directory: String,
    /// Its end stops the server.
    _input: ChildStdin,
}

#[expect(clippy::zombie_processes, reason = "the server ends after this process does")]
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    // PostgreSQL does not run as root.
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh", "-c", SCRIPT]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]);
        command
    };
    let mut child = command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut directory = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut directory).unwrap();
    assert!(!directory.is_empty(), "no PostgreSQL server: install Debian's `postgresql`");
    Server { directory: directory.trim().to_owned(), _input: child.stdin.take().unwrap() }
});

static SCHEMAS: AtomicU64 = AtomicU64::new(0);

/// A schema of the server.
pub(in crate::store) struct Schema {
    number: u64,
}

impl Schema {
    fn url(&self) -> String {
        self.url_through(Path::new(&SERVER.directory))
    }

    /// Returns the URL by a socket in another directory.
    pub(in crate::store) fn url_through(&self, directory: &Path) -> String {
        let (number, host) = (self.number, directory.to_str().unwrap().replace('/', "%2F"));
        format!("postgres://agentwrit@{host}/postgres?sslmode=disable&options=-csearch_path%3Dtest_{number}")
    }

    /// Returns the path of the server's socket.
    pub(in crate::store) fn socket() -> PathBuf {
        Path::new(&SERVER.directory).join(".s.PGSQL.5432")
    }
}

impl Home for Schema {
    fn create() -> Self {
        let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
        let create = format!("CREATE SCHEMA test_{number}");
        let schema = Self { number };
        let url = schema.url();
        thread::spawn(move || execute_batch(&url, &create).unwrap()).join().unwrap();
        schema
    }

    fn open(&self, options: StoreOptions) -> Store {
        let url = self.url();
        thread::spawn(move || Store::connect(&url, options).unwrap()).join().unwrap()
    }
}

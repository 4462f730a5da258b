//! Unix socket beside the database for health checks on the same machine.
//!
//! 1. It needs no place among the connections of clients, no TLS and no client certificate. A check succeeds under mTLS and
//!    while clients hold every connection.
//! 2. The socket is `<database>.health`, mode 0600: for the broker's own user. Brokers on one machine have databases of
//!    their own, hence sockets of their own.
//! 3. It is made after the database was locked, so an existing socket is left over from a crash. It is removed before the
//!    lock is released. So is the private directory that it is made in.
//! 4. It serves `GET /v1/health` only. A broker that is busy gets a few seconds before it is unhealthy.
//!
//! On a file system without sockets the broker serves all the same and logs a warning: checks then use the network.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, DirEntry, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, response::Response, routing::get};
use data_encoding::HEXLOWER;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::{
    http::health,
    keys::{Entropy, random},
    service::Services,
    store::directory_of,
};

/// Longest path of a Unix socket on every system, in bytes.
const MAX_SOCKET_PATH: usize = 100;
/// Longest name of a database file that is part of the socket's name, in bytes.
const MAX_DATABASE_NAME: usize = 64;
/// Random bytes in the name of the private directory.
const SUFFIX: usize = 8;
/// Number of checks that are served at once. Others wait.
const MAX_CHECKS: usize = 8;
/// Time limit for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a busy broker gets before it is unhealthy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// The socket's file, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct HealthSocket {
    path: PathBuf,
}

impl HealthSocket {
    /// Listens beside the database, which must be locked. The listener is for [`serve`].
    ///
    /// The socket gets its mode in a private directory and is then moved to its place: at no moment can another user connect
    /// to it, or place a link for the mode to be set through.
    pub(crate) fn bind(database: &Path, entropy: &dyn Entropy) -> io::Result<(Self, UnixListener)> {
        let path = path_beside(database);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => {}
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file there is not a socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        PrivateDirectory::remove_left_beside(&path);
        let directory = PrivateDirectory::create_beside(&path, entropy)?;
        let private = directory.0.join("socket");
        let (shorter, _directory) = shortened(&private)?;
        let listener = UnixListener::bind(shorter)?;
        let placed =
            fs::set_permissions(&private, Permissions::from_mode(0o600)).and_then(|()| fs::rename(&private, &path));
        if let Err(error) = placed {
            // The first error is the one to report.
            fs::remove_file(&private).unwrap_or_default();
            return Err(error);
        }
        Ok((Self { path }, listener))
    }

    /// Connects to the broker of this database.
    pub(crate) async fn connect(database: &Path) -> io::Result<UnixStream> {
        let (path, _directory) = shortened(&path_beside(database))?;
        UnixStream::connect(path).await
    }
}

/// A directory for the broker's own user, removed when this is dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn create_beside(path: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        let suffix = HEXLOWER.encode(&random::<SUFFIX>(entropy));
        let directory = path.with_file_name(Self::prefix(path) + &suffix);
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }

    fn prefix(path: &Path) -> String {
        format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Removes the directories that crashes left. The database is locked, so no broker is using one.
    fn remove_left_beside(path: &Path) {
        let prefix = Self::prefix(path);
        let is_left = |entry: &DirEntry| {
            let name = entry.file_name();
            let suffix = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            suffix.is_some_and(|suffix| HEXLOWER.decode(suffix.as_bytes()).is_ok_and(|suffix| suffix.len() == SUFFIX))
                // Of the link itself, if it is one.
                && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
        };
        let Ok(entries) = fs::read_dir(directory_of(path)) else { return };
        for entry in entries.flatten().filter(is_left) {
            let socket = entry.path().join("socket");
            if fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
                // If this fails, so does the removal of the directory.
                fs::remove_file(&socket).unwrap_or_default();
            }
            drop(Self(entry.path()));
        }
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::debug!(component = "health", %error, "a private directory of the health socket was not removed");
        }
    }
}

impl Drop for HealthSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(component = "health", %error, "the health socket was not removed");
        }
    }
}

/// Serves checks until it is aborted.
pub(crate) async fn serve(listener: UnixListener, services: Arc<Services>) {
    let router = Router::new().route("/v1/health", get(health_within_timeout)).with_state(services);
    let places = Arc::new(Semaphore::new(MAX_CHECKS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(target: "agentwrit_broker::health_socket", component = "health", %error, "a health check was not accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _place = place;
            let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
            match timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(component = "health", %error, "a health check ended with an error"),
                Err(_) => tracing::debug!(component = "health", "a health check took too long"),
            }
        });
    }
}

async fn health_within_timeout(State(services): State<Arc<Services>>) -> Response {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let response = health(State(Arc::clone(&services))).await;
        if response.status() == StatusCode::OK || Instant::now() >= deadline {
            return response;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn path_beside(database: &Path) -> PathBuf {
    let name = database.file_name().unwrap_or_default();
    let name = if name.len() <= MAX_DATABASE_NAME { name.to_owned() } else { digest(name) };
    database.with_file_name([name, ".health".into()].into_iter().collect::<OsString>())
}

fn digest(name: &OsStr) -> OsString {
    HEXLOWER.encode(&Sha256::digest(name.as_bytes())).into()
}

/// Returns the path or, if it is too long for a socket, a short one to the same file by a handle of its directory, which
/// must stay open meanwhile.
fn shortened(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok((path.to_owned(), None));
    }
    let directory = File::open(directory_of(path))?;
    let shortened = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    Ok((shortened.join(path.file_name().unwrap_or_default()), Some(directory)))
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

    use super::*;
    use crate::keys::SeededEntropy;

    fn bind(database: &Path) -> io::Result<(HealthSocket, UnixListener)> {
        HealthSocket::bind(database, &SeededEntropy::new(1))
    }

    #[tokio::test]
    async fn socket_appears_under_its_name_with_its_mode_already_set() {
        let directory = tempfile::tempdir().unwrap();
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, directory.path(), WatchFlags::ALL_EVENTS).unwrap();
        let (_socket, _listener) = bind(&directory.path().join("data.db")).unwrap();

        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut of_socket = Vec::new();
        while let Ok(event) = events.next() {
            if event.file_name().is_some_and(|name| name.to_bytes() == b"data.db.health") {
                of_socket.push(event.events());
            }
        }
        assert_eq!(of_socket, [ReadFlags::MOVED_TO], "neither created there nor changed afterwards");
    }

    #[tokio::test]
    async fn socket_has_mode_0600_and_is_removed_with_its_broker() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("data.db");
        let path = directory.path().join("data.db.health");
        let (socket, _listener) = bind(&database).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        HealthSocket::connect(&database).await.unwrap();
        drop(socket);
        assert!(!path.exists());
        assert_eq!(HealthSocket::connect(&database).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn replaces_socket_left_by_crash_and_keeps_any_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("data.db");
        let (left, listener) = bind(&database).unwrap();
        drop(listener);
        std::mem::forget(left);
        assert_eq!(HealthSocket::connect(&database).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let (socket, _listener) = bind(&database).unwrap();
        HealthSocket::connect(&database).await.unwrap();
        drop(socket);

        fs::write(directory.path().join("data.db.health"), "a file").unwrap();
        assert_eq!(bind(&database).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(directory.path().join("data.db.health")).unwrap(), b"a file");
    }

    #[tokio::test]
    async fn removes_own_directories_left_by_crash_and_keeps_all_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let make = |name: &str| DirBuilder::new().mode(0o700).create(at(name)).unwrap();
        // One with a socket in it, one without.
        make(".data.db.health.0123456789abcdef");
        make(".data.db.health.fedcba9876543210");
        drop(std::os::unix::net::UnixListener::bind(at(".data.db.health.0123456789abcdef/socket")).unwrap());
        let others = [
            ".data.db.health.0123456789abcde",
            ".data.db.health.0123456789ABCDEF",
            ".other.db.health.0123456789abcdef",
            ".data.db.health.00000000000000aa",
        ];
        for other in others {
            make(other);
        }
        fs::write(at(".data.db.health.00000000000000aa/file"), "not of a broker").unwrap();
        std::os::unix::fs::symlink(at(others[0]), at(".data.db.health.00000000000000bb")).unwrap();

        let (_socket, _listener) = bind(&at("data.db")).unwrap();
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut expected = [&others[..], &[".data.db.health.00000000000000bb", "data.db.health"]].concat();
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(at(".data.db.health.00000000000000aa/file").exists());
    }

    #[tokio::test]
    async fn binds_and_connects_when_path_is_longer_than_a_socket_path() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        for name in ["data.db", &"n".repeat(200)] {
            let database = deep.join(name);
            let (_socket, _listener) = bind(&database).unwrap();
            HealthSocket::connect(&database).await.unwrap();
        }
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0, "each is removed with its broker");
    }
}

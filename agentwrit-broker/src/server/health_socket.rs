//! The broker's own way in for health checks on its machine: a Unix socket beside the database.
//!
//! 1. It takes no place among the connections of clients, no TLS and no client certificate. So a check succeeds under mTLS
//!    and while clients hold every connection there may be.
//! 2. The socket is `<database>.health`, mode 0600: for the broker's own user. Brokers on one machine have databases of
//!    their own, hence sockets of their own.
//! 3. It is made after the database was locked, so a socket that is there already is left over from a crash. It is
//!    removed before the lock is given back.
//! 4. It answers `GET /v1/health` and nothing else. A broker that is busy gets a few seconds before it counts as unhealthy.
//!
//! Where a file system has no sockets the broker serves all the same, and says so in its log: the check then comes by the
//! network, as any client.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
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
};

/// The longest path of a Unix socket, in bytes, on every system that has them.
const LONGEST_PATH: usize = 100;
/// The longest name of a database file that the socket's name repeats, in bytes.
const LONGEST_NAME: usize = 64;
/// How many checks are answered at once. Others wait.
const CHECKS: usize = 8;
/// How long a connection may last.
const CHECK_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long a broker that is busy may take.
const BUSY: Duration = Duration::from_secs(3);

/// The socket's file, which goes with this value.
#[derive(Debug)]
pub(crate) struct HealthSocket {
    path: PathBuf,
}

impl HealthSocket {
    /// Listens beside the database, which must be locked. The listener is for [`serve`].
    ///
    /// The socket gets its mode in a private directory and is then moved to its place: there is no moment at which another
    /// user could connect to it, or put a link where the mode is set.
    pub(crate) fn bind(database: &Path, entropy: &dyn Entropy) -> io::Result<(Self, UnixListener)> {
        let path = path_beside(database);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => {}
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file there is not a socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let directory = PrivateDirectory::create_beside(&path, entropy)?;
        let private = directory.0.join("socket");
        let (shorter, _directory) = short(&private)?;
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

    /// Connects to the broker that has this database.
    pub(crate) async fn connect(database: &Path) -> io::Result<UnixStream> {
        let (path, _directory) = short(&path_beside(database))?;
        UnixStream::connect(path).await
    }
}

/// A directory for the broker's own user, removed when this is dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn create_beside(path: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        let suffix = HEXLOWER.encode(&random::<8>(entropy));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let directory = path.with_file_name(format!(".{name}.{suffix}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::debug!(component = "health", %error, "the directory of the new health socket was not removed");
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

/// Answers checks until it is aborted.
pub(crate) async fn serve(listener: UnixListener, services: Arc<Services>) {
    let router = Router::new().route("/v1/health", get(patient_health)).with_state(services);
    let places = Arc::new(Semaphore::new(CHECKS));
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
            match timeout(CHECK_TIME_LIMIT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(component = "health", %error, "a health check broke"),
                Err(_) => tracing::debug!(component = "health", "a health check took too long"),
            }
        });
    }
}

async fn patient_health(State(services): State<Arc<Services>>) -> Response {
    let deadline = Instant::now() + BUSY;
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
    let name = if name.len() <= LONGEST_NAME { name.to_owned() } else { digest(name) };
    database.with_file_name([name, ".health".into()].into_iter().collect::<OsString>())
}

fn digest(name: &OsStr) -> OsString {
    HEXLOWER.encode(&Sha256::digest(name.as_bytes())).into()
}

/// The path, or where it is too long for a socket, a short one to the same file: by a handle of its directory, which must
/// stay open meanwhile.
fn short(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= LONGEST_PATH {
        return Ok((path.to_owned(), None));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(parent)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    Ok((short.join(path.file_name().unwrap_or_default()), Some(directory)))
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
    async fn socket_is_closed_to_others_and_goes_with_its_broker() {
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
    async fn socket_that_a_crash_left_is_replaced_and_any_other_file_kept() {
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
    async fn path_longer_than_a_socket_s_may_be_works() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        for name in ["data.db", &"n".repeat(200)] {
            let database = deep.join(name);
            let (_socket, _listener) = bind(&database).unwrap();
            HealthSocket::connect(&database).await.unwrap();
        }
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0, "each is gone with its broker");
    }
}

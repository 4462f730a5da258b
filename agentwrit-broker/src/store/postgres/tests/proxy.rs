//! A proxy in front of the server that breaks the connection at a chosen request.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;

use crate::store::tests::postgres_server::Schema;

/// Request at which the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The request with `COMMIT`.
    Commit,
    /// The request after this number of others.
    Request(usize),
}

/// Way in which a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// The request does not arrive.
    Request,
    /// The server executes the request, and its response is lost.
    Response,
    /// The server terminates the connection's process before the request arrives.
    Process,
}

#[derive(Default)]
struct State {
    armed: Option<(At, Break)>,
    /// Connections are closed at once.
    refusing: bool,
    /// Connections are closed at once after one broke.
    refusing_after: bool,
    /// Number of connections that were closed at once.
    refused: usize,
}

pub(super) struct Proxy {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    _directory: TempDir,
}

impl Proxy {
    pub(super) fn start(schema: &Schema) -> Self {
        let directory = TempDir::new().unwrap();
        let server = Schema::socket();
        let listener = UnixListener::bind(directory.path().join(server.file_name().unwrap())).unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap();
                if state.refusing {
                    state.refused += 1;
                    continue;
                }
                drop(state);
                let server = UnixStream::connect(&server).unwrap();
                let connection = Connection { client, server, state: Arc::clone(&shared) };
                thread::spawn(move || connection.forward());
            }
        });
        let url = schema.url_through(directory.path());
        Self { url, state, _directory: directory }
    }

    pub(super) fn break_at(&self, at: At, how: Break) {
        self.state.lock().unwrap().armed = Some((at, how));
    }

    /// Breaks the connection, and refuses others until [`accept`](Self::accept).
    pub(super) fn break_for_good_at(&self, at: At, how: Break) {
        *self.state.lock().unwrap() = State { armed: Some((at, how)), refusing_after: true, ..State::default() };
    }

    pub(super) fn accept(&self) {
        let mut state = self.state.lock().unwrap();
        (state.refusing, state.refusing_after) = (false, false);
    }

    /// Returns whether a connection broke since it was arranged.
    pub(super) fn is_broken(&self) -> bool {
        self.state.lock().unwrap().armed.is_none()
    }

    /// Number of connections that were refused.
    pub(super) fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    pub(super) fn disarm(&self) {
        self.state.lock().unwrap().armed = None;
    }
}

struct Connection {
    client: UnixStream,
    server: UnixStream,
    state: Arc<Mutex<State>>,
}

impl Connection {
    fn forward(mut self) {
        let (mut responses, mut to_client) = (self.server.try_clone().unwrap(), self.client.try_clone().unwrap());
        let process = Arc::<Mutex<Option<u32>>>::default();
        let noted = Arc::clone(&process);
        let back = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = responses.read(&mut buffer) {
                noted.lock().unwrap().get_or_insert_with(|| process_id(&buffer[..length]).unwrap_or_default());
                // Read to the end: the server stops in the middle of a request whose response it can't send.
                to_client.write_all(&buffer[..length]).unwrap_or_default();
            }
            to_client.shutdown(Shutdown::Both).unwrap_or_default();
        });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = self.client.read(&mut buffer) {
            let request = &buffer[..length];
            let broken = self.broken_by(request);
            match broken {
                Some(Break::Process) => Self::terminate(process.lock().unwrap().unwrap()),
                // From here on no response reaches the client.
                Some(Break::Request | Break::Response) => self.client.shutdown(Shutdown::Both).unwrap(),
                None => {}
            }
            if broken != Some(Break::Request) {
                self.server.write_all(request).unwrap_or_default();
            }
            if broken.is_some() {
                break;
            }
        }
        // The server executes what it has received before it notices the end.
        self.server.shutdown(Shutdown::Write).unwrap_or_default();
        back.join().unwrap();
    }

    /// Returns the way in which the connection breaks at this request.
    fn broken_by(&self, request: &[u8]) -> Option<Break> {
        let mut state = self.state.lock().unwrap();
        let (at, how) = state.armed?;
        let now = match at {
            At::Commit => request.windows(7).any(|bytes| bytes == b"COMMIT\0"),
            At::Request(others) => {
                state.armed = Some((At::Request(others.saturating_sub(1)), how));
                others == 0
            }
        };
        if now {
            state.armed = None;
            state.refusing = state.refusing_after;
        }
        now.then_some(how)
    }

    fn terminate(process: u32) {
        Schema::query(&format!("SELECT pg_terminate_backend({process}, 5000)"));
    }
}

/// Finds the number of the server's process in its first response (message `BackendKeyData`).
fn process_id(response: &[u8]) -> Option<u32> {
    let start = response.windows(5).position(|bytes| bytes == b"K\0\0\0\x0c")?;
    Some(u32::from_be_bytes(response[start + 5..start + 9].try_into().unwrap()))
}

//! A proxy in front of the server that cuts the connection at a commit.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;

use crate::store::tests::postgres_server::Schema;

/// Where to cut the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server executes the commit, and its answer is lost.
    AfterCommit,
    /// The commit does not arrive.
    BeforeCommit,
}

pub(super) struct Proxy {
    pub(super) url: String,
    cut: Arc<Mutex<Option<Cut>>>,
    _directory: TempDir,
}

impl Proxy {
    pub(super) fn start(schema: &Schema) -> Self {
        let directory = TempDir::new().unwrap();
        let server = Schema::socket();
        let listener = UnixListener::bind(directory.path().join(server.file_name().unwrap())).unwrap();
        let cut = Arc::new(Mutex::new(None));
        let armed = Arc::clone(&cut);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, armed) = (UnixStream::connect(&server).unwrap(), Arc::clone(&armed));
                thread::spawn(move || forward(client, server, &armed));
            }
        });
        let url = schema.url_through(directory.path());
        Self { url, cut, _directory: directory }
    }

    pub(super) fn cut(&self, cut: Cut) {
        *self.cut.lock().unwrap() = Some(cut);
    }

    pub(super) fn was_cut(&self) -> bool {
        self.cut.lock().unwrap().is_none()
    }
}

fn forward(mut client: UnixStream, mut server: UnixStream, armed: &Mutex<Option<Cut>>) {
    let (mut answers, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = thread::spawn(move || {
        std::io::copy(&mut answers, &mut to_client).unwrap_or_default();
        to_client.shutdown(Shutdown::Both).unwrap_or_default();
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let request = &buffer[..length];
        let commits = request.windows(7).any(|bytes| bytes == b"COMMIT\0");
        let cut = if commits { armed.lock().unwrap().take() } else { None };
        if cut.is_some() {
            // From here on no answer reaches the client.
            client.shutdown(Shutdown::Both).unwrap();
        }
        if cut != Some(Cut::BeforeCommit) {
            server.write_all(request).unwrap_or_default();
        }
        if cut.is_some() {
            break;
        }
    }
    // The server executes what it has received before it notices the end.
    server.shutdown(Shutdown::Write).unwrap_or_default();
    back.join().unwrap();
}

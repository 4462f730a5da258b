//! The network between one broker and its database: a proxy that a test can hold, cut, or have change a statement.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::AbortHandle,
};

/// State of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Held,
    Cut,
}

/// Text in what clients send, and the text of the same length that the server receives.
type Change = (&'static [u8], &'static [u8]);

/// A TCP port that leads to the socket of a server. It goes with its drop.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    target: Arc<Mutex<PathBuf>>,
    state: watch::Sender<State>,
    change: Arc<Mutex<Option<Change>>>,
    listening: AbortHandle,
}

impl Link {
    /// Opens a link to the unix socket at `target`.
    pub async fn to(target: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let state = watch::Sender::new(State::Open);
        let change = Arc::default();
        let accepting = accept(listener, Arc::clone(&target), state.subscribe(), Arc::clone(&change));
        let listening = tokio::spawn(accepting).abort_handle();
        Self { address, target, state, change, listening }
    }

    /// Returns the TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Directs new connections to another server.
    pub fn lead_to(&self, target: PathBuf) {
        *self.target.lock().unwrap() = target;
    }

    /// Passes nothing on, in either direction, and keeps connections open: lost packets.
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Ends every connection and accepts none: a network that is down and says so.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets the server receive `LISTEN` of another channel: notifications of other brokers do not arrive.
    pub fn mute_notifications(&self) {
        *self.change.lock().unwrap() = Some((b"LISTEN agentwrit", b"LISTEN muted____"));
    }

    /// Passes everything on again, also what was held.
    pub fn restore(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<Mutex<PathBuf>>,
    state: watch::Receiver<State>,
    change: Arc<Mutex<Option<Change>>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (target, state, change) = (Arc::clone(&target), state.clone(), *change.lock().unwrap());
        tokio::spawn(async move {
            let mut ended = state.clone();
            tokio::select! {
                _ = ended.wait_for(|state| *state == State::Cut) => {}
                () = forward(client, &target, state, change) => {}
            }
        });
    }
}

/// Connects both sides until one of them ends, or the link is dropped.
async fn forward(
    client: TcpStream,
    target: &Mutex<PathBuf>,
    mut state: watch::Receiver<State>,
    change: Option<Change>,
) {
    if state.wait_for(|state| *state == State::Open).await.is_err() {
        return;
    }
    let target = target.lock().unwrap().clone();
    let Ok(server) = UnixStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap_or_default();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = pass(from_client, to_server, state.clone(), change) => {}
        _ = pass(from_server, to_client, state, None) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    change: Option<Change>,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer).await?;
        // An error means that the link is dropped: nothing passes any more.
        if length == 0 || state.wait_for(|state| *state == State::Open).await.is_err() {
            return Ok(());
        }
        if let Some((from, to)) = change {
            replace(&mut buffer[..length], from, to);
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// Replaces the first occurrence of a text. One that is split over two packets stays.
fn replace(sent: &mut [u8], from: &[u8], to: &[u8]) {
    if let Some(start) = sent.windows(from.len()).position(|window| window == from) {
        sent[start..start + from.len()].copy_from_slice(to);
    }
}

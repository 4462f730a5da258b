//! A socket between a broker and the database.

use std::time::Duration;

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    time::sleep,
};

use crate::store::tests::postgres_server::Schema;

/// State of a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Up,
    /// Each packet takes so long.
    Slow(Duration),
    /// Connections stay, and carry nothing.
    Silent,
    /// Connections are closed.
    Down,
}

/// A socket through which a broker reaches the database.
pub(super) struct Link {
    pub(super) directory: TempDir,
    pub(super) state: watch::Sender<LinkState>,
}

impl Link {
    pub(super) fn new(state: LinkState) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join(Schema::socket().file_name().unwrap())).unwrap();
        let (state, watched) = watch::channel(state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, watched.clone()));
            }
        });
        Self { directory, state }
    }
}

async fn connect(mut client: UnixStream, state: watch::Receiver<LinkState>) {
    let mut server = UnixStream::connect(Schema::socket()).await.unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let mut down = state.clone();
    // An error means that the test is over.
    tokio::select! {
        () = forward(from_client, to_server, state.clone()) => {}
        () = forward(from_server, to_client, state) => {}
        _ = down.wait_for(|state| *state == LinkState::Down) => {}
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<LinkState>,
) {
    let mut packet = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut packet).await {
        let now = *state.borrow_and_update();
        match now {
            LinkState::Up => {}
            LinkState::Slow(delay) => sleep(delay).await,
            // Never sent again.
            LinkState::Silent | LinkState::Down => std::future::pending().await,
        }
        if to.write_all(&packet[..length]).await.is_err() {
            return;
        }
    }
}

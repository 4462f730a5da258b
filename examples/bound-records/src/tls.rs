//! TLS that ends at this service, with clients that may prove a key.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use agentwrit_tower::{ClientKey, ClientKeyVerifier};
use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        Error, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
    server::TlsStream,
};

/// Timeout for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Maximum number of handshakes at a time. Beyond it the oldest ends: idle connections take no place from other clients.
const HANDSHAKES: usize = 256;

/// How clients prove their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "TLS has these two")]
pub enum ClientKeys {
    /// By an X.509 certificate, such as a self-signed one.
    Certificates,
    /// By a raw public key (RFC 7250).
    RawPublicKeys,
}

/// Returns the settings of a server with this certificate, whose clients may prove a key.
///
/// # Errors
///
/// [`Error`] for a private key that is not the certificate's.
pub fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: ClientKeys,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match clients {
        ClientKeys::Certificates => ClientKeyVerifier::certificates(&provider),
        ClientKeys::RawPublicKeys => ClientKeyVerifier::raw_public_keys(&provider),
    };
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
}

/// A connection, for `into_make_service_with_connect_info`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// Address of the client.
    pub peer: SocketAddr,
    /// Key that the client proved.
    pub client_key: Option<ClientKey>,
}

impl Connected<IncomingStream<'_, TlsListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, connection) = stream.io().get_ref();
        // The handshake failed for a key that a token cannot be bound to.
        let client_key = ClientKey::of_connection(connection).ok().flatten();
        Self { peer: *stream.remote_addr(), client_key }
    }
}

/// Listener whose connections have completed their handshake.
#[derive(Debug)]
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Accepts connections of this listener in a background task: clients that are slow in their handshakes delay no others.
    ///
    /// # Errors
    ///
    /// [`io::Error`] when the listener has no address.
    pub fn new(listener: TcpListener, config: ServerConfig) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (accepted, ready) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), accepted));
        Ok(Self { address, ready, accepting })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The runtime is shutting down.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let mut handshakes = VecDeque::<AbortHandle>::with_capacity(HANDSHAKES);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Such as too many open files: others close theirs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        handshakes.retain(|handshake| !handshake.is_finished());
        if handshakes.len() >= HANDSHAKES
            && let Some(oldest) = handshakes.pop_front()
        {
            oldest.abort();
        }
        let handshake = tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Fails when the listener was dropped.
                drop(accepted.send((stream, peer)).await);
            }
        });
        handshakes.push_back(handshake.abort_handle());
    }
}

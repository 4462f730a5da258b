//! Connections: accept, bound, time out, and let go gracefully.
//!
//! Every connection is accepted at once. One for which there is no place is closed without a word, as any response would
//! cost what the limit saves.

mod client_address;
mod connections;
mod health_check;
mod health_socket;
mod timeouts;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use self::timeouts::{Phase, Timed};
pub(crate) use self::{
    client_address::client_address,
    connections::Connections,
    health_socket::{HealthSocket, serve as serve_health_checks},
    tls::{FailedHandshakes, Reload, Tls},
};
pub use self::{
    health_check::{ClientCertificate, Unhealthy, check_health},
    tls::TlsError,
};
use crate::{
    http::PeerAddress,
    limits::{
        capacity::{RECEIVE_BUFFER, SEND_BUFFER},
        fair_share::Place,
    },
};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long requests in flight may go on after the stop.
const GRACE: Duration = Duration::from_secs(10);
/// The longest request head, in bytes; also what is buffered of a response before the client has to take some of it.
const BUFFER: usize = 16 * 1024;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<(Tls, FailedHandshakes)>,
    pub(crate) router: Router,
    pub(crate) connections: Connections,
}

impl Server {
    /// Serves until `stopping` turns true, then finishes what is in flight.
    pub(crate) async fn run(self, mut stopping: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener) => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            let Some((stream, peer)) = accepted else { continue };
            let Some(place) = self.connections.admit(peer.ip()) else { continue };
            tokio::spawn(serve(stream, peer, place, self.tls.clone(), self.router.clone(), graceful.watcher()));
        }
        drop(self.listener);
        if timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!(component = "server", "requests were still running at the end of the grace time");
        }
    }
}

/// The place of the connection that a request came by, in the extensions of requests that may change something.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionPlace(Arc<Place>);

impl ConnectionPlace {
    /// Protects the connection from being displaced until the response is made. Returns whether it is still there: for a
    /// client that can't learn the outcome, nothing should be done.
    pub(crate) fn protect(&self) -> bool {
        self.0.protect(true)
    }
}

/// Listens with the socket buffers that the memory for connections is reckoned with; connections inherit them.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            // Out of file descriptors, mostly: a pause lets some be freed.
            tracing::warn!(component = "server", %error, "a connection was not accepted");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    tls: Option<(Tls, FailedHandshakes)>,
    router: Router,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(component = "server", %error, "no delay was not set");
    }
    let place = Arc::new(place);
    let conversation = async {
        match tls {
            None => converse(stream, peer, &place, router, watcher).await,
            Some((tls, failed)) => match timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, peer, &place, router, watcher).await,
                Ok(Err(error)) => failed.failed(peer, &error),
                Err(_) => failed.timed_out(peer),
            },
        }
    };
    tokio::select! {
        // A displaced connection begins no other request.
        biased;
        () = place.displaced() => tracing::debug!(component = "server", %peer, "displaced by another address"),
        () = conversation => {}
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    place: &Arc<Place>,
    router: Router,
    watcher: Watcher,
) {
    let phase = Phase::default();
    let stream = Timed::new(stream, phase.clone());
    let place = Arc::clone(place);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        phase.answering();
        if !request.method().is_safe() {
            // The client must learn the outcome of what may change something. It is carried out once the body is there,
            // and not protected before: a client that sends its body slowly would keep other addresses out.
            request.extensions_mut().insert(ConnectionPlace(Arc::clone(&place)));
            if request.body().is_end_stream() {
                place.protect(true);
            }
        }
        let (response, phase, place) = (router.clone().oneshot(request), phase.clone(), Arc::clone(&place));
        async move {
            let response = response.await;
            place.protect(false);
            phase.resting();
            response
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(component = "server", %peer, %error, "a connection broke");
    }
}

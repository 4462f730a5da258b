//! Connections: accepted, bounded, timed, and closed gracefully.
//!
//! 1. Every connection is accepted at once. One for which there is no place is closed without a response, which would cost
//!    what the limit saves.
//! 2. After the stop no request is accepted. Idle connections and TLS handshakes end at once, requests that are still being
//!    received after [`RECEIVE_GRACE`], all others after [`GRACE`].

mod connections;
mod health_check;
mod health_socket;
mod request_body;
mod timeouts;
mod tls;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

pub(crate) use self::{
    connections::Connections,
    health_socket::{HealthSocket, serve as serve_health_checks},
    tls::{FailedHandshakes, Reload, Tls},
};
pub use self::{
    health_check::{ClientCertificate, Unhealthy, check_health},
    tls::TlsError,
};
use self::{
    request_body::RequestBody,
    timeouts::{Phase, TimedStream},
};
use crate::{
    http::{ConnectionPlace, PeerAddress},
    limits::{
        capacity::{RECEIVE_BUFFER, SEND_BUFFER},
        fair_share::Place,
    },
};

/// Timeout for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for requests in flight after the stop. It leaves time to write and close the store within the 10 seconds that
/// service managers wait.
const GRACE: Duration = Duration::from_secs(6);
/// Time limit for the rest of a request's head or body after the stop.
const RECEIVE_GRACE: Duration = Duration::from_secs(2);
/// The longest request head, in bytes; also what is buffered of a response before the client has to take some of it.
const BUFFER: usize = 16 * 1024;
/// Number of connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<(Tls, FailedHandshakes)>,
    pub(crate) router: Router,
    pub(crate) connections: Connections,
}

impl Server {
    /// Serves until `stopping` turns true, then finishes the requests in flight.
    pub(crate) async fn run(self, stopping: watch::Receiver<bool>) {
        // Each connection holds a receiver for as long as it is open.
        let (connections, _) = watch::channel(());
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener) => accepted,
                () = stopped(stopping.clone()) => break,
            };
            let Some((stream, peer)) = accepted else { continue };
            let Some(place) = self.connections.admit(peer.ip()) else { continue };
            let open = connections.subscribe();
            let connection =
                Connection { peer, place: Arc::new(place), router: self.router.clone(), stopping: stopping.clone() };
            let tls = self.tls.clone();
            tokio::spawn(async move {
                connection.serve(stream, tls).await;
                drop(open);
            });
        }
        drop(self.listener);
        if timeout(GRACE, connections.closed()).await.is_err() {
            tracing::warn!(component = "server", "requests were still running at the end of the grace time");
        }
    }
}

/// Resolves when the server stops.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the broker was dropped, which stops the server as well.
    stopping.wait_for(|stopping| *stopping).await.map(drop).unwrap_or_default();
}

/// Listens with the socket buffers that the memory of a connection is calculated with; connections inherit them.
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
            // Usually no file descriptor is left: a pause lets some be closed.
            tracing::warn!(component = "server", %error, "a connection was not accepted");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// A connection that was accepted.
struct Connection {
    peer: SocketAddr,
    place: Arc<Place>,
    router: Router,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<(Tls, FailedHandshakes)>) {
        let peer = self.peer;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(component = "server", %error, "TCP_NODELAY was not set");
        }
        let place = Arc::clone(&self.place);
        let requests = async {
            match tls {
                None => self.serve_requests(stream).await,
                Some((tls, failed)) => {
                    if let Some(stream) = self.handshake(stream, &tls, &failed).await {
                        self.serve_requests(stream).await;
                    }
                }
            }
        };
        tokio::select! {
            // A displaced connection begins no other request.
            biased;
            () = place.displaced() => tracing::debug!(component = "server", %peer, "displaced by another address"),
            () = requests => {}
        }
    }

    /// Returns the encrypted stream, unless the handshake fails or the server stops.
    async fn handshake(&self, stream: TcpStream, tls: &Tls, failed: &FailedHandshakes) -> Option<TlsStream<TcpStream>> {
        let accepted = tokio::select! {
            accepted = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => accepted,
            () = stopped(self.stopping.clone()) => return None,
        };
        match accepted {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => failed.failed(self.peer, &error),
            Err(_) => failed.timed_out(self.peer),
        }
        None
    }

    async fn serve_requests(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, place, router, stopping } = self;
        let phase = Phase::default();
        let stream = TokioIo::new(TimedStream::new(stream, phase.clone()));
        let service = service_fn({
            let (phase, stopping) = (phase.clone(), stopping.clone());
            move |request: hyper::Request<Incoming>| {
                phase.answering();
                let request = prepare(request, peer, &place, &phase, &stopping);
                let (response, phase, place) = (router.clone().oneshot(request), phase.clone(), Arc::clone(&place));
                async move {
                    let response = response.await;
                    place.protect(false);
                    phase.resting();
                    response
                }
            }
        });
        let connection =
            http1::Builder::new().header_read_timeout(None).max_buf_size(BUFFER).serve_connection(stream, service);
        let mut connection = pin!(connection);
        let mut ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stopped(stopping) => None,
        };
        if ended.is_none() {
            connection.as_mut().graceful_shutdown();
            ended = tokio::select! {
                ended = connection => Some(ended),
                () = head_overdue(&phase) => None,
            };
        }
        if let Some(Err(error)) = ended {
            tracing::debug!(component = "server", %peer, %error, "the connection ended with an error");
        }
    }
}

/// Resolves [`RECEIVE_GRACE`] after the stop if the head of a request is still incomplete then.
async fn head_overdue(phase: &Phase) {
    sleep(RECEIVE_GRACE).await;
    if !phase.is_in_head() {
        std::future::pending::<()>().await;
    }
}

/// Adds the data of the connection to a request.
fn prepare(
    mut request: hyper::Request<Incoming>,
    peer: SocketAddr,
    place: &Arc<Place>,
    phase: &Phase,
    stopping: &watch::Receiver<bool>,
) -> hyper::Request<RequestBody> {
    request.extensions_mut().insert(PeerAddress(peer));
    if !request.method().is_safe() {
        // The client must learn the outcome of what may change something. It is carried out once the body is there,
        // and not protected before: a client that sends its body slowly would keep other addresses out.
        request.extensions_mut().insert(ConnectionPlace::new(Arc::clone(place)));
        if request.body().is_end_stream() {
            place.protect(true);
        }
    }
    request.map(|body| RequestBody::new(body, phase.clone(), stopping.clone()))
}

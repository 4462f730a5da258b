//! Connections: accept, bound, time out, and let go gracefully.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    connections::{Connections, Place},
    http::PeerAddress,
    timed::{Phase, Timed},
    tls::Tls,
};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long requests in flight may go on after the stop.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) router: Router,
    pub(crate) connections: Connections,
}

impl Server {
    /// Serves until `stopping` turns true, then finishes what is in flight.
    pub(crate) async fn run(self, mut stopping: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.connections.most()));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &places) => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            let admitted = accepted.and_then(|(stream, peer, place)| {
                // An address that has its share is hung up on: any answer would cost what the limit saves.
                Some((stream, peer, (place, self.connections.admit(peer.ip())?)))
            });
            if let Some((stream, peer, place)) = admitted {
                tokio::spawn(serve(stream, peer, place, self.tls.clone(), self.router.clone(), graceful.watcher()));
            }
        }
        drop(self.listener);
        if timeout(GRACE, graceful.shutdown()).await.is_err() {
            tracing::warn!(component = "server", "requests were still running at the end of the grace time");
        }
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
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
    place: (OwnedSemaphorePermit, Place),
    tls: Option<Tls>,
    router: Router,
    watcher: Watcher,
) {
    let _place = place;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(component = "server", %error, "no delay was not set");
    }
    match tls {
        None => converse(stream, peer, router, watcher).await,
        Some(tls) => match timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, peer, router, watcher).await,
            Ok(Err(error)) => tracing::debug!(component = "server", %peer, %error, "no TLS"),
            Err(_) => tracing::debug!(component = "server", %peer, "the TLS handshake took too long"),
        },
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
) {
    let phase = Phase::default();
    let stream = Timed::new(stream, phase.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        phase.answering();
        let (answer, phase) = (router.clone().oneshot(request), phase.clone());
        async move {
            let answer = answer.await;
            phase.resting();
            answer
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(component = "server", %peer, %error, "a connection broke");
    }
}

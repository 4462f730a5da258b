//! Client and server of HTTP benchmarks, on one thread each.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use axum::Router;
use tokio::net::TcpListener;

use crate::rounds::as_float;

/// Number of connections of a client.
pub const CONNECTIONS: usize = 16;

/// Body of every response.
pub const BODY: &str = "record 7\n";

/// Error of a benchmark.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Starts a server on a thread of its own.
///
/// # Errors
///
/// If it cannot listen.
pub fn serve(routes: Router) -> Result<SocketAddr, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || runtime.block_on(async move { axum::serve(listener, routes).await }));
    Ok(address)
}

/// Client with little cost beside the server.
#[derive(Debug)]
pub struct Client {
    connections: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// If there is no connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        Ok(Self { connections: (0..CONNECTIONS).map(connect).collect::<io::Result<_>>()?, buffer: vec![0; 4096] })
    }

    /// Sends one request for each of the picks, with these header lines; every response must be 200.
    ///
    /// # Errors
    ///
    /// If one is not, or the connection ends.
    pub fn ask(&mut self, route: &str, picks: &[usize], headers: &dyn Fn(usize) -> String) -> Result<(), Failure> {
        for several in picks.chunks(CONNECTIONS) {
            for (stream, pick) in self.connections.iter_mut().zip(several) {
                let request = format!("GET /{route} HTTP/1.1\r\nhost: bench\r\n{}\r\n", headers(*pick));
                stream.write_all(request.as_bytes())?;
            }
            for (stream, _) in self.connections.iter_mut().zip(several) {
                answered(stream, &mut self.buffer, route)?;
            }
        }
        Ok(())
    }

    /// Returns the requests per second of each route in each round. Every route receives the same requests, and each round
    /// begins with another route.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn measure(
        &mut self,
        routes: &[&str],
        rounds: usize,
        picks: &dyn Fn(usize) -> Vec<usize>,
        headers: &dyn Fn(usize) -> String,
    ) -> Result<Vec<Vec<f64>>, Failure> {
        let mut rates = vec![Vec::new(); routes.len()];
        for round in 0..rounds {
            let picks = picks(round);
            for turn in 0..routes.len() {
                let route = (turn + round) % routes.len();
                let (Some(name), Some(rates)) = (routes.get(route), rates.get_mut(route)) else { continue };
                let started = Instant::now();
                self.ask(name, &picks, headers)?;
                rates.push(as_float(picks.len()) / started.elapsed().as_secs_f64());
            }
        }
        Ok(rates)
    }
}

/// Reads one response: all of them are short and have the same end.
fn answered(stream: &mut TcpStream, buffer: &mut [u8], route: &str) -> Result<(), Failure> {
    let mut length = 0;
    loop {
        let read = stream.read(buffer.get_mut(length..).unwrap_or_default())?;
        length += read;
        let response = buffer.get(..length).unwrap_or_default();
        if read == 0 || (response.len() > 12 && !response.starts_with(b"HTTP/1.1 200")) {
            return Err(format!("{route}: {}", String::from_utf8_lossy(response)).into());
        }
        if response.ends_with(BODY.as_bytes()) {
            return Ok(());
        }
    }
}

//! Client and server of HTTP benchmarks, on one thread each.

use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;

use crate::rounds::as_float;

/// Number of connections of a client.
pub const CONNECTIONS: usize = 16;

/// Body of every response.
pub const BODY: &str = "record 7\n";

/// Time limit for one response.
const PATIENCE: Duration = Duration::from_secs(10);

/// Error of a benchmark.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Server with a thread of its own.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Directory of the thread below `/proc`, where there is one.
    thread: Option<PathBuf>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub fn start(routes: Router) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (report, reported) = mpsc::channel();
        std::thread::spawn(move || {
            let thread = fs::read_link("/proc/thread-self").map(|own| Path::new("/proc").join(own));
            report.send(thread.ok()).map_err(io::Error::other)?;
            runtime.block_on(async move { axum::serve(listener, routes).await })
        });
        Ok(Self { address, thread: reported.recv()? })
    }

    /// Returns the seconds for which its thread has been on a processor: Linux tells.
    fn processor_time(&self) -> Option<f64> {
        let statistics = fs::read_to_string(self.thread.as_ref()?.join("schedstat")).ok()?;
        let nanoseconds: u64 = statistics.split(' ').next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds).as_secs_f64())
    }
}

/// What one route did in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Requests in a second.
    pub rate: f64,
    /// Seconds of the server on a processor for each request; not a number where the system does not tell.
    pub processor: f64,
}

/// Client with little cost beside the server.
#[derive(Debug)]
pub struct Client {
    server: Server,
    connections: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// If there is no connection.
    pub fn connect(server: Server) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(server.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let connections = (0..CONNECTIONS).map(connect).collect::<io::Result<_>>()?;
        Ok(Self { server, connections, buffer: vec![0; 4096] })
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

    /// Returns what each route did in each round. Every route receives the same requests, and each round
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
    ) -> Result<Vec<Vec<Turn>>, Failure> {
        let mut turns = vec![Vec::new(); routes.len()];
        for round in 0..rounds {
            let picks = picks(round);
            for turn in 0..routes.len() {
                let route = (turn + round) % routes.len();
                let (Some(name), Some(turns)) = (routes.get(route), turns.get_mut(route)) else { continue };
                let (started, before) = (Instant::now(), self.server.processor_time());
                self.ask(name, &picks, headers)?;
                let (requests, took) = (as_float(picks.len()), started.elapsed().as_secs_f64());
                let on_processor =
                    before.zip(self.server.processor_time()).map_or(f64::NAN, |(before, after)| after - before);
                turns.push(Turn { rate: requests / took, processor: on_processor / requests });
            }
        }
        Ok(turns)
    }
}

/// Reads one response: all of them are short and have the same end.
fn answered(stream: &mut TcpStream, buffer: &mut [u8], route: &str) -> Result<(), Failure> {
    let (mut length, asked) = (0, Instant::now());
    loop {
        let read = match stream.read(buffer.get_mut(length..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if asked.elapsed() > PATIENCE {
                    let response = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    return Err(format!("{route}: no whole response in {PATIENCE:?}: {response}").into());
                }
                std::hint::spin_loop();
                continue;
            }
            read => read?,
        };
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

//! An HTTP/1.1 server that can break every rule of a response.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::Duration,
};

/// Request as the server received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Lines of the header: `name: value`, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Returns the path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

/// Response of the server.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Body,
}

impl Reply {
    /// A response with JSON.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Full(body.to_string().into_bytes()) }
    }

    /// A response without body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Full(Vec::new()) }
    }
}

/// Body of a response.
#[derive(Debug)]
pub enum Body {
    /// All of it, with its length.
    Full(Vec<u8>),
    /// Parts as they are sent, until the channel closes. An empty part cuts the connection.
    Stream(Receiver<Vec<u8>>),
    /// Spaces without end.
    Endless,
    /// Nothing, not even a status, until the server is dropped.
    Stall,
    /// One byte each time, with a pause between.
    Drip(Vec<u8>, Duration),
    /// The connection is closed without a response.
    Cut,
}

/// Server on a free port of the loopback interface.
pub struct HttpServer {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    /// Starts a server that answers each request with `handle`'s reply.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn start(handle: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port");
        let (stopped, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { address, stopped: Arc::clone(&stopped), requests: Arc::clone(&requests) };
        let handle = Arc::new(handle);
        thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let (handle, stopped, requests) = (Arc::clone(&handle), Arc::clone(&stopped), Arc::clone(&requests));
                thread::spawn(move || {
                    let Some(request) = read(&connection) else { return };
                    let reply = handle(&request);
                    // Afterwards: a test that sees a request may rely on its effect.
                    locked(&requests).push(request);
                    // A client that hangs up is no failure of the server.
                    write(&connection, reply, &stopped).ok();
                });
            }
        });
        server
    }

    /// Returns `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.requests).clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which closes the port.
        TcpStream::connect(self.address).ok();
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("address", &self.address).finish_non_exhaustive()
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(connection: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut parts = line.split_ascii_whitespace();
    let mut request =
        Request { method: parts.next()?.to_owned(), target: parts.next()?.to_owned(), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn write(mut connection: &TcpStream, reply: Reply, stopped: &AtomicBool) -> std::io::Result<()> {
    let Reply { status, headers, body } = reply;
    match &body {
        Body::Cut => return Ok(()),
        Body::Stall => {
            while !stopped.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            return Ok(());
        }
        Body::Full(_) | Body::Stream(_) | Body::Endless | Body::Drip(..) => {}
    }
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut head = format!("HTTP/1.1 {status} Status\r\nconnection: close\r\n{}", headers.concat());
    match body {
        Body::Full(body) => {
            write!(connection, "{head}content-length: {}\r\n\r\n", body.len())?;
            connection.write_all(&body)
        }
        Body::Drip(body, pause) => {
            head.push_str("\r\n");
            connection.write_all(head.as_bytes())?;
            for byte in body {
                connection.write_all(&[byte])?;
                thread::sleep(pause);
            }
            Ok(())
        }
        Body::Endless => {
            head.push_str("\r\n");
            connection.write_all(head.as_bytes())?;
            loop {
                connection.write_all(&[b' '; 4096])?;
            }
        }
        Body::Stream(parts) => {
            head.push_str("transfer-encoding: chunked\r\n\r\n");
            connection.write_all(head.as_bytes())?;
            while let Ok(part) = parts.recv() {
                if part.is_empty() {
                    return connection.shutdown(std::net::Shutdown::Both);
                }
                write!(connection, "{:x}\r\n", part.len())?;
                connection.write_all(&part)?;
                connection.write_all(b"\r\n")?;
            }
            connection.write_all(b"0\r\n\r\n")
        }
        Body::Stall | Body::Cut => Ok(()),
    }
}

//! Keep-alive connections with minimal overhead: the tool shares its cores with the broker.

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{scenario::LoadError, target::Target};

/// Timeout for a request: the broker holds a long poll for 25 seconds at most.
const PATIENCE: Duration = Duration::from_secs(40);
/// Idle time after which a connection is opened again.
const LONGEST_REST: Duration = Duration::from_secs(60);
const LONGEST_HEAD: usize = 64 * 1024;
const LONGEST_BODY: usize = 64 * 1024 * 1024;

/// Connection, which is opened at the first request and again after a failure.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Target,
    from: Option<IpAddr>,
    stream: Option<TcpStream>,
    used: Instant,
    request: String,
    received: Vec<u8>,
}

/// Response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'r> {
    pub(crate) method: &'r str,
    pub(crate) path: &'r str,
    pub(crate) token: Option<&'r str>,
    pub(crate) body: Option<&'r str>,
}

impl Connection {
    pub(crate) fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            from: None,
            stream: None,
            used: Instant::now(),
            request: String::new(),
            received: Vec::new(),
        }
    }

    /// Connects from this local address.
    pub(crate) fn from(self, address: Option<IpAddr>) -> Self {
        Self { from: address, ..self }
    }

    /// Sends a request and reads its whole response.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> Result<Response, LoadError> {
        self.write_request(request);
        if self.used.elapsed() > LONGEST_REST {
            // The broker closes idle connections (contract §8: 120 s).
            self.stream = None;
        }
        let answered = timeout(PATIENCE, self.converse()).await;
        self.used = Instant::now();
        let broken = match answered {
            Ok(Ok((response, keep))) => {
                if !keep {
                    self.stream = None;
                }
                return Ok(response);
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        self.stream = None;
        Err(LoadError::Broken { path: request.path.to_owned(), cause: broken.to_string() })
    }

    fn write_request(&mut self, request: Request<'_>) {
        let Request { method, path, token, body } = request;
        let text = &mut self.request;
        text.clear();
        // Writing to a string does not fail.
        write!(text, "{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.target.host).unwrap_or_default();
        if let Some(token) = token {
            write!(text, "authorization: Bearer {token}\r\n").unwrap_or_default();
        }
        if let Some(body) = body {
            let length = body.len();
            write!(text, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
                .unwrap_or_default();
        } else if method == "GET" {
            text.push_str("\r\n");
        } else {
            text.push_str("content-length: 0\r\n\r\n");
        }
    }

    async fn converse(&mut self) -> io::Result<(Response, bool)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.target.address, self.from).await?),
        };
        stream.write_all(self.request.as_bytes()).await?;
        self.received.clear();
        let head = loop {
            match Head::parse(&self.received)? {
                Some(head) if head.is_interim() => drop(self.received.drain(..head.length)),
                Some(head) => break head,
                None if self.received.len() > LONGEST_HEAD => return Err(malformed("its head is too long")),
                None => more(stream, &mut self.received).await?,
            }
        };
        let body = loop {
            match head.body(self.received.get(head.length..).unwrap_or_default())? {
                Some(body) => break body,
                None if self.received.len() > LONGEST_BODY => return Err(malformed("its body is too long")),
                None => more(stream, &mut self.received).await?,
            }
        };
        Ok((Response { status: head.status, body }, head.keep_alive))
    }
}

async fn connect(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn more(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    received.reserve(4096);
    match stream.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Response before its body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Length in bytes.
    length: usize,
    body: BodyLength,
    keep_alive: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum BodyLength {
    Known(usize),
    Chunked,
}

impl Head {
    /// Returns the head, once it is complete.
    fn parse(received: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let status = parsed.parse(received).map_err(|error| malformed(&error.to_string()))?;
        let httparse::Status::Complete(length) = status else { return Ok(None) };
        let mut head =
            Self { status: parsed.code.unwrap_or_default(), length, body: BodyLength::Known(0), keep_alive: true };
        for header in parsed.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                head.body = BodyLength::Known(value.parse().map_err(|_| malformed("its length is no number"))?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                head.body = BodyLength::Chunked;
            } else if header.name.eq_ignore_ascii_case("connection") {
                head.keep_alive = !value.eq_ignore_ascii_case("close");
            }
        }
        if matches!(head.status, 204 | 304) {
            head.body = BodyLength::Known(0);
        }
        Ok(Some(head))
    }

    fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Returns the body, once it is complete.
    fn body(&self, received: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.body {
            BodyLength::Known(length) => Ok(received.get(..length).map(<[u8]>::to_vec)),
            BodyLength::Chunked => unchunk(received),
        }
    }
}

/// Returns the content of all chunks, once the last one has arrived. Trailers are not expected.
fn unchunk(mut received: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(received).map_err(|_| malformed("a chunk has no size"))?;
        let httparse::Status::Complete((start, length)) = size else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| malformed("a chunk is too long"))?;
        if length > LONGEST_BODY {
            return Err(malformed("a chunk is too long"));
        }
        let end = start.saturating_add(length);
        let (Some(chunk), Some(rest)) = (received.get(start..end), received.get(end.saturating_add(2)..)) else {
            return Ok(None);
        };
        if length == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        received = rest;
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the response is not HTTP/1.1: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: &[u8]) -> Option<(u16, Vec<u8>, bool)> {
        let head = Head::parse(response).unwrap()?;
        let body = head.body(&response[head.length..]).unwrap()?;
        Some((head.status, body, head.keep_alive))
    }

    #[test]
    fn response_is_complete_with_its_last_byte() {
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, b"hello".to_vec(), true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, Vec::new(), true)),
            (
                "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
                (401, b"{}".to_vec(), false),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
                (200, b"abc0123456789".to_vec(), true),
            ),
        ] {
            let response = response.as_bytes();
            assert_eq!(read(response), Some(expected));
            for end in 0..response.len() {
                assert_eq!(read(&response[..end]), None, "{end} bytes of {}", String::from_utf8_lossy(response));
            }
        }
    }

    #[test]
    fn writes_request_as_one_text() {
        let target = Target::parse("http://127.0.0.1:1", false).unwrap();
        let mut connection = Connection::new(&target);
        connection.write_request(Request { method: "POST", path: "/a", token: Some("t"), body: Some("{}") });
        assert_eq!(
            connection.request,
            "POST /a HTTP/1.1\r\nhost: 127.0.0.1:1\r\nauthorization: Bearer t\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n{}"
        );
        connection.write_request(Request { method: "GET", path: "/b", ..Request::default() });
        assert_eq!(connection.request, "GET /b HTTP/1.1\r\nhost: 127.0.0.1:1\r\n\r\n");
    }

    #[test]
    fn rejects_malformed_http() {
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").is_err());
        assert!(unchunk(b"zz\r\n").is_err());
    }
}

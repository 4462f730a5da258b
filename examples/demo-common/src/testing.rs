//! Pages on a free port, and a reader of their events as they arrive.

use std::{io, time::Duration};

use axum::Router;
use reqwest::Response;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

use crate::Failure;

/// Timeout for an event that should come at once.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pages on a free port of the loopback interface; they end when dropped.
#[derive(Debug)]
pub struct ServedPages {
    url: String,
    task: JoinHandle<()>,
}

impl ServedPages {
    /// Serves routes.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the pages ended: {error}");
            }
        });
        Ok(Self { url, task })
    }

    /// Returns the address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ServedPages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reader of a stream of server-sent events.
#[derive(Debug)]
pub struct EventReader {
    response: Response,
    buffered: Vec<u8>,
}

impl EventReader {
    /// Reads the events of a response.
    #[must_use]
    pub fn new(response: Response) -> Self {
        Self { response, buffered: Vec::new() }
    }

    /// Waits for the next event's data; none at the end of the stream.
    ///
    /// # Errors
    ///
    /// When none arrives within 30 s, or it is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.buffered.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffered.drain(..end + 2).collect();
                let block = String::from_utf8(block)?;
                // Comments keep the connection alive.
                if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data:")) {
                    return Ok(Some(serde_json::from_str(data)?));
                }
                continue;
            }
            match timeout(TIMEOUT, self.response.chunk()).await.map_err(|_| "no event arrived in time")?? {
                Some(chunk) => self.buffered.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// Reads up to the first event that `is_last` accepts.
    ///
    /// # Errors
    ///
    /// When the stream ends before it, or as [`next`](Self::next).
    pub async fn until(&mut self, is_last: impl Fn(&Value) -> bool) -> Result<Vec<Value>, Failure> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            let is_end = is_last(&event);
            events.push(event);
            if is_end {
                return Ok(events);
            }
        }
        Err(format!("the stream ended after {events:?}").into())
    }

    /// Reads to the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn rest(mut self) -> Result<Vec<Value>, Failure> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

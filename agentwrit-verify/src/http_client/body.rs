//! Reading a response up to a limit.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Room that is set aside before anything was read, at most: what a response announces proves nothing.
const LARGEST_RESERVATION: usize = 1024 * 1024;

/// Reason why a body was not read completely.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle each reason")]
pub enum BodyError {
    /// Longer than `limit` bytes; the rest was not read.
    #[error("larger than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The connection broke, or the time limit of the request passed.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
    /// No part of it came in time.
    #[error("timed out")]
    TimedOut,
}

/// Reads a body of at most `limit` bytes, each part of which must come within `progress`; a longer body is rejected as soon
/// as that shows. The buffer is wiped when it is
/// dropped: responses of a broker hold tokens and secrets.
///
/// # Errors
///
/// [`BodyError`]: too long, too slow, or the connection broke.
pub async fn read_body(
    response: &mut Response,
    limit: usize,
    progress: Duration,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLong { limit });
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced.min(LARGEST_RESERVATION)));
    loop {
        let chunk = timeout(progress, response.chunk()).await.map_err(|_| BodyError::TimedOut)??;
        let Some(chunk) = chunk else { return Ok(body) };
        if chunk.len() > limit.saturating_sub(body.len()) {
            return Err(BodyError::TooLong { limit });
        }
        body.extend_from_slice(&chunk);
    }
}

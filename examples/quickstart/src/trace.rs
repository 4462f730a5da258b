//! Requests of the quickstart, their expected outcomes, and their output.

use std::time::{Duration, Instant};

use agentwrit_client::Agent;
use agentwrit_protocol::Problem;
use http::{StatusCode, header};
use reqwest::Client;

use crate::Failure;

/// Request to the protected service.
pub(crate) struct Step {
    what: &'static str,
    token: Option<String>,
    expected: StatusCode,
}

impl Step {
    /// Returns the requests while the broker runs.
    pub(crate) fn with_broker(reader: &Agent, writer: &Agent) -> Vec<Self> {
        let token = |token: &str| Some(token.to_owned());
        vec![
            Self { what: "right scope", token: token(reader.token().expose()), expected: StatusCode::OK },
            Self { what: "wrong scope", token: token(writer.token().expose()), expected: StatusCode::FORBIDDEN },
            Self {
                what: "tampered token",
                token: Some(tampered(reader.token().expose())),
                expected: StatusCode::UNAUTHORIZED,
            },
            Self { what: "no token", token: None, expected: StatusCode::UNAUTHORIZED },
        ]
    }

    /// Returns the request of an agent without a secret.
    pub(crate) fn attested(agent: &Agent) -> Self {
        Self { what: "attested agent", token: Some(agent.token().expose().to_owned()), expected: StatusCode::OK }
    }

    /// Returns the request of an agent that is about to be revoked.
    pub(crate) fn before_revocation(leaked: &Agent) -> Self {
        Self { what: "a third agent", token: Some(leaked.token().expose().to_owned()), expected: StatusCode::OK }
    }

    /// Returns the request of an agent that has been revoked, which the service learns from the feed.
    pub(crate) fn after_revocation(leaked: &Agent) -> Self {
        Self { what: "revoked", token: Some(leaked.token().expose().to_owned()), expected: StatusCode::UNAUTHORIZED }
    }

    /// Returns the request after the broker has stopped.
    pub(crate) fn without_broker(reader: &Agent) -> Self {
        Self { what: "broker stopped", token: Some(reader.token().expose().to_owned()), expected: StatusCode::OK }
    }

    /// Sends the request, prints the outcome, and returns `true` if it is the expected one.
    pub(crate) async fn take(&self, client: &Client, url: &str) -> Result<bool, Failure> {
        let (status, body) = self.call(client, url).await?;
        Ok(self.show(status, &summary(&body)))
    }

    /// Sends the request until its outcome is the expected one, within `timeout`, and prints the time that it took.
    pub(crate) async fn take_within(&self, timeout: Duration, client: &Client, url: &str) -> Result<bool, Failure> {
        let started = Instant::now();
        loop {
            let (status, body) = self.call(client, url).await?;
            let took = started.elapsed();
            if status == self.expected || took >= timeout {
                let milliseconds = took.as_secs_f64() * 1000.0;
                return Ok(self.show(status, &format!("{} ({milliseconds:.1} ms after the 200)", summary(&body))));
            }
        }
    }

    async fn call(&self, client: &Client, url: &str) -> Result<(StatusCode, String), Failure> {
        let mut request = client.get(url);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.send().await?;
        Ok((response.status(), response.text().await?))
    }

    fn show(&self, status: StatusCode, summary: &str) -> bool {
        let as_expected = status == self.expected;
        let verdict = if as_expected { "" } else { "   <- NOT as expected" };
        println!("  {:<16} {:<18} {summary}{verdict}", self.what, status.to_string());
        as_expected
    }
}

/// Summarises a response: a problem's code and detail, else the body.
fn summary(body: &str) -> String {
    let problem = agentwrit_json::object_from_slice::<Problem>(body.as_bytes(), 4);
    problem.map_or_else(|_| body.trim().to_owned(), |problem| format!("{}: {}", problem.error_code, problem.detail))
}

/// Returns the token with another signature.
fn tampered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let replaced = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{replaced}{}", signature.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tampered_token_differs_in_signature_only() {
        assert_eq!(tampered("a.b.cd"), "a.b.Ad");
        assert_eq!(tampered("a.b.Ad"), "a.b.Bd");
    }

    #[test]
    fn summarises_responses_in_one_line() {
        assert_eq!(summary("record 7\n"), "record 7");
        let problem = r#"{"status":403,"detail":"no","error_code":"insufficient_scope"}"#;
        assert_eq!(summary(problem), "insufficient_scope: no");
    }
}

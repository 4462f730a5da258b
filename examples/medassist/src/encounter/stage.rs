//! Where the steps are taken and noted.

use std::time::{Duration, Instant};

use agentwrit_client::ClientError;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::{
    Failure,
    trace::{Outcome, Step, Trace},
    visitor::{Request, Visitor},
};

/// How long the hospital may take to hear of what the broker did. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes steps, and notes what they come to.
pub(super) struct Stage<'a> {
    visitor: Visitor,
    trace: &'a mut Trace,
}

impl<'a> Stage<'a> {
    pub(super) fn new(visitor: Visitor, trace: &'a mut Trace) -> Self {
        Self { visitor, trace }
    }

    pub(super) fn scene(&self, title: &str) {
        self.trace.scene(title);
    }

    pub(super) async fn get(
        &mut self,
        who: &'static str,
        token: &HeaderValue,
        path: &str,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        self.ask(who, &get(Some(token), path), expected, shows).await
    }

    pub(super) async fn stranger(&mut self, path: &str, expected: u16, shows: &'static str) -> Result<(), Failure> {
        self.ask("stranger", &get(None, path), expected, shows).await
    }

    pub(super) async fn post(
        &mut self,
        who: &'static str,
        token: &HeaderValue,
        path: &str,
        body: &Value,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        let (method, path, authorization) = (Method::POST, path.to_owned(), Some(token.clone()));
        self.ask(who, &Request { method, path, authorization, body: Some(body.clone()) }, expected, shows).await
    }

    /// Asks until the answer is as expected: what the broker just did is on its way to the hospital.
    pub(super) async fn get_until(
        &mut self,
        who: &'static str,
        token: &HeaderValue,
        path: &str,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        let (request, started) = (get(Some(token), path), Instant::now());
        let expected = StatusCode::from_u16(expected)?;
        loop {
            let answer = self.visitor.send(&request).await?;
            let took = started.elapsed();
            if answer.status == expected || took >= PATIENCE {
                let said = format!("{} after {:.1} ms", answer.summary(), took.as_secs_f64() * 1000.0);
                self.note(who, &request, expected, answer.status, shows, said);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Notes what came of a call of the broker: granted, or refused with a status.
    pub(super) fn broker<T>(
        &mut self,
        who: &'static str,
        what: &str,
        expected: Result<(), u16>,
        result: &Result<T, ClientError>,
        shows: &'static str,
    ) {
        let said = result.as_ref().err().map(reason).unwrap_or_default();
        self.broker_saying(who, what, expected, result, shows, said);
    }

    pub(super) fn broker_saying<T>(
        &mut self,
        who: &'static str,
        what: &str,
        expected: Result<(), u16>,
        result: &Result<T, ClientError>,
        shows: &'static str,
        said: String,
    ) {
        let refused = |status: u16| StatusCode::from_u16(status).map_or(Outcome::NoAnswer, Outcome::Status);
        let expected = expected.map_or_else(refused, |()| Outcome::Granted);
        let actual = match result {
            Ok(_) => Outcome::Granted,
            Err(error) => error.status().map_or(Outcome::NoAnswer, refused),
        };
        self.trace.add(Step { who, what: format!("broker: {what}"), expected, actual, shows, said });
    }

    async fn ask(
        &mut self,
        who: &'static str,
        request: &Request,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        let answer = self.visitor.send(request).await?;
        self.note(who, request, StatusCode::from_u16(expected)?, answer.status, shows, answer.summary());
        Ok(())
    }

    fn note(
        &mut self,
        who: &'static str,
        request: &Request,
        expected: StatusCode,
        actual: StatusCode,
        shows: &'static str,
        said: String,
    ) {
        let (expected, actual) = (Outcome::Status(expected), Outcome::Status(actual));
        self.trace.add(Step { who, what: called(request), expected, actual, shows, said });
    }
}

fn get(token: Option<&HeaderValue>, path: &str) -> Request {
    Request { method: Method::GET, path: path.to_owned(), authorization: token.cloned(), body: None }
}

/// The name of a request in the trace.
fn called(request: &Request) -> String {
    let drug = request.body.as_ref().and_then(|body| body.get("drug")?.as_str());
    let drug = drug.map(|drug| format!(" {drug}")).unwrap_or_default();
    format!("{} {}{drug}", request.method, request.path)
}

/// The broker's sentence, or what kept it from saying one.
fn reason(error: &ClientError) -> String {
    error.problem().map_or_else(|| error.to_string(), |problem| problem.detail.clone())
}

//! Execution and recording of steps.

use std::time::{Duration, Instant};

use agentwrit_client::ClientError;
use demo_common::service_client::{ServiceClient, ServiceRequest};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use crate::{
    Failure,
    trace::{Outcome, Step, Trace},
};

/// Timeout for the propagation of a revocation to the hospital, which takes milliseconds.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Executes steps and records their outcomes.
pub(super) struct Stage<'a> {
    hospital: ServiceClient,
    trace: &'a mut Trace,
}

impl<'a> Stage<'a> {
    pub(super) fn new(hospital: ServiceClient, trace: &'a mut Trace) -> Self {
        Self { hospital, trace }
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
        self.send(who, Some(token), &ServiceRequest::get(path), expected, shows).await
    }

    pub(super) async fn unauthenticated(
        &mut self,
        path: &str,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        self.send("unauthenticated", None, &ServiceRequest::get(path), expected, shows).await
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
        self.send(who, Some(token), &ServiceRequest::post(path, body.clone()), expected, shows).await
    }

    /// Repeats a request until its outcome is the expected one: the broker's change is on its way to the hospital.
    pub(super) async fn get_until(
        &mut self,
        who: &'static str,
        token: &HeaderValue,
        path: &str,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        let (request, started) = (ServiceRequest::get(path), Instant::now());
        let expected = StatusCode::from_u16(expected)?;
        loop {
            let response = self.hospital.send(Some(token), &request).await?;
            let took = started.elapsed();
            if response.status == expected || took >= REVOCATION_TIMEOUT {
                let summary = format!("{} after {:.1} ms", response.summary(), took.as_secs_f64() * 1000.0);
                self.note(who, &request, expected, response.status, shows, summary);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Records the outcome of a request to the broker: granted, or rejected with a status.
    pub(super) fn broker<T>(
        &mut self,
        who: &'static str,
        what: &str,
        expected: Result<(), u16>,
        result: &Result<T, ClientError>,
        shows: &'static str,
    ) {
        let summary = result.as_ref().err().map(reason).unwrap_or_default();
        self.broker_saying(who, what, expected, result, shows, summary);
    }

    pub(super) fn broker_saying<T>(
        &mut self,
        who: &'static str,
        what: &str,
        expected: Result<(), u16>,
        result: &Result<T, ClientError>,
        shows: &'static str,
        summary: String,
    ) {
        let rejected = |status: u16| StatusCode::from_u16(status).map_or(Outcome::NoResponse, Outcome::Status);
        let expected = expected.map_or_else(rejected, |()| Outcome::Granted);
        let actual = match result {
            Ok(_) => Outcome::Granted,
            Err(error) => error.status().map_or(Outcome::NoResponse, rejected),
        };
        self.trace.add(Step { who, what: format!("broker: {what}"), expected, actual, shows, summary });
    }

    async fn send(
        &mut self,
        who: &'static str,
        token: Option<&HeaderValue>,
        request: &ServiceRequest,
        expected: u16,
        shows: &'static str,
    ) -> Result<(), Failure> {
        let response = self.hospital.send(token, request).await?;
        self.note(who, request, StatusCode::from_u16(expected)?, response.status, shows, response.summary());
        Ok(())
    }

    fn note(
        &mut self,
        who: &'static str,
        request: &ServiceRequest,
        expected: StatusCode,
        actual: StatusCode,
        shows: &'static str,
        summary: String,
    ) {
        let (expected, actual) = (Outcome::Status(expected), Outcome::Status(actual));
        self.trace.add(Step { who, what: called(request), expected, actual, shows, summary });
    }
}

/// Returns the name of a request in the trace.
fn called(request: &ServiceRequest) -> String {
    let drug = request.body.as_ref().and_then(|body| body.get("drug")?.as_str());
    let drug = drug.map(|drug| format!(" {drug}")).unwrap_or_default();
    format!("{} {}{drug}", request.method, request.path)
}

/// Returns the broker's detail, or the error.
fn reason(error: &ClientError) -> String {
    error.problem().map_or_else(|| error.to_string(), |problem| problem.detail.clone())
}

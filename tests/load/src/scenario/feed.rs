//! Waiting long polls of the revocation feed: memory of each, and time until all of them return.

use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::{Context, LoadError};
use crate::{
    agent::{Client, Launch},
    args::Feed,
    http::{Connection, Request, Response},
    process::Memory,
    report::Report,
    tally::Tally,
};

/// Duration for which the broker holds a response.
const WAIT: u64 = 25;
/// Time after which all polls wait.
const SETTLE: Duration = Duration::from_millis(1500);

pub(crate) async fn run(context: &Context, options: &Feed) -> Result<Report, LoadError> {
    let mut operator = Client::new(&context.target, &context.operator);
    let mut tally = Tally::default();
    // The first revocation gives the log a cursor to wait behind.
    enrol_and_revoke(&mut operator, 0).await?;
    let mut cursor = cursor_of(&ask(&mut operator.connection, "/v1/revocations").await?)?;

    let (mut pollers, health) = context.health(context.clients(options.pollers)).await;
    let mut report = context.report("feed");
    let connected = memory(context)?;
    for round in 1..=options.rounds {
        operator.register(Launch { max_ttl: 300, task_id: &task(round) }, &mut Tally::default()).await?;
        let waiting: Vec<_> = pollers.drain(..).map(|poller| tokio::task::spawn_local(poll(poller, cursor))).collect();
        tokio::time::sleep(SETTLE).await;
        if let (1, Some(connected), Some(now)) = (round, connected, memory(context)?) {
            tell_memory(&mut report, connected, now, options.pollers);
        }
        let revoked = Instant::now();
        operator.revoke_task(&task(round)).await?;
        let acknowledged = Instant::now();
        for poll in waiting {
            let (poller, woken) = poll.await.map_err(|error| LoadError::Runtime { cause: error.to_string() })?;
            match woken {
                Ok((at, newer)) => {
                    cursor = cursor.max(newer);
                    tally.record("woken after the request to revoke", at.saturating_duration_since(revoked));
                    tally.record("woken after its acknowledgement", at.saturating_duration_since(acknowledged));
                }
                Err(failure) => tally.fail(&failure),
            }
            pollers.push(poller);
        }
        tally.took += revoked.elapsed();
    }
    report.add(&tally, options.pollers, "");
    report.add(&health, options.pollers, "");
    Ok(report)
}

async fn enrol_and_revoke(operator: &mut Client, round: u16) -> Result<(), LoadError> {
    operator.register(Launch { max_ttl: 300, task_id: &task(round) }, &mut Tally::default()).await?;
    operator.revoke_task(&task(round)).await
}

/// Unique to this run.
fn task(round: u16) -> String {
    format!("feed-{}-{round}", std::process::id())
}

async fn poll(mut poller: Client, cursor: u64) -> (Client, Result<(Instant, u64), LoadError>) {
    let path = format!("/v1/revocations?since={cursor}&wait={WAIT}");
    let answered = ask(&mut poller.connection, &path).await;
    let at = Instant::now();
    let newer = answered.and_then(|response| cursor_of(&response)).and_then(|newer| {
        // The same cursor means that the wait ended without a new entry.
        if newer > cursor { Ok((at, newer)) } else { Err(LoadError::BadFeed) }
    });
    (poller, newer)
}

async fn ask(connection: &mut Connection, path: &str) -> Result<Response, LoadError> {
    let response = connection.send(Request { method: "GET", path, ..Request::default() }).await?;
    if response.status == 200 { Ok(response) } else { Err(LoadError::unexpected(path, &response)) }
}

fn cursor_of(response: &Response) -> Result<u64, LoadError> {
    #[derive(Deserialize)]
    struct Payload {
        to: u64,
    }
    let payload = response.body.split(|byte| *byte == b'.').nth(1).ok_or(LoadError::BadFeed)?;
    let payload = BASE64URL_NOPAD.decode(payload).map_err(|_| LoadError::BadFeed)?;
    serde_json::from_slice(&payload).map(|Payload { to }| to).map_err(|_| LoadError::BadFeed)
}

fn memory(context: &Context) -> Result<Option<Memory>, LoadError> {
    context.broker_pid().map(Memory::of).transpose()
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn tell_memory(report: &mut Report, connected: Memory, waiting: Memory, pollers: u16) {
    let more = waiting.resident.saturating_sub(connected.resident) as f64;
    report.figure("memory of the broker with idle connections", connected.resident as f64 / 1024.0, "KiB");
    report.figure("memory of the broker with waiting polls", waiting.resident as f64 / 1024.0, "KiB");
    report.figure("memory of a waiting poll beyond its connection", more / f64::from(pollers), "bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cursor_from_payload() {
        let document = |payload: &str| Response {
            status: 200,
            body: format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes())).into_bytes(),
        };
        assert_eq!(cursor_of(&document(r#"{"from":1,"to":42}"#)), Ok(42));
        assert_eq!(cursor_of(&document("{}")), Err(LoadError::BadFeed));
        assert_eq!(cursor_of(&Response { status: 200, body: b"nonsense".to_vec() }), Err(LoadError::BadFeed));
    }
}

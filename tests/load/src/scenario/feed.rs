//! Waiting long polls of the revocation feed: what each costs, and how soon all of them wake.

use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::{Context, Failure};
use crate::{
    agent::{Client, Launch},
    args::Feed,
    http::{Connection, Request, Response},
    process::Memory,
    report::Report,
    tally::Tally,
};

/// As long as the broker holds an answer.
const WAIT: u64 = 25;
/// How long it takes until all polls surely wait.
const SETTLE: Duration = Duration::from_millis(1500);

pub(crate) async fn run(context: &Context, options: &Feed) -> Result<Report, Failure> {
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
            let (poller, woken) = poll.await.map_err(|error| Failure::Runtime { cause: error.to_string() })?;
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

async fn enrol_and_revoke(operator: &mut Client, round: u16) -> Result<(), Failure> {
    operator.register(Launch { max_ttl: 300, task_id: &task(round) }, &mut Tally::default()).await?;
    operator.revoke_task(&task(round)).await
}

/// Of this run only.
fn task(round: u16) -> String {
    format!("feed-{}-{round}", std::process::id())
}

async fn poll(mut poller: Client, cursor: u64) -> (Client, Result<(Instant, u64), Failure>) {
    let path = format!("/v1/revocations?since={cursor}&wait={WAIT}");
    let answered = ask(&mut poller.connection, &path).await;
    let at = Instant::now();
    let newer = answered.and_then(|response| cursor_of(&response)).and_then(|newer| {
        // The same cursor means that the wait ended without anything new.
        if newer > cursor { Ok((at, newer)) } else { Err(Failure::BadFeed) }
    });
    (poller, newer)
}

async fn ask(connection: &mut Connection, path: &str) -> Result<Response, Failure> {
    let response = connection.send(Request { method: "GET", path, ..Request::default() }).await?;
    if response.status == 200 { Ok(response) } else { Err(Failure::unexpected(path, &response)) }
}

fn cursor_of(response: &Response) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Payload {
        to: u64,
    }
    let payload = response.body.split(|byte| *byte == b'.').nth(1).ok_or(Failure::BadFeed)?;
    let payload = BASE64URL_NOPAD.decode(payload).map_err(|_| Failure::BadFeed)?;
    serde_json::from_slice(&payload).map(|Payload { to }| to).map_err(|_| Failure::BadFeed)
}

fn memory(context: &Context) -> Result<Option<Memory>, Failure> {
    context.broker_pid.map(Memory::of).transpose()
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
    fn the_cursor_is_in_the_payload() {
        let document = |payload: &str| Response {
            status: 200,
            body: format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes())).into_bytes(),
        };
        assert_eq!(cursor_of(&document(r#"{"from":1,"to":42}"#)), Ok(42));
        assert_eq!(cursor_of(&document("{}")), Err(Failure::BadFeed));
        assert_eq!(cursor_of(&Response { status: 200, body: b"nonsense".to_vec() }), Err(Failure::BadFeed));
    }
}

//! A reader of stdout that hangs holds up neither requests nor the end of the process.

use std::time::{Duration, Instant};

use agentwrit_e2e::Broker;

/// Sends so many requests that each leave a long line in the log, and expects an answer to each.
async fn send_requests(broker: &Broker, count: usize) {
    let path = format!("/{}", format!("{}/", "z".repeat(100)).repeat(6));
    let quarter = || async {
        for _ in 0..count / 4 {
            broker.get(&path).await.problem(404, "not_found");
        }
    };
    tokio::join!(quarter(), quarter(), quarter(), quarter());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_every_request_and_reports_dropped_lines_when_stdout_is_not_read() {
    let broker = Broker::start().await;
    broker.stop_reading_output();
    // 2.6 MB of lines: more than the pipe, the text being written and the 1 MiB that waits can hold.
    send_requests(&broker, 4_000).await;
    let metrics = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    let counter = "agentwrit_log_lines_dropped_total{stream=\"stdout\"} ";
    let dropped = metrics.lines().find_map(|line| line.strip_prefix(counter));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");

    broker.read_output();
    broker.says("[AA:LOG:WARN]").await;
    broker.says("| log | log lines were dropped | stream=stdout, lines=").await;
    // The lines that follow are written again.
    broker.get("/v1/health").header("x-request-id", "after-the-gap").await;
    broker.says("request_id=after-the-gap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_within_ten_seconds_of_sigterm_when_stdout_is_not_read() {
    let broker = Broker::start().await;
    broker.stop_reading_output();
    send_requests(&broker, 1_000).await;
    let sent = Instant::now();
    let (stopped, _) = broker.terminate().await;
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
}

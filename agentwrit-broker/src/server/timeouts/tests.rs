use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> (io::Result<usize>, Duration) {
    let started = Instant::now();
    let outcome = stream.read(&mut [0; 16]).await;
    (outcome, started.elapsed())
}

fn timed_out(outcome: &io::Result<usize>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[tokio::test(start_paused = true)]
async fn times_out_new_connection_that_sends_no_head() {
    let (_client, server) = duplex(64);
    let (outcome, after) = read(&mut TimedStream::new(server, Phase::default())).await;
    assert!(timed_out(&outcome) && after >= HEAD_TIMEOUT && after < HEAD_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn times_out_head_that_arrives_byte_by_byte() {
    let (mut client, server) = duplex(64);
    let mut server = TimedStream::new(server, Phase::default());
    let started = Instant::now();
    let outcome = loop {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let outcome = server.read(&mut [0; 16]).await;
        if started.elapsed() > HEAD_TIMEOUT {
            break server.read(&mut [0; 16]).await.and(outcome);
        }
    };
    assert!(timed_out(&outcome));
}

#[tokio::test(start_paused = true)]
async fn idle_connection_has_longer_timeout_until_next_request_begins() {
    let (mut client, server) = duplex(64);
    let phase = Phase::default();
    let mut server = TimedStream::new(server, phase.clone());
    phase.answering();
    phase.resting();
    let (outcome, after) = read(&mut server).await;
    assert!(timed_out(&outcome) && after >= IDLE_TIMEOUT);

    phase.resting();
    client.write_all(b"GET").await.unwrap();
    assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 3);
    let (outcome, after) = read(&mut server).await;
    assert!(timed_out(&outcome) && after >= HEAD_TIMEOUT && after < IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn body_received_after_response_leaves_whole_idle_timeout() {
    let (mut client, server) = duplex(64);
    let phase = Phase::default();
    let mut server = TimedStream::new(server, phase.clone());
    phase.answering();
    phase.receives_body(true);
    phase.resting();
    client.write_all(b"rest of body").await.unwrap();
    assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 12);
    phase.receives_body(false);
    let (outcome, after) = read(&mut server).await;
    assert!(timed_out(&outcome) && after >= IDLE_TIMEOUT, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn no_read_timeout_while_request_is_answered() {
    let (mut client, server) = duplex(64);
    let phase = Phase::default();
    let mut server = TimedStream::new(server, phase.clone());
    phase.answering();
    let writing = tokio::spawn(async move {
        tokio::time::sleep(IDLE_TIMEOUT * 2).await;
        client.write_all(b"body").await.unwrap();
    });
    assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 4);
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn times_out_response_that_client_does_not_read() {
    let (_client, server) = duplex(8);
    let mut server = TimedStream::new(server, Phase::default());
    let started = Instant::now();
    let outcome = server.write_all(&[0; 64]).await;
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() >= WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn times_out_response_that_client_reads_byte_by_byte() {
    let (mut client, server) = duplex(8);
    let mut server = TimedStream::new(server, Phase::default());
    let reading = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if client.read(&mut [0; 1]).await.unwrap() == 0 {
                break;
            }
        }
    });
    let started = Instant::now();
    let outcome = server.write_all(&[0; 1024]).await;
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() < WRITE_TIMEOUT * 2, "{:?}", started.elapsed());
    drop(server);
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sends_long_response_to_client_that_reads_at_minimum_rate() {
    let second = usize::try_from(MIN_WRITE_RATE).unwrap();
    let (mut client, server) = duplex(second);
    let phase = Phase::default();
    let mut server = TimedStream::new(server, phase.clone());
    phase.answering();
    phase.resting();
    let reading = tokio::spawn(async move {
        let mut read = vec![0; second];
        while client.read_exact(&mut read).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    // Longer than the idle timeout, which starts with the last byte.
    let seconds = IDLE_TIMEOUT.as_secs() * 2;
    for _ in 0..seconds {
        server.write_all(&vec![0; second]).await.unwrap();
        let mut nothing = [0; 1];
        assert!(server.read(&mut nothing).now_or_never().is_none(), "no timeout while it writes");
    }
    drop(server);
    reading.await.unwrap();
}

//! Responses that unauthenticated clients share, and what their reads leave to others.

use agentwrit_verify::Clock;
use tokio::time::timeout;

use super::{
    feed::{LONG, entries, read},
    *,
};
use crate::{
    feed::FeedResponse,
    limits::document::{Document, SMALL},
};

const OTHER_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));

impl TestServices {
    /// Takes more places for large responses than one client gets. What is still held was not displaced.
    fn fill_responses_of(&self, client: IpAddr) -> Vec<Document> {
        let pool = &self.services.pools.responses;
        (0..64).filter_map(|_| Document::new(vec![b'x'; 1 << 20].into(), pool, client)).collect()
    }

    async fn ask_as(&self, client: IpAddr, since: Option<u64>) -> Arc<FeedResponse> {
        self.services.feed.since(since, Duration::ZERO, client).await.unwrap()
    }
}

#[tokio::test]
async fn unchanged_snapshot_is_reused_for_two_seconds_with_its_own_iat() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let first = test.ask(None).await;
    let built = test.clock.now().seconds();
    for _ in 0..2 {
        test.clock.advance(Duration::from_secs(1));
        assert!(Arc::ptr_eq(&first, &test.ask(None).await));
    }
    assert_eq!(read(&first)["iat"], built);
    test.clock.advance(Duration::from_millis(1));
    assert_eq!(read(&*test.ask(None).await)["iat"], built + 2);
}

#[tokio::test]
async fn snapshot_is_built_anew_when_log_grew_entry_expired_or_clock_was_set_back() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let first = test.ask(None).await;
    test.log(10..11).await;
    let grown = test.ask(None).await;
    assert_eq!((entries(&read(&first)), entries(&read(&grown))), (10, 11));
    test.clock.advance(Duration::from_secs(3599));
    let last = test.ask(None).await;
    test.clock.advance(Duration::from_secs(1));
    let expired = test.ask(None).await;
    assert_eq!((entries(&read(&last)), entries(&read(&expired))), (11, 0));
    test.clock.set(test.clock.now().saturating_sub(Duration::from_secs(1)));
    assert!(!Arc::ptr_eq(&expired, &test.ask(None).await));
}

#[tokio::test]
async fn snapshot_is_held_while_client_that_requested_it_first_fills_its_share() {
    let test = TestServices::new().await;
    test.log(0..1000).await;
    let snapshot = test.ask(None).await;
    assert!(snapshot.document.text().len() > SMALL);
    let filled = test.fill_responses_of(CLIENT);
    assert!(filled.iter().any(|document| !document.is_held()), "its own responses displace each other");
    assert!(snapshot.document.is_held());
}

#[tokio::test]
async fn page_is_held_for_second_client_while_first_one_fills_its_share() {
    let test = TestServices::new().await;
    test.log(0..LONG).await;
    // One page of the store, one of memory.
    for since in [7, LONG - 1000] {
        let page = test.ask_as(CLIENT, Some(since)).await;
        assert!(Arc::ptr_eq(&page, &test.ask_as(OTHER_CLIENT, Some(since)).await));
        let _filled = test.fill_responses_of(CLIENT);
        assert!(page.document.is_held(), "since {since}");
    }
}

/// Two readers serve everything: were snapshot, page and count to occupy both, no login could be looked up meanwhile.
#[tokio::test(start_paused = true)]
async fn snapshot_old_page_and_agent_count_read_one_at_a_time_and_leave_a_reader_to_others() {
    let test = TestServices::new().await;
    test.log(0..LONG).await;
    let turn = test.services.pools.long_read().await;
    let second = Duration::from_secs(1);
    // The clock of these limits stands still while anything runs: they end when all wait.
    assert!(timeout(second, test.ask(None)).await.is_err());
    assert!(timeout(second, test.ask(Some(7))).await.is_err());
    assert!(timeout(second, test.services.active_agents.count()).await.is_err());
    assert!(test.services.ledger.read(|reader| Ok::<_, Error>(reader.latest_cursor()?)).await.is_ok());
    drop(turn);
    assert_eq!(entries(&read(&*test.ask(None).await)), 20_000);
    assert_eq!(read(&*test.ask(Some(7)).await)["to"], 4096);
    assert!(test.services.active_agents.count().await.is_ok());
}

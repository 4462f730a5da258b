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

impl Desk {
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
    let desk = Desk::new().await;
    desk.log(0..10).await;
    let first = desk.ask(None).await;
    let built = desk.clock.now().seconds();
    for _ in 0..2 {
        desk.clock.advance(Duration::from_secs(1));
        assert!(Arc::ptr_eq(&first, &desk.ask(None).await));
    }
    assert_eq!(read(&first)["iat"], built);
    desk.clock.advance(Duration::from_millis(1));
    assert_eq!(read(&*desk.ask(None).await)["iat"], built + 2);
}

#[tokio::test]
async fn snapshot_is_built_anew_when_log_grew_entry_expired_or_clock_was_set_back() {
    let desk = Desk::new().await;
    desk.log(0..10).await;
    let first = desk.ask(None).await;
    desk.log(10..11).await;
    let grown = desk.ask(None).await;
    assert_eq!((entries(&read(&first)), entries(&read(&grown))), (10, 11));
    desk.clock.advance(Duration::from_secs(3599));
    let last = desk.ask(None).await;
    desk.clock.advance(Duration::from_secs(1));
    let expired = desk.ask(None).await;
    assert_eq!((entries(&read(&last)), entries(&read(&expired))), (11, 0));
    desk.clock.set(desk.clock.now().saturating_sub(Duration::from_secs(1)));
    assert!(!Arc::ptr_eq(&expired, &desk.ask(None).await));
}

#[tokio::test]
async fn snapshot_is_held_while_client_that_requested_it_first_fills_its_share() {
    let desk = Desk::new().await;
    desk.log(0..1000).await;
    let snapshot = desk.ask(None).await;
    assert!(snapshot.document.text().len() > SMALL);
    let filled = desk.fill_responses_of(CLIENT);
    assert!(filled.iter().any(|document| !document.is_held()), "its own responses displace each other");
    assert!(snapshot.document.is_held());
}

#[tokio::test]
async fn page_is_held_for_second_client_while_first_one_fills_its_share() {
    let desk = Desk::new().await;
    desk.log(0..LONG).await;
    // One page of the store, one of memory.
    for since in [7, LONG - 1000] {
        let page = desk.ask_as(CLIENT, Some(since)).await;
        assert!(Arc::ptr_eq(&page, &desk.ask_as(OTHER_CLIENT, Some(since)).await));
        let _filled = desk.fill_responses_of(CLIENT);
        assert!(page.document.is_held(), "since {since}");
    }
}

/// Two readers serve everything: were snapshot, page and count to occupy both, no login could be looked up meanwhile.
#[tokio::test(start_paused = true)]
async fn snapshot_old_page_and_agent_count_read_one_at_a_time_and_leave_a_reader_to_others() {
    let desk = Desk::new().await;
    desk.log(0..LONG).await;
    let turn = desk.services.pools.long_read().await;
    let second = Duration::from_secs(1);
    // The clock of these limits stands still while anything runs: they end when all wait.
    assert!(timeout(second, desk.ask(None)).await.is_err());
    assert!(timeout(second, desk.ask(Some(7))).await.is_err());
    assert!(timeout(second, desk.services.active_agents.count()).await.is_err());
    assert!(desk.services.ledger.read(|reader| Ok::<_, Error>(reader.latest_cursor()?)).await.is_ok());
    drop(turn);
    assert_eq!(entries(&read(&*desk.ask(None).await)), 20_000);
    assert_eq!(read(&*desk.ask(Some(7)).await)["to"], 4096);
    assert!(desk.services.active_agents.count().await.is_ok());
}

//! Responses that unauthenticated clients share, and what their reads leave to others.

use agentwrit_verify::Clock;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{
    feed::{LONG, entries, read},
    *,
};
use crate::{
    feed::{FeedResponse, FeedUnavailable},
    limits::{
        document::{Document, DocumentBody, SMALL},
        fair_share::Account,
    },
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

/// Fills the pool of snapshots but for one and a half, with a document that is being read.
async fn leave_room_for_one_snapshot(test: &TestServices) -> DocumentBody {
    let pools = &test.services.pools;
    let length = test.ask(None).await.document.length();
    let rest = pools.capacity.large_responses / 2 - length * 3 / 2;
    test.clock.advance(Duration::from_secs(3));
    Document::new(vec![b'x'; rest].into(), &pools.snapshots, Account::Shared).unwrap().into()
}

fn read_chunk(body: &mut DocumentBody) -> Option<Vec<u8>> {
    let frame = body.frame().now_or_never().unwrap()?;
    Some(frame.expect("the document is held").into_data().unwrap().to_vec())
}

#[tokio::test]
async fn snapshot_that_client_reads_is_sent_to_others_and_not_displaced() {
    let test = TestServices::new().await;
    test.log(0..3000).await;
    let _filled = leave_room_for_one_snapshot(&test).await;
    let snapshot = test.ask_as(CLIENT, None).await;
    let mut body = DocumentBody::from(snapshot.document.clone());
    let mut received = read_chunk(&mut body).unwrap();
    for entry in 3000..3005 {
        test.clock.advance(Duration::from_secs(3));
        let other = test.ask_as(OTHER_CLIENT, None).await;
        assert!(Arc::ptr_eq(&snapshot, &other), "an unchanged log");
        drop(DocumentBody::from(other.document.clone()));
        test.log(entry..entry + 1).await;
        assert!(Arc::ptr_eq(&snapshot, &test.ask_as(OTHER_CLIENT, None).await), "a log that grew");
        received.extend(read_chunk(&mut body).unwrap());
    }
    // A follower continues from its end.
    assert_eq!(entries(&read(&*test.ask(Some(3000)).await)), 5);
    while let Some(chunk) = read_chunk(&mut body) {
        received.extend(chunk);
    }
    assert_eq!(received, snapshot.document.text().into_bytes());
    drop(body);
    assert_eq!(entries(&read(&*test.ask(None).await)), 3005);
    assert!(!snapshot.document.is_held(), "a snapshot that is not read makes room");
}

#[tokio::test]
async fn snapshot_that_client_reads_makes_room_when_followers_would_reject_it() {
    for set_back in [false, true] {
        let test = TestServices::new().await;
        test.log(0..1000).await;
        let _filled = leave_room_for_one_snapshot(&test).await;
        let snapshot = test.ask(None).await;
        let _body = DocumentBody::from(snapshot.document.clone());
        let built = test.clock.now();
        test.clock.set(built.saturating_add(Duration::from_secs(59)));
        assert!(Arc::ptr_eq(&snapshot, &test.ask_as(OTHER_CLIENT, None).await));
        let later = built.saturating_add(Duration::from_secs(60));
        test.clock.set(if set_back { built.saturating_sub(Duration::from_secs(1)) } else { later });
        let newer = test.ask_as(OTHER_CLIENT, None).await;
        assert!(!Arc::ptr_eq(&snapshot, &newer) && newer.document.is_held() && !snapshot.document.is_held());
    }
}

/// A snapshot that ends where the follower is would make it request the same again and again.
#[tokio::test]
async fn snapshot_that_client_reads_is_not_sent_to_follower_that_it_does_not_bring_further() {
    let test = TestServices::new().await;
    test.log(0..3000).await;
    let _filled = leave_room_for_one_snapshot(&test).await;
    let snapshot = test.ask(None).await;
    let body = DocumentBody::from(snapshot.document.clone());
    // The age of pages after this is not known.
    let right = test.clock.now();
    test.clock.set(right.saturating_add(Duration::from_secs(3600)));
    test.log(3000..4100).await;
    test.clock.set(right.saturating_add(Duration::from_secs(5)));
    let rejected = test.services.feed.since(Some(3000), Duration::ZERO, OTHER_CLIENT).await;
    assert_eq!(rejected.err(), Some(FeedUnavailable::Overloaded));
    assert!(Arc::ptr_eq(&snapshot, &test.ask(Some(2500)).await), "it brings others further");
    drop(body);
    assert_eq!(read(&*test.ask(Some(3000)).await)["to"], 4100);
}

#[tokio::test]
async fn shared_page_that_client_reads_is_not_displaced_by_other_pages() {
    let test = TestServices::new().await;
    test.log(0..LONG).await;
    let page = test.ask_as(CLIENT, Some(7)).await;
    let mut body = DocumentBody::from(page.document.clone());
    assert!(Arc::ptr_eq(&page, &test.ask_as(OTHER_CLIENT, Some(7)).await));
    let pools = &test.services.pools;
    let (whole, shared) = (pools.capacity.large_responses / 4, &pools.shared_responses);
    let larger = |length| Document::new(vec![b'x'; length].into(), shared, Account::Shared);
    assert!(larger(whole).is_none() && larger(whole / 2).is_some());
    while read_chunk(&mut body).is_some() {}
    // With no room among the shared pages, each client has its own.
    let _filled = DocumentBody::from(larger(whole - page.document.length() - 1).unwrap());
    let own = test.ask_as(CLIENT, Some(5000)).await;
    let others = test.ask_as(OTHER_CLIENT, Some(5000)).await;
    assert!(!Arc::ptr_eq(&own, &others) && own.document.is_held() && others.document.is_held());
}

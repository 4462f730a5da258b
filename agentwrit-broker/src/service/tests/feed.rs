//! Followers that fall behind get what they missed, page by page, at a bounded cost.

use agentwrit_verify::{
    Clock, Verifier,
    feed::{ClockReading, Feed, FeedError, Staleness},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::*;
use crate::{domain::Revocation, feed::FeedResponse};

/// More than are kept in memory.
pub(super) const LONG: u64 = 20_000;

impl TestServices {
    /// Writes entries into the log, as many ended tokens do.
    pub(super) async fn log(&self, targets: std::ops::Range<u64>) {
        let (feed, ledger) = (self.services.feed.clone(), Arc::clone(&self.services.ledger));
        let write = self.services.ledger.transact(move |tx| {
            let now = ledger.now();
            for target in targets {
                let revocation = Revocation {
                    level: Level::Token,
                    target: target.to_string(),
                    revoked_at: now,
                    expires_at: now.saturating_add(Duration::from_secs(3600)),
                    revoked_by: Subject::Admin,
                    reason: None,
                    listed: false,
                };
                feed.publish(tx, revocation)?;
            }
            Ok::<_, Error>(())
        });
        write.await.unwrap();
    }

    pub(super) async fn ask(&self, since: Option<u64>) -> Arc<FeedResponse> {
        self.services.feed.since(since, Duration::ZERO, CLIENT).await.unwrap()
    }

    fn follower(&self) -> Feed {
        Feed::new(self.services.issuer.name(), Staleness::default())
    }

    fn apply(&self, feed: &mut Feed, response: &FeedResponse) -> Result<(), FeedError> {
        feed.apply(&response.document.text(), &self.services.issuer.ring().published, ClockReading::of(&self.clock))
            .map(drop)
    }

    /// Another process on the same files.
    async fn restart(self) -> Self {
        self.services.ledger.store.clone().close().await;
        Self::open(self.directory, self.clock, |_| {}).await
    }
}

pub(super) fn read(response: &FeedResponse) -> Value {
    let payload = BASE64URL_NOPAD.decode(response.document.text().split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

pub(super) fn entries(response: &Value) -> usize {
    response["entries"].as_array().unwrap().len()
}

#[tokio::test]
async fn sends_pages_to_follower_behind_within_memory() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let mut feed = test.follower();
    test.apply(&mut feed, &*test.ask(None).await).unwrap();
    assert_eq!(feed.since(), Some(10));
    for second in 1..=4 {
        test.clock.advance(Duration::from_secs(1));
        test.log(second * 1000..second * 1000 + 1000).await;
    }
    test.clock.advance(Duration::from_secs(1));
    let (mut responses, mut received) = (0, 10);
    while feed.since() < Some(4010) {
        let response = test.ask(feed.since()).await;
        let payload = read(&response);
        assert_eq!(payload["from"].as_u64(), feed.since());
        assert!(entries(&payload) <= 1024);
        received += entries(&payload);
        test.apply(&mut feed, &response).unwrap();
        responses += 1;
    }
    assert_eq!((responses, received, feed.list().len()), (4, 4010, 4010));
}

#[tokio::test]
async fn follower_that_catches_up_stays_stale_until_last_page() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let mut feed = test.follower();
    test.apply(&mut feed, &*test.ask(None).await).unwrap();
    let verifier = Verifier::builder()
        .issuer(test.services.issuer.name())
        .keys(test.services.issuer.ring().published.clone())
        .revocations(feed.list().clone())
        .clock(test.clock.clone())
        .build();
    // The last of these is in force for a minute before the follower is back.
    test.log(10..3000).await;
    let agent = test.enrol("task", 3600).await;
    let claims = test.bearer(&agent.token);
    test.revoke(Level::Token, claims.token_id()).await;
    test.clock.advance(Duration::from_secs(60));
    assert!(verifier.verify(&agent.token).unwrap_err().is_unavailable());
    loop {
        let response = test.ask(feed.since()).await;
        let reaches_the_end = read(&response)["iat"].as_u64() == Some(test.clock.now().seconds());
        test.apply(&mut feed, &response).unwrap();
        if reaches_the_end {
            break;
        }
        let refused = verifier.verify(&agent.token).unwrap_err();
        assert!(refused.is_unavailable(), "{refused:?}");
    }
    assert!(matches!(verifier.verify(&agent.token), Err(VerifyError::Revoked { .. })));
}

#[tokio::test]
async fn sends_pages_of_store_to_follower_far_behind() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let mut feed = test.follower();
    test.apply(&mut feed, &*test.ask(None).await).unwrap();
    for start in [10, 10_000] {
        test.clock.advance(Duration::from_secs(1));
        test.log(start..10_000 * (start / 10_000 + 1)).await;
    }
    assert!(test.ask(None).await.tag.is_some());
    let mut responses = 0;
    while feed.since() < Some(LONG) {
        let response = test.ask(feed.since()).await;
        assert!(response.tag.is_none(), "{:?} got a snapshot", feed.since());
        test.apply(&mut feed, &response).unwrap();
        responses += 1;
    }
    assert!(responses <= 20, "{responses} responses");
    assert_eq!(feed.list().len(), 20_000);
}

#[tokio::test]
async fn continues_from_followers_cursor_after_restart() {
    let test = TestServices::new().await;
    test.log(0..3000).await;
    let mut feed = test.follower();
    test.apply(&mut feed, &*test.ask(None).await).unwrap();
    test.log(3000..3500).await;
    let test = test.restart().await;
    let response = test.ask(feed.since()).await;
    assert_eq!(entries(&read(&response)), 500);
    test.apply(&mut feed, &response).unwrap();
    assert_eq!((feed.since(), feed.list().len()), (Some(3500), 3500));
}

#[tokio::test]
async fn shares_page_among_followers_that_request_it() {
    let test = TestServices::new().await;
    test.log(0..30_000).await;
    // Of different cursors in one page of the store.
    let first = test.ask(Some(7)).await;
    for since in [1, 8, 4000] {
        assert!(Arc::ptr_eq(&first, &test.ask(Some(since)).await), "{since}");
    }
    assert_eq!(read(&first)["to"], 4096);
    let next = test.ask(Some(4096)).await;
    assert!(Arc::ptr_eq(&next, &test.ask(Some(5000)).await) && !Arc::ptr_eq(&first, &next));
    let recent = test.ask(Some(29_995)).await;
    assert!(Arc::ptr_eq(&recent, &test.ask(Some(29_995)).await));
    test.clock.advance(Duration::from_secs(3));
    assert!(!Arc::ptr_eq(&first, &test.ask(Some(7)).await));
}

#[tokio::test]
async fn builds_snapshot_when_its_first_client_hangs_up() {
    let test = TestServices::new().await;
    test.log(0..LONG).await;
    let hasty = test.services.feed.since(None, Duration::ZERO, CLIENT);
    assert!(futures_util::FutureExt::now_or_never(hasty).is_none(), "it takes a while");
    let waiting = tokio::join!(test.ask(None), test.ask(None));
    assert_eq!(entries(&read(&waiting.0)), 20_000);
    assert!(Arc::ptr_eq(&waiting.0, &waiting.1), "requests made before it began share one");
}

#[tokio::test]
async fn follower_requests_snapshot_when_page_is_older_than_its_list() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let mut feed = test.follower();
    test.apply(&mut feed, &*test.ask(None).await).unwrap();
    let before = test.clock.now();
    test.clock.set(before.saturating_sub(Duration::from_secs(30)));
    test.log(10..3000).await;
    test.clock.set(before.saturating_add(Duration::from_secs(5)));
    let page = test.ask(feed.since()).await;
    assert!(matches!(test.apply(&mut feed, &page), Err(FeedError::Replayed { .. })));
    assert_eq!(feed.since(), None);
    let snapshot = test.ask(feed.since()).await;
    test.apply(&mut feed, &snapshot).unwrap();
    assert_eq!((feed.since(), feed.list().len()), (Some(3000), 3000));
}

/// A mirror could serve such a page again and again: the follower would take itself for fresh without what is behind it.
#[tokio::test]
async fn page_before_entries_dated_ahead_does_not_carry_present_time() {
    // Beyond what is kept in memory, and within.
    for behind in [LONG, 3000] {
        for later in [0, 1] {
            let test = TestServices::new().await;
            test.log(0..10).await;
            let mut feed = test.follower();
            test.apply(&mut feed, &*test.ask(None).await).unwrap();
            let right = test.clock.now();
            test.clock.set(right.saturating_add(Duration::from_secs(3600)));
            test.log(10..behind).await;
            test.clock.set(right.saturating_add(Duration::from_secs(60)));
            test.log(behind..behind + later).await;
            let response = test.ask(feed.since()).await;
            let (payload, now) = (read(&response), test.clock.now().seconds());
            let (to, at) = (payload["to"].as_u64().unwrap(), payload["iat"].as_u64().unwrap());
            assert!(to == behind + later || at <= right.seconds(), "to {to} of {behind}, as of now: {}", at == now);
            test.apply(&mut feed, &response).unwrap();
            assert_eq!(feed.list().len() as u64, behind + later);
        }
    }
}

#[tokio::test]
async fn shares_response_among_long_polls_of_one_round() {
    let test = TestServices::new().await;
    test.log(0..10).await;
    let polls: Vec<_> = (0..20)
        .map(|_| {
            let services = Arc::clone(&test.services);
            tokio::spawn(async move { services.feed.since(Some(10), Duration::from_secs(20), CLIENT).await.unwrap() })
        })
        .collect();
    while test.services.feed.followers() < 20 {
        tokio::task::yield_now().await;
    }
    test.log(10..11).await;
    let mut responses = Vec::new();
    for poll in polls {
        responses.push(poll.await.unwrap());
    }
    assert!(responses.iter().all(|response| Arc::ptr_eq(response, &responses[0])));
    assert_eq!(entries(&read(&responses[0])), 1);
}

#[tokio::test]
async fn long_poll_woken_by_entry_gets_it_when_its_round_has_an_older_response() {
    let test = TestServices::new().await;
    test.log(0..3).await;
    let services = Arc::clone(&test.services);
    let follower =
        tokio::spawn(async move { services.feed.since(Some(3), Duration::from_secs(20), CLIENT).await.unwrap() });
    while test.services.feed.followers() < 1 {
        tokio::task::yield_now().await;
    }
    // Begins a round, to which the waiting request belongs.
    test.services.feed.since(Some(2), Duration::from_secs(1), CLIENT).await.unwrap();
    assert_eq!(entries(&read(&*test.ask(Some(3)).await)), 0);
    test.clock.advance(Duration::from_secs(5));
    test.log(3..4).await;
    let payload = read(&follower.await.unwrap());
    assert_eq!((entries(&payload), &payload["to"]), (1, &Value::from(4)));
    assert_eq!(payload["iat"], test.clock.now().seconds());
}

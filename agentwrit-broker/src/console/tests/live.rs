//! Pages that follow what happens, and the end of their session.

use super::{
    super::live::{LONGEST_WAIT, MAX_WAITING},
    *,
};
use crate::service::tests::verifiers;

const SITE: (&str, &str) = ("sec-fetch-site", "same-origin");
/// Seed of the key of `desk`.
const KEY: u8 = 1;
const REFRESH: (&str, &str) = ("agentwrit-refresh", "1");

impl Browser {
    /// Sends a request as the script of a page does.
    async fn refresh(&self, target: &str, newest: Option<&str>) -> Answer {
        let newest = newest.map(|newest| ("agentwrit-newest", newest));
        let headers: Vec<_> = [SITE, REFRESH].into_iter().chain(newest).collect();
        self.send(Method::GET, target, &headers, String::new()).await
    }

    /// Sends a report of an instance of `desk`, which applies everything.
    async fn report(&self, instance: u8, sequence: u64) {
        let report = verifiers::report(&self.services, "desk", instance, sequence);
        verifiers::send(&self.services, &report, KEY).await.unwrap();
    }

    /// Enrols `desk` with some instances, and revokes an agent. Returns the page of the confirmation.
    async fn revoke_for_verifier(&self, instances: u8) -> String {
        let key = data_encoding::BASE64.encode(verifiers::key(KEY).public_key().as_bytes());
        let fields = [("name", "desk"), ("public_key", key.as_str()), ("max_bound", "60")];
        assert_eq!(self.act("/console/verifiers", "/console/verifiers", &fields).await.status, 303);
        for instance in 1..=instances {
            self.report(instance, 1).await;
        }
        let agent = self.agent("reader", "task-1").await;
        let fields = [("level", "agent"), ("target", agent.as_str())];
        let done = self.act("/console/revoke", "/console/revoke", &fields).await;
        done.header("location").to_owned()
    }
}

/// Value of an attribute of the part that is refreshed.
fn attribute<'t>(page: &'t Answer, name: &str) -> Option<&'t str> {
    let (_, rest) = page.text.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

#[tokio::test]
async fn confirmation_is_answered_at_each_report() {
    let browser = Browser::signed_in().await;
    let page = browser.revoke_for_verifier(2).await;
    let pending = browser.get(&page).await;
    assert_eq!((attribute(&pending, "data-newest"), attribute(&pending, "data-refresh")), (Some("2.0.0"), Some("0.1")));
    let started = std::time::Instant::now();
    for (instance, version, shown) in [
        (1, "2.0.0", "Waiting for verifiers: 1 of 2 no longer accept it. The last one stops"),
        (2, "2.1.0", "no enrolled verifier accepts what was revoked"),
    ] {
        let reporting = async {
            while browser.services.confirmations.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            browser.report(instance, 2).await;
        };
        let (answer, ()) = tokio::join!(browser.refresh(&page, Some(version)), reporting);
        assert!(answer.text.contains(shown), "{}", answer.text);
        assert_eq!(attribute(&answer, "data-refresh"), (instance == 1).then_some("0.1"));
    }
    assert!(started.elapsed() < LONGEST_WAIT, "answered by the time limit");
}

#[tokio::test]
async fn page_asks_each_second_when_too_many_wait() {
    let browser = Browser::signed_in().await;
    let page = browser.revoke_for_verifier(1).await;
    let waiting = (0..MAX_WAITING).map(|_| browser.refresh(&page, Some("1.0.0")));
    let waiting = futures_util::future::join_all(waiting);
    let asking = async {
        while usize::try_from(browser.services.confirmations.waiting()).unwrap() < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let answer = browser.refresh(&page, Some("1.0.0")).await;
        browser.services.stopping.send_replace(true);
        answer
    };
    let (waited, answer) = tokio::join!(waiting, asking);
    assert_eq!((attribute(&answer, "data-refresh"), attribute(&answer, "data-newest")), (Some("1"), Some("1.0.0")));
    assert!(waited.iter().all(|page| attribute(page, "data-refresh") == Some("0.1")));
}

#[tokio::test]
async fn no_page_that_follows_keeps_session_alive() {
    let browser = Browser::signed_in().await;
    let confirmation = browser.revoke_for_verifier(1).await;
    // A version that the page no longer has is answered at once.
    let requests = [
        ("/console", None),
        ("/console/session", None),
        ("/console/verifiers", None),
        ("/console/audit", Some("0")),
        (confirmation.as_str(), Some("0.0.0")),
    ];
    browser.get("/console").await;
    let step = Duration::from_secs(60);
    for minute in 1..15 {
        browser.clock.advance(step);
        for (target, newest) in requests {
            assert_eq!(browser.refresh(target, newest).await.status, 200, "{target} after {minute} minutes");
        }
        let without_mark = [SITE, ("agentwrit-newest", "0")];
        let answer = browser.send(Method::GET, "/console/audit", &without_mark, String::new()).await;
        assert_eq!(answer.status, 200);
    }
    browser.clock.advance(step);
    for (target, newest) in requests {
        let answer = browser.refresh(target, newest).await;
        let location = answer.header("location");
        assert!(answer.status == 303 && location.ends_with("&ended=1"), "{target}: {location}");
    }
}

#[tokio::test]
async fn tells_seconds_until_session_ends() {
    let browser = Browser::signed_in().await;
    let left = async || browser.refresh("/console/session", None).await.text;
    assert_eq!(left().await, "900");
    browser.clock.advance(Duration::from_secs(100));
    assert_eq!((left().await, left().await), ("800".to_owned(), "800".to_owned()));
    let page = browser.get("/console/agents").await;
    assert!(page.text.contains("<body data-session=\"900\">"), "{}", page.text);
    assert_eq!(left().await, "900");
    // The session's token lives for 8 hours, and no session longer.
    for _ in 0..48 {
        browser.clock.advance(Duration::from_secs(590));
        browser.get("/console").await;
    }
    assert_eq!(left().await, (8 * 3600 - 100 - 48 * 590).to_string());
    browser.clock.advance(Duration::from_secs(380));
    assert_eq!(browser.get("/console/session").await.status, 303);
}

#[tokio::test]
async fn sign_in_page_says_that_session_has_ended() {
    let mut browser = Browser::signed_in().await;
    browser.clock.advance(IDLE_LIMIT);
    let answer = browser.get("/console/agents?task=task-1").await;
    let location = "/console/sign-in?next=%2Fconsole%2Fagents%3Ftask%3Dtask-1&ended=1";
    assert_eq!((answer.status, answer.header("location")), (303, location));
    let said = "The session has ended: 15 minutes passed without a request";
    assert!(browser.get(location).await.text.contains(said));
    let answer = browser.post("/console/apps", &[("name", "desk"), ("scopes", "read:data:x")]).await;
    assert!(answer.status == 401 && answer.text.contains("the session has ended; nothing was done"));
    // A browser that never signed in, or signed out, has no session that ended.
    browser.cookie = None;
    let answer = browser.get("/console/agents").await;
    assert_eq!(answer.header("location"), "/console/sign-in?next=%2Fconsole%2Fagents");
    assert!(!browser.get(answer.header("location")).await.text.contains(said));
}

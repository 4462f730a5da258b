//! Revocations by form, and the page that follows.

use super::*;

#[tokio::test]
async fn page_names_revocation_of_its_session_and_no_other() {
    let browser = Browser::signed_in().await;
    let (agent, alive) = (browser.agent("reader", "task-1").await, browser.agent("reader", "task-2").await);
    let fields = [("level", "agent"), ("target", agent.as_str())];
    let done = browser.act(&preview("agent", agent.as_str()), "/console/revoke", &fields).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let page = done.header("location").to_owned();
    let shown = browser.get(&page).await.text;
    assert!(shown.contains(&format!("agent {agent}")) && shown.contains("<strong>1 live token</strong>"), "{shown}");
    let events = format!("<a href=\"/console/agent?{}\">", crate::console::fields::query("id", agent.as_str()));
    assert!(shown.contains(&events), "{shown}");
    // No verifier reports: the page claims no confirmation.
    assert!(shown.contains("nothing confirms this") && !shown.contains("Confirmed after"), "{shown}");

    // What an address adds is not shown, and another place of the log is not certified.
    let forged = format!("{page}&level=agent&{}&count=999", crate::console::fields::query("target", alive.as_str()));
    let shown = browser.get(&forged).await.text;
    assert!(shown.contains(&format!("agent {agent}")) && !shown.contains("999") && !shown.contains(alive.as_str()));
    let (epoch, _) = page.rsplit_once('.').unwrap();
    let other = browser.get(&format!("{epoch}.0&level=agent&target=x&count=999")).await;
    assert_eq!(other.status, 200);
    assert!(other.text.contains("made no revocation at this place") && !other.text.contains("999"), "{}", other.text);
    assert!(!browser.is_revoked(&alive).await);

    // Another operator's session shows that the place is confirmed, and whose revocation it is tells the trail.
    let mut second = Browser { cookie: None, ..browser };
    assert_eq!(second.sign_in(SECRET).await.status, 303);
    assert!(second.get(&page).await.text.contains("made no revocation at this place"));
}

#[tokio::test]
async fn preview_tells_that_it_ends_the_session_of_the_operator() {
    let browser = Browser::signed_in().await;
    let agent = browser.agent("reader", "task-1").await;
    let text = "This ends your own session";
    assert!(browser.get(&preview("agent", "admin")).await.text.contains(text));
    assert!(browser.get(&preview("chain", "admin")).await.text.contains(text));
    let session = browser.services.ledger.read(|reader| {
        let page = crate::store::TokenPage { limit: 1, offset: 0, after: None };
        let subject = Some(Subject::Admin);
        let filter = crate::store::TokenFilter { subject, ..crate::store::TokenFilter::default() };
        Ok::<_, Error>(reader.tokens(&filter, &page)?.0[0].token.sid)
    });
    let session = session.await.unwrap().to_string();
    assert!(browser.get(&preview("token", &session)).await.text.contains(text));
    assert!(!browser.get(&preview("agent", agent.as_str())).await.text.contains(text));
}

fn preview(level: &str, target: &str) -> String {
    format!("/console/revoke?level={level}&{}", crate::console::fields::query("target", target))
}

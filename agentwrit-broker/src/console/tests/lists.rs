//! Lists that are longer than a page, and texts that have to come back as they were.

use agentwrit_protocol::DelegationRequest;

use super::*;
use crate::{
    domain::AppName,
    service::{Bearer, apps::NewApp},
};

async fn create_app(browser: &Browser, name: &str, scope: &str) -> String {
    let scopes = ScopeSet::parse([scope]).unwrap();
    let new = NewApp { name: AppName::parse(name).unwrap(), scopes, token_ttl: None, sender_constrained: false };
    browser.services.apps.create(None, new, CLIENT).await.unwrap().0.app_id.to_string()
}

#[tokio::test]
async fn form_of_app_keeps_scope_with_comma_and_rejects_commas_as_separators() {
    let browser = Browser::signed_in().await;
    let id = create_app(&browser, "desk", "read:doc:a,write:doc:b").await;
    let page = format!("/console/app?id={id}");
    let update = async |scopes: &str| {
        let fields = [("id", &*id), ("action", "update"), ("scopes", scopes), ("token_ttl", "600")];
        browser.act(&page, "/console/app", &fields).await
    };
    assert_eq!(update("read:doc:a,write:doc:b").await.status, 303);
    let apps = browser.services.apps.list(10, 0).await.unwrap().0;
    assert_eq!(apps[0].scopes, ScopeSet::parse(["read:doc:a,write:doc:b"]).unwrap());
    assert_eq!(apps[0].token_ttl, 600);
    let answer = update("read:doc:a, write:doc:b").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("separate scopes by spaces"), "{}", answer.text);
}

#[tokio::test]
async fn apps_are_shown_newest_first_page_by_page() {
    let browser = Browser::signed_in().await;
    for number in 0..102 {
        create_app(&browser, &format!("app-{number}"), "read:data:x").await;
    }
    let shown = |answer: &Answer| -> Vec<String> {
        let links = answer.text.split("/console/app?id=").skip(1);
        links.map(|rest| rest.split(['>', '<']).nth(1).unwrap().to_owned()).collect()
    };
    let first = browser.get("/console/apps").await;
    assert!(first.text.contains("102 apps"), "{}", first.text);
    let names = shown(&first);
    assert_eq!((names.len(), &*names[0], &*names[99]), (100, "app-101", "app-2"));
    // An app that is registered meanwhile moves nothing.
    create_app(&browser, "later", "read:data:x").await;
    let (_, next) = first.text.split_once("href=\"/console/apps?").unwrap();
    let second = browser.get(&format!("/console/apps?{}", next.split('"').next().unwrap())).await;
    assert_eq!(shown(&second), ["app-1", "app-0"]);
    assert!(!second.text.contains("Next page"));
    assert_eq!(shown(&browser.get("/console/apps?end=0").await), Vec::<String>::new());
    assert_eq!(shown(&browser.get("/console/apps?end=99999").await).len(), 100);
}

#[tokio::test]
async fn page_of_agent_shows_newest_tokens_and_says_how_many_there_are() {
    let browser = Browser::signed_in().await;
    let delegator = browser.agent_with_token("an-agent", "delegator").await;
    let delegate = browser.agent_with_token("an-agent", "delegate").await;
    let (from, to) = (bearer(&browser, &delegator.1), delegate.0.clone());
    let mut newest = String::new();
    for _ in 0..205 {
        let scope = ScopeSet::parse(["read:data:x"]).unwrap();
        let request = DelegationRequest { delegate_to: to.clone(), scope, ttl: Some(60) };
        let (issued, ..) = browser.services.delegations.delegate(from.clone(), request, CLIENT).await.unwrap();
        newest = bearer(&browser, &issued.access_token).token_id().to_string();
    }
    let page = browser.get(&format!("/console/agent?{}", crate::console::fields::query("id", to.as_str()))).await;
    assert!(page.text.contains(&newest));
    // Its own token, and those that it received.
    assert!(page.text.contains("200 of 206, the live ones first"), "{}", page.text);
    let of_delegator = crate::console::fields::query("id", delegator.0.as_str());
    let page = browser.get(&format!("/console/agent?{of_delegator}")).await;
    assert!(page.text.contains("200 of 205, the live ones first"));
    assert_eq!(page.text.matches("class=\"depth-1\"").count(), 200);
}

#[tokio::test]
async fn live_tokens_are_shown_before_newer_ones_that_ended() {
    let browser = Browser::signed_in().await;
    let (agent, token) = browser.agent_with_token("an-agent", "long-lived").await;
    let live = bearer(&browser, &token).token_id().to_string();
    let delegator = browser.agent_with_token("an-agent", "delegator").await;
    let from = bearer(&browser, &delegator.1);
    for _ in 0..201 {
        let scope = ScopeSet::parse(["read:data:x"]).unwrap();
        let request = DelegationRequest { delegate_to: agent.clone(), scope, ttl: Some(60) };
        let (issued, ..) = browser.services.delegations.delegate(from.clone(), request, CLIENT).await.unwrap();
        let received = bearer(&browser, &issued.access_token);
        browser.services.tokens.release(received, CLIENT).await.unwrap();
    }
    let page = browser.get(&format!("/console/agent?{}", crate::console::fields::query("id", agent.as_str()))).await;
    assert!(page.text.contains(&live), "{}", page.text);
}

#[tokio::test]
async fn every_response_below_console_is_confined() {
    let browser = Browser::signed_in().await;
    for (method, target, status) in [
        (Method::GET, "/console/no-such-page", 404),
        (Method::GET, "/console/", 404),
        (Method::GET, "/console/assets/other.js", 404),
        (Method::PUT, "/console", 405),
        (Method::GET, "/console/sign-out", 405),
    ] {
        let answer = browser.send(method.clone(), target, &[("sec-fetch-site", "same-origin")], String::new()).await;
        assert_eq!(answer.status, status, "{method} {target}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{method} {target}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{method} {target}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{method} {target}");
    }
}

fn bearer(browser: &Browser, token: &str) -> Bearer {
    browser.services.verifier.verify_token(token).unwrap().into()
}

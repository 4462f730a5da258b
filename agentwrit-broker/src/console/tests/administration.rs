//! Trust rules, verifiers and keys; and what all forms and all routes have in common.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{http::router_with_pages, telemetry::metrics::Metrics};

const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

impl Browser {
    async fn app(&self) -> String {
        let fields = [("name", "desk"), ("scopes", "read:data:*")];
        let created = self.act("/console/apps", "/console/apps", &fields).await;
        let (_, rest) = created.text.split_once("/console/app?id=").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    async fn events(&self, event_type: EventType) -> Vec<String> {
        let trail = self.trail().await;
        trail.iter().filter(|event| event.event_type == event_type).map(|event| event.detail.clone()).collect()
    }
}

fn rule(app: &str) -> Vec<(&str, &str)> {
    vec![
        ("name", "ci"),
        ("app_id", app),
        ("kind", "oidc"),
        ("issuer", "https://ci.test"),
        ("jwks_url", "https://ci.test/keys"),
        ("audience", "agentwrit"),
        ("claims", "repository=acme/api\r\nrun:=74"),
        ("prefixes", "ref=refs/heads/"),
        ("scopes", "read:data:x"),
        ("max_ttl", "300"),
        ("task_template", "run-{run}"),
    ]
}

#[tokio::test]
async fn adds_trust_rule_and_removes_it_once_its_id_is_typed() {
    let browser = Browser::signed_in().await;
    let (page, app) = ("/console/trust-rules", browser.app().await);
    assert_eq!(browser.act(page, page, &rule(&app)).await.status, 303);
    let listed = browser.get(page).await;
    for shown in ["repository=acme/api", "run:=74", "ref=refs/heads/…", "https://ci.test/keys", "task run-{run}"] {
        assert!(listed.text.contains(shown), "{shown}: {}", listed.text);
    }
    let (_, rest) = listed.text.split_once(r#"name="id" value=""#).unwrap();
    let id = rest.split('"').next().unwrap();
    let remove = "/console/trust-rules/remove";
    for fields in [vec![("id", id)], vec![("id", id), ("confirm", "ci")]] {
        assert_eq!(browser.act(page, remove, &fields).await.status, 400);
    }
    assert!(browser.events(EventType::TrustRuleRemoved).await.is_empty());
    assert_eq!(browser.act(page, remove, &[("id", id), ("confirm", id)]).await.status, 303);
    assert!(!browser.get(page).await.text.contains(id));
    for event_type in [EventType::TrustRuleAdded, EventType::TrustRuleRemoved] {
        let events = browser.events(event_type).await;
        assert!(events.len() == 1 && events[0].contains("via=console"), "{events:?}");
    }
}

#[tokio::test]
async fn rejects_trust_rule_that_the_api_rejects() {
    let browser = Browser::signed_in().await;
    let (page, app) = ("/console/trust-rules", browser.app().await);
    for (name, value, status) in [
        ("name", "CI", 400),
        ("app_id", "app-unknown-000000000000", 400),
        ("kind", "saml", 400),
        ("jwks", "{\"keys\":[]}", 400), // beside the URL
        ("jwks", "keys", 400),
        ("claims", "repository", 400),
        ("claims", "run:=x", 400),
        ("claims", "ref=refs/heads/main", 400), // also a prefix
        ("scopes", "", 400),
        ("max_ttl", "0", 400),
        ("max_ttl", "soon", 400),
    ] {
        let mut fields: Vec<_> = rule(&app).into_iter().filter(|(other, _)| *other != name).collect();
        fields.push((name, value));
        let answer = browser.act(page, page, &fields).await;
        assert_eq!(answer.status, status, "{name}={value}: {}", answer.text);
    }
    assert!(browser.events(EventType::TrustRuleAdded).await.is_empty());
}

#[tokio::test]
async fn enrols_and_removes_verifier() {
    let browser = Browser::signed_in().await;
    let page = "/console/verifiers";
    for wrong in [("public_key", "AAAA"), ("name", "Desk!"), ("max_bound", "0")] {
        let fields = [wrong, ("name", "desk"), ("public_key", KEY), ("max_bound", "30")];
        assert_eq!(browser.act(page, page, &fields).await.status, 400, "{wrong:?}");
    }
    let fields = [("name", "desk"), ("public_key", KEY), ("max_bound", "30")];
    assert_eq!(browser.act(page, page, &fields).await.status, 303);
    assert!(browser.get(page).await.text.contains("Largest bound 30 s"));
    assert_eq!(browser.act(page, "/console/verifiers/remove", &[("name", "desks")]).await.status, 404);
    assert_eq!(browser.act(page, "/console/verifiers/remove", &[("name", "desk")]).await.status, 303);
    for event_type in [EventType::VerifierEnrolled, EventType::VerifierRemoved] {
        let events = browser.events(event_type).await;
        assert!(events.len() == 1 && events[0].contains("via=console"), "{events:?}");
    }
}

#[tokio::test]
async fn retires_prepared_key() {
    let browser = Browser::signed_in().await;
    let keys = "/console/keys";
    assert_eq!(browser.act(keys, keys, &[("action", "prepare")]).await.status, 303);
    let listed = browser.get(keys).await;
    let (before, _) = listed.text.split_once(r#"name="action" value="retire""#).unwrap();
    let kid = before.rsplit_once(r#"name="kid" value=""#).unwrap().1.split('"').next().unwrap();
    assert_eq!(browser.act(keys, keys, &[("action", "retire"), ("kid", kid)]).await.status, 303);
    assert!(browser.get(keys).await.text.contains(r#"<span class="tag retired">retired</span>"#));
    assert!(browser.events(EventType::KeyRetired).await[0].contains("via=console"));
}

#[tokio::test]
async fn activates_prepared_key_early_if_forced() {
    let browser = Browser::signed_in().await;
    let keys = "/console/keys";
    browser.act(keys, keys, &[("action", "prepare")]).await;
    let listed = browser.get(keys).await;
    let (_, rest) = listed.text.split_once(r#"name="kid" value=""#).unwrap();
    let kid = rest.split('"').next().unwrap();
    let early = browser.act(keys, keys, &[("action", "activate"), ("kid", kid)]).await;
    assert_eq!(early.status, 409, "{}", early.text);
    assert_eq!(browser.act(keys, keys, &[("action", "activate"), ("kid", kid), ("force", "1")]).await.status, 303);
    assert!(browser.get(keys).await.text.contains(r#"<span class="tag retiring">retiring</span>"#));
}

/// Targets of all forms that change something.
fn form_targets() -> BTreeSet<String> {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/console");
    let mut targets = BTreeSet::new();
    for template in fs::read_dir(templates).unwrap() {
        let text = fs::read_to_string(template.unwrap().path()).unwrap();
        for form in text.split(r#"method="post" action=""#).skip(1) {
            targets.insert(form.split('"').next().unwrap().to_owned());
            let form = form.split("</form>").next().unwrap();
            let needs_token = !form.contains(r#"name="secret""#);
            assert_eq!(form.contains(r#"name="form_token""#), needs_token, "{form}");
        }
    }
    targets
}

#[tokio::test]
async fn rejects_every_form_without_token_of_its_session() {
    let mut browser = Browser::signed_in().await;
    let mut targets = form_targets();
    assert!(targets.remove("/console/sign-in") && targets.len() == 12, "{targets:?}");
    let other = browser.get("/console").await.form_token();
    browser.sign_in(SECRET).await;
    let before = browser.trail().await.len();
    for target in &targets {
        for fields in [vec![], vec![("form_token", "")], vec![("form_token", other.as_str())]] {
            let answer = browser.post(target, &fields).await;
            assert_eq!(answer.status, 403, "{target}: {}", answer.text);
        }
        let own = browser.get("/console").await.form_token();
        let body = super::super::fields::query("form_token", &own);
        let kind = ("content-type", "application/x-www-form-urlencoded");
        for site in [("sec-fetch-site", "same-site"), ("origin", "https://evil.test")] {
            let answer = browser.send(Method::POST, target, &[kind, site], body.clone()).await;
            assert_eq!(answer.status, 403, "{target} {site:?}");
        }
    }
    browser.cookie = None;
    for target in &targets {
        assert_eq!(browser.post(target, &[("form_token", other.as_str())]).await.status, 401, "{target}");
    }
    assert_eq!(browser.trail().await.len(), before);
}

/// Paths of the pages, their actions and assets.
fn console_paths() -> Vec<&'static str> {
    let source = include_str!("../mod.rs");
    source.split(".route(\"").skip(1).map(|route| route.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn measures_every_route_under_its_own_label() {
    let browser = Browser::start().await;
    let document: serde_json::Value = serde_json::from_str(include_str!("../../../openapi.json")).unwrap();
    let api = document["paths"].as_object().unwrap().keys().cloned();
    let paths: Vec<String> = api.chain(console_paths().into_iter().map(str::to_owned)).collect();
    for path in &paths {
        let target = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>();
        // A method that no route has is measured too, and waits for nothing.
        browser.send(Method::TRACE, &target.join("/"), &[], String::new()).await;
    }
    let text = browser.services.metrics.encode();
    let labels: BTreeSet<&str> = text
        .split("agentwrit_request_duration_seconds_count{endpoint=\"")
        .skip(1)
        .map(|line| line.split('"').next().unwrap())
        .collect();
    assert!(!labels.contains("other"), "more routes than MAX_ENDPOINT_LABELS: {}", paths.len());
    assert!(paths.iter().all(|path| labels.contains(path.as_str())), "{labels:?} {paths:?}");
    assert!(paths.len() + 8 < Metrics::MAX_ENDPOINT_LABELS, "{}: raise the limit before it is reached", paths.len());
}

#[tokio::test]
async fn serves_no_page_unless_console_is_on() {
    let mut browser = Browser::start().await;
    browser.router =
        router_with_pages(Arc::clone(&browser.services), Edge::for_tests(&browser.services), Router::new());
    for path in console_paths() {
        for method in [Method::GET, Method::POST] {
            let answer = browser.send(method, path, &[("sec-fetch-site", "same-origin")], String::new()).await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
}

#[tokio::test]
async fn request_that_follows_trail_waits_for_event_that_matches() {
    let browser = Browser::signed_in().await;
    let shown = browser.trail().await.last().unwrap().id.sequence().to_string();
    let headers = [("sec-fetch-site", "same-origin"), ("agentwrit-refresh", "1"), ("agentwrit-newest", shown.as_str())];
    let following = browser.send(Method::GET, "/console/audit?type=agent_registered", &headers, String::new());
    let acting = async {
        browser.app().await;
        browser.agent("reader", "task-1").await
    };
    let (followed, agent) = tokio::join!(following, acting);
    assert_eq!(followed.status, 200);
    assert!(followed.text.contains(agent.as_str()), "{}", followed.text);

    // The broker does not wait for it when it stops.
    browser.services.stopping.send_replace(true);
    let newest = browser.trail().await.last().unwrap().id.sequence().to_string();
    let headers = [("sec-fetch-site", "same-origin"), ("agentwrit-newest", newest.as_str())];
    assert_eq!(browser.send(Method::GET, "/console/audit", &headers, String::new()).await.status, 200);
}

#[tokio::test]
async fn request_that_follows_trail_gets_no_page_after_its_session_ended() {
    let browser = Browser::signed_in().await;
    let token = browser.get("/console").await.form_token();
    let shown = browser.trail().await.last().unwrap().id.sequence().to_string();
    let headers = [("sec-fetch-site", "same-origin"), ("agentwrit-newest", shown.as_str())];
    let following = browser.send(Method::GET, "/console/audit", &headers, String::new());
    let ending = async {
        browser.post("/console/sign-out", &[("form_token", token.as_str())]).await;
        browser.agent("reader", "task-1").await;
    };
    let (followed, ()) = tokio::join!(following, ending);
    assert_eq!(followed.status, 401);
    assert!(!followed.text.contains("task-1"));
}

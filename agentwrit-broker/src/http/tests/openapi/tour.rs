//! A tour of the API that meets every documented answer.

use agentwrit_protocol::limits::MAX_BODY;
use agentwrit_verify::{
    AppId, FeedCursor, KeySet, Subject, issue,
    report::{InstanceId, Report, ReportedBound, VerifierName},
};
use axum::{body::Body, extract::Request};
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use super::{
    document::Operation,
    filled,
    walk::{ADMIN_SECRET, Walk},
};
use crate::{
    domain::Digest,
    limits::budgets::{Spending, Spent},
};

/// Callers of the tour.
struct Cast {
    admin: String,
    app: String,
    app_id: String,
    client_id: String,
    client_secret: String,
    agent: String,
    agent_id: String,
    other_agent_id: String,
}

const SCOPES: [&str; 2] = ["read:data:*", "write:notes:P-1"];

pub(super) async fn everything(walk: &Walk) {
    for path in ["/v1/health", "/v1/metrics", "/v1/openapi.json", "/v1/challenge", "/.well-known/jwks.json"] {
        assert_eq!(walk.call("get", path, None, None).await.status, 200);
    }
    let cast = introduce(walk).await;
    refuse_everybody(walk, &cast).await;
    refuse_bad_requests(walk, &cast).await;
    registrations(walk, &cast).await;
    tokens(walk, &cast).await;
    budgets(walk, &cast).await;
    lists(walk, &cast).await;
    revocations(walk, &cast).await;
    verifiers(walk, &cast).await;
    trust_rules(walk, &cast).await;
    apps(walk, &cast).await;
    keys(walk, &cast).await;
    logins(walk, &cast).await;
}

async fn introduce(walk: &Walk) -> Cast {
    let admin = walk.call("post", "/v1/admin/auth", None, Some(json!({"secret": ADMIN_SECRET}))).await;
    let admin = admin.text("access_token");
    let new_app = json!({"name": "front-desk", "scopes": SCOPES, "token_ttl": 600});
    let created = walk.call("post", "/v1/admin/apps", Some(&admin), Some(new_app)).await;
    let (client_id, client_secret) = (created.text("client_id"), created.text("client_secret"));
    let credentials = json!({"client_id": client_id, "client_secret": client_secret});
    let app = walk.call("post", "/v1/app/auth", None, Some(credentials)).await.text("access_token");
    let (agent, agent_id) = enrol(walk, &app).await;
    let (_, other_agent_id) = enrol(walk, &app).await;
    Cast { admin, app, app_id: created.text("app_id"), client_id, client_secret, agent, agent_id, other_agent_id }
}

/// A new agent of the app: its token and its id.
async fn enrol(walk: &Walk, app: &str) -> (String, String) {
    let policy = json!({"agent_name": "reader", "allowed_scope": SCOPES, "ttl": 60, "task_id": "task-1"});
    let issued = walk.call("post", "/v1/app/launch-tokens", Some(app), Some(policy)).await;
    let body = registration(walk, &issued.text("launch_token"), &SCOPES).await;
    let registered = walk.call("post", "/v1/register", None, Some(body)).await;
    (registered.text("access_token"), registered.text("agent_id"))
}

async fn registration(walk: &Walk, launch_token: &str, scopes: &[&str]) -> Value {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let key = SigningKey::from_bytes(&seed);
    let nonce = walk.call("get", "/v1/challenge", None, None).await.text("nonce");
    let signature = key.sign(&HEXLOWER.decode(nonce.as_bytes()).unwrap());
    json!({
        "launch_token": launch_token, "nonce": nonce, "orch_id": "orch-1", "task_id": "task-1",
        "public_key": BASE64.encode(key.verifying_key().as_bytes()),
        "signature": BASE64.encode(&signature.to_bytes()), "requested_scope": scopes,
    })
}

/// 401 and 403 of every guarded operation, with the scope that the document names.
async fn refuse_everybody(walk: &Walk, cast: &Cast) {
    for operation in walk.document.operations() {
        let Some(scopes) = operation.value["security"][0]["bearer"].as_array() else { continue };
        let path = filled(operation.path);
        for token in [None, Some("nonsense")] {
            let answer = walk.call(operation.method, &path, token, None).await;
            assert_eq!(answer.status, 401, "{operation}");
            assert!(answer.header("www-authenticate").is_some(), "{operation}");
        }
        if let [scope] = scopes.as_slice() {
            let answer = walk.call(operation.method, &path, Some(&cast.agent), None).await;
            assert_eq!(answer.status, 403, "{operation}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.ends_with(&format!("scope={scope}")), "{operation}: {challenge}");
        }
    }
}

/// 400 of every operation, for a query and for a body; 413 of those that change something; 404 of things that don't exist.
async fn refuse_bad_requests(walk: &Walk, cast: &Cast) {
    for operation in walk.document.operations() {
        let (path, token) = (filled(operation.path), token_for(&operation, cast));
        let answer = walk.call(operation.method, &format!("{path}?no-such=1"), token, None).await;
        assert_eq!(answer.status, 400, "{operation}");
        if operation.value["requestBody"].is_object() {
            // A member of a wrong type is rejected also if none is required.
            let required = operation.value["requestBody"]["required"] == true;
            let body = if required { json!({}) } else { json!({"reason": 1, "overlap": false}) };
            let answer = walk.call(operation.method, &path, token, Some(body)).await;
            assert_eq!(answer.status, 400, "{operation}");
        } else if operation.value["responses"]["400"].is_object() {
            let wrong = if path == "/v1/revocations" { "wait=26" } else { "limit=0" };
            let answer = walk.call(operation.method, &format!("{path}?{wrong}"), token, None).await;
            assert_eq!(answer.status, 400, "{operation}");
        }
        if operation.method != "get" {
            let answer = walk.call_raw(operation.method, &path, token, Some(vec![b' '; MAX_BODY + 1])).await;
            assert_eq!(answer.status, 413, "{operation}");
        }
        if operation.path.contains("{id}") || operation.path.contains("{kid}") {
            let body = json!({"scopes": SCOPES});
            assert_eq!(walk.call(operation.method, &path, token, Some(body)).await.status, 404, "{operation}");
        }
    }
    let ttl = |member: &str, mut body: Value| {
        body[member] = json!(0);
        body
    };
    let policy = json!({"agent_name": "reader", "allowed_scope": SCOPES});
    for (method, path, token, body) in [
        ("post", "/v1/delegate", &cast.agent, ttl("ttl", json!({"delegate_to": cast.agent_id, "scope": SCOPES}))),
        ("post", "/v1/admin/launch-tokens", &cast.admin, ttl("max_ttl", policy.clone())),
        ("post", "/v1/app/launch-tokens", &cast.app, ttl("ttl", policy)),
        ("post", "/v1/admin/apps", &cast.admin, ttl("token_ttl", json!({"name": "back-office", "scopes": SCOPES}))),
        ("put", "/v1/admin/apps/app-missing-000000", &cast.admin, json!({"token_ttl": 59})),
    ] {
        let answer = walk.call(method, path, Some(token), Some(body)).await;
        assert_eq!(answer.text("error_code"), "invalid_ttl", "{method} {path}");
    }
}

fn token_for<'c>(operation: &Operation<'_>, cast: &'c Cast) -> Option<&'c str> {
    let scopes = operation.value["security"][0]["bearer"].as_array()?;
    Some(match scopes.first().and_then(Value::as_str) {
        Some(scope) if scope.starts_with("admin:") => &cast.admin,
        Some(_) => &cast.app,
        None => &cast.agent,
    })
}

async fn registrations(walk: &Walk, cast: &Cast) {
    let policy = json!({"agent_name": "reader", "allowed_scope": ["read:data:*"], "max_ttl": 60, "orch_id": "orch-1"});
    let issued = walk.call("post", "/v1/admin/launch-tokens", Some(&cast.admin), Some(policy)).await;
    assert_eq!(issued.status, 201);
    let launch_token = issued.text("launch_token");
    let too_wide = registration(walk, &launch_token, &SCOPES).await;
    assert_eq!(walk.call("post", "/v1/register", None, Some(too_wide)).await.status, 403);
    let mut unsigned = registration(walk, &launch_token, &["read:data:x"]).await;
    unsigned["nonce"] = walk.call("get", "/v1/challenge", None, None).await.json()["nonce"].clone();
    assert_eq!(walk.call("post", "/v1/register", None, Some(unsigned)).await.status, 401);

    let beyond = json!({"agent_name": "reader", "allowed_scope": ["delete:data:*"]});
    assert_eq!(walk.call("post", "/v1/app/launch-tokens", Some(&cast.app), Some(beyond)).await.status, 403);
    let path = format!("/v1/admin/launch-tokens/{}", issued.text("launch_token_id"));
    assert_eq!(walk.call("delete", &path, Some(&cast.admin), None).await.status, 204);
}

async fn tokens(walk: &Walk, cast: &Cast) {
    let delegation = |scope: &str, to: &str| Some(json!({"delegate_to": to, "scope": [scope], "ttl": 30}));
    let path = "/v1/delegate";
    let granted = walk.call("post", path, Some(&cast.agent), delegation("read:data:x", &cast.other_agent_id)).await;
    assert_eq!(granted.status, 200);
    let delegated = granted.text("access_token");
    let second = walk.call("post", path, Some(&delegated), delegation("read:data:x", &cast.agent_id)).await;
    assert_eq!(second.json()["delegation_chain"].as_array().unwrap().len(), 2);
    let wider = walk.call("post", path, Some(&delegated), delegation("read:data:*", &cast.agent_id)).await;
    assert_eq!(wider.text("error_code"), "scope_violation");
    let by_app = walk.call("post", path, Some(&cast.app), delegation("app:agents:x", &cast.agent_id)).await;
    assert_eq!(by_app.status, 400, "the broker's own families are reserved");
    let by_app = walk.call("post", path, Some(&cast.app), delegation("read:data:x", &cast.agent_id)).await;
    assert_eq!(by_app.text("error_code"), "insufficient_scope");
    let missing = cast.agent_id.rsplit_once('/').unwrap().0.to_owned() + "/0000000000000000";
    let unknown = walk.call("post", path, Some(&cast.agent), delegation("read:data:x", &missing)).await;
    assert_eq!(unknown.status, 404);

    for token in [&cast.admin, &cast.app, &cast.agent, &delegated, &second.text("access_token"), "nonsense"] {
        walk.call("post", "/v1/token/validate", None, Some(json!({"token": token}))).await;
    }
    let renewed = walk.call("post", "/v1/token/renew", Some(&delegated), None).await;
    assert_eq!(renewed.status, 200);
    let again = walk.call("post", "/v1/token/renew", Some(&delegated), None).await;
    assert_eq!(again.text("detail"), "token renewal failed");
    let by_admin = walk.call("post", "/v1/token/renew", Some(&cast.admin), None).await;
    assert_eq!(by_admin.text("error_code"), "insufficient_scope");
    for _ in 0..2 {
        let released = walk.call("post", "/v1/token/release", Some(&renewed.text("access_token")), None).await;
        assert_eq!(released.status, 204);
    }
}

/// 429 of everything that a credential can have written.
async fn budgets(walk: &Walk, cast: &Cast) {
    let (agent, _) = enrol(walk, &cast.app).await;
    let claims = walk.services.verifier.verify(&agent).unwrap();
    let app = Subject::App(AppId::parse(&cast.app_id).unwrap());
    let delegation = json!({"delegate_to": cast.agent_id, "scope": ["read:data:x"], "ttl": 30});
    let launch = json!({"agent_name": "reader", "allowed_scope": SCOPES, "ttl": 60, "single_use": false});
    let issued = walk.call("post", "/v1/app/launch-tokens", Some(&cast.app), Some(launch.clone())).await;
    let digest = Digest::of(issued.text("launch_token").as_bytes());
    let launch_token = walk.services.ledger.read(move |reader| reader.launch_token_by_digest(&digest)).await.unwrap();
    for (path, token, spending, body) in [
        ("/v1/token/renew", Some(&agent), Spending::renewal(&claims), None),
        ("/v1/delegate", Some(&agent), Spending::delegation(&claims), Some(delegation)),
        ("/v1/app/launch-tokens", Some(&cast.app), Spending::launch_token(&app), Some(launch)),
        ("/v1/register", None, Spending::registration(&launch_token.unwrap()), None),
    ] {
        // The clock is the real one: on a busy machine a budget may fill a little before the request is there.
        let mut refused = false;
        for _ in 0..20 {
            let body = if path == "/v1/register" {
                Some(registration(walk, &issued.text("launch_token"), &SCOPES).await)
            } else {
                body.clone()
            };
            while walk.services.tokens.budgets.spend(spending.clone()).map(Spent::keep).is_ok() {}
            refused |= walk.call("post", path, token.map(String::as_str), body).await.status == 429;
            if refused {
                break;
            }
        }
        assert!(refused, "{path}");
    }
}

async fn lists(walk: &Walk, cast: &Cast) {
    let entries = |page: &Value, name: &str| page[name].as_array().unwrap().len();
    for (path, token, name) in [
        ("/v1/admin/launch-tokens", &cast.admin, "launch_tokens"),
        ("/v1/app/agents", &cast.app, "agents"),
        ("/v1/admin/agents", &cast.admin, "agents"),
        ("/v1/admin/tokens", &cast.admin, "tokens"),
        ("/v1/app/audit/events", &cast.app, "events"),
        ("/v1/audit/events", &cast.admin, "events"),
    ] {
        let page = walk.call("get", path, Some(token), None).await.json();
        assert!(entries(&page, name) > 0, "{path}: {page:#}");
        let page = walk.call("get", &format!("{path}?limit=1"), Some(token), None).await.json();
        let next = page["next_cursor"].as_str().unwrap();
        let page = walk.call("get", &format!("{path}?limit=1&cursor={next}"), Some(token), None).await.json();
        assert_eq!(entries(&page, name), 1, "{path}: {page:#}");
    }
    let by_scope = "/v1/admin/agents?scope=read:data:x&task_id=task-1&orch_id=orch-1&state=all";
    let page = walk.call("get", &format!("{by_scope}&app_id={}", cast.app_id), Some(&cast.admin), None).await.json();
    assert!(entries(&page, "agents") > 0, "{page:#}");
    let of_subject = format!("/v1/admin/tokens?sub=app:{}&state=all", cast.app_id);
    let page = walk.call("get", &of_subject, Some(&cast.admin), None).await.json();
    assert!(entries(&page, "tokens") > 0, "{page:#}");
    let denied = "/v1/audit/events?outcome=denied&event_type=token_auth_failed&since=2026-01-01T00:00:00Z&limit=5";
    let page = walk.call("get", denied, Some(&cast.admin), None).await.json();
    assert!(entries(&page, "events") > 0, "{page:#}");
}

async fn revocations(walk: &Walk, cast: &Cast) {
    let (feed, keys) = ("/v1/revocations", "/.well-known/jwks.json");
    let revoke = |level: &str, target: &str| Some(json!({"level": level, "target": target, "reason": "a tour"}));
    for (level, target, known) in [
        ("agent", cast.other_agent_id.as_str(), true),
        ("chain", &cast.other_agent_id, true),
        ("task", "no-such-task", false),
        ("token", "00000000000000000000000000000000", false),
    ] {
        let answer = walk.call("post", "/v1/revoke", Some(&cast.admin), revoke(level, target)).await;
        assert_eq!(answer.json()["revoked"], known, "{level} {target}");
    }
    let dry_run = json!({"level": "task", "target": "task-1", "dry_run": true});
    assert_eq!(walk.call("post", "/v1/revoke", Some(&cast.admin), Some(dry_run)).await.json()["dry_run"], true);
    let waits = json!({"level": "agent", "target": cast.other_agent_id, "wait": 1});
    let done = walk.call("post", "/v1/revoke", Some(&cast.admin), Some(waits)).await;
    assert_eq!(done.json()["confirmation"]["state"], "confirmed", "no verifier is enrolled");
    let path = format!("/v1/revocations/{}/confirmation", done.text("cursor"));
    assert_eq!(walk.call("get", &format!("{path}?wait=0"), Some(&cast.admin), None).await.status, 200);
    let evidence = walk.call("get", &format!("{path}/evidence"), Some(&cast.admin), None).await;
    assert_eq!((evidence.status, evidence.text("cursor")), (200, done.text("cursor")));
    for unknown in ["0000000000000000.1".to_owned(), done.text("cursor") + "9", "no-cursor".to_owned()] {
        for of in ["confirmation", "confirmation/evidence"] {
            let path = format!("/v1/revocations/{unknown}/{of}");
            assert_eq!(walk.call("get", &path, Some(&cast.admin), None).await.status, 404, "{path}");
        }
    }
    let page = walk.call("get", "/v1/admin/revocations", Some(&cast.admin), None).await.json();
    assert!(page["total"].as_u64().unwrap() > 0, "{page:#}");

    let snapshot = walk.call("get", feed, None, None).await;
    assert!(snapshot.header("etag").is_some());
    let delta = walk.call("get", &format!("{feed}?since=1&wait=0"), None, None).await;
    assert_eq!(delta.header("etag"), None);
    for path in [feed, keys] {
        let tag = walk.call("get", path, None, None).await.header("etag").unwrap().to_owned();
        let request = Request::get(path).header("if-none-match", tag).body(Body::empty()).unwrap();
        let answer = walk.answer(request).await;
        assert_eq!(answer.status, 304, "{path}");
        walk.check(&walk.document.operation("get", path), path, None, &answer);
    }
}

/// Public key of RFC 8037, appendix A.2.
const ED25519_KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

async fn trust_rules(walk: &Walk, cast: &Cast) {
    let (list, admin) = ("/v1/admin/trust-rules", Some(cast.admin.as_str()));
    let issuer = "https://token.example";
    let rule = json!({
        "name": "ci", "app_id": cast.app_id, "kind": "oidc", "issuer": issuer, "audience": "agentwrit", "max_ttl": 60,
        "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": ED25519_KEY}]}, "allowed_scope": SCOPES,
        "claims": {"sub": {"prefix": "repo:acme/"}, "protected": {"equals": true}}, "task_template": "ci-{run_id}",
    });
    let with = |member: &str, value: Value| {
        let mut rule = rule.clone();
        rule[member] = value;
        Some(rule)
    };
    let added = walk.call("post", list, admin, Some(rule.clone())).await;
    assert_eq!(added.status, 201);
    assert_eq!(walk.call("post", list, admin, Some(rule.clone())).await.status, 409);
    assert_eq!(walk.call("post", list, admin, with("allowed_scope", json!(["write:all:*"]))).await.status, 403);
    assert_eq!(walk.call("post", list, admin, with("app_id", json!("app-none-000000"))).await.status, 404);
    assert_eq!(walk.call("post", list, admin, with("max_ttl", json!(0))).await.text("error_code"), "invalid_ttl");
    let page = walk.call("get", list, admin, None).await.json();
    assert_eq!((&page["total"], &page["trust_rules"][0]), (&json!(1), &added.json()), "{page:#}");

    let mut attested = registration(walk, "", &SCOPES).await;
    attested.as_object_mut().unwrap().remove("launch_token");
    attested["attestation"] = json!({"kind": "oidc", "token": "e30.e30.e30"});
    let refused = walk.call("post", "/v1/register", None, Some(attested)).await;
    assert_eq!((refused.status, refused.text("detail")), (401, "attestation failed".to_owned()));

    let one = format!("{list}/{}", added.text("trust_rule_id"));
    assert_eq!(walk.call("delete", &one, admin, None).await.status, 204);
    assert_eq!(walk.call("delete", &one, admin, None).await.status, 404);
}

async fn verifiers(walk: &Walk, cast: &Cast) {
    let (list, reports, admin) = ("/v1/admin/verifiers", "/v1/verifiers/reports", Some(cast.admin.as_str()));
    let key = issue::SigningKey::from_seed(&[7; 32]).unwrap();
    let public_key = BASE64.encode(key.public_key().as_bytes());
    let enrolment = json!({"name": "payments-api", "public_key": public_key, "max_bound": 60});
    assert_eq!(walk.call("post", list, admin, Some(enrolment.clone())).await.status, 201);
    assert_eq!(walk.call("post", list, admin, Some(enrolment)).await.status, 409);
    let small_order = json!({"name": "small", "public_key": BASE64.encode(&[0; 32])});
    assert_eq!(walk.call("post", list, admin, Some(small_order)).await.status, 400);
    let (end, true_at) = (walk.services.feed.end(), Some(walk.services.ledger.now()));
    let report = |sequence, verifier| Report {
        verifier: VerifierName::parse(verifier).unwrap(),
        audience: walk.services.issuer.name().to_owned(),
        issued_at: walk.services.ledger.now(),
        instance: InstanceId::from_bytes([1; 16]),
        sequence,
        applied: FeedCursor::new(&end.epoch, end.cursor).unwrap(),
        true_at,
        bound: ReportedBound::Seconds(30),
        key_set: None,
        drained: Some(0),
        leaving: false,
    };
    let send = async |report: Report| walk.call_raw("post", reports, None, Some(report.sign(&key).into_bytes())).await;
    let accepted = send(report(1, "payments-api")).await;
    assert_eq!((accepted.status, accepted.header("agentwrit-report-interval")), (204, Some("8")));
    assert_eq!(accepted.header("agentwrit-at-least"), Some(format!("{}.{}", end.epoch, end.cursor).as_str()));
    assert_eq!(send(report(1, "payments-api")).await.status, 409);
    assert_eq!(send(report(1, "other")).await.status, 401);
    let mut statuses = Vec::new();
    for sequence in 2..10 {
        statuses.push(send(report(sequence, "payments-api")).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    let page = walk.call("get", list, admin, None).await.json();
    assert_eq!(page["verifiers"][0]["instances"][0]["behind"], 0, "{page:#}");
    verifier_changes(walk, cast, |sequence, bound| {
        let instance = InstanceId::from_bytes([2; 16]);
        let applied = FeedCursor::new("another", 1).unwrap();
        Report { instance, applied, true_at: None, bound, ..report(sequence, "payments-api") }.sign(&key).into_bytes()
    })
    .await;
}

async fn verifier_changes(walk: &Walk, cast: &Cast, report: impl Fn(u64, ReportedBound) -> Vec<u8>) {
    let (one, admin) = ("/v1/admin/verifiers/payments-api", Some(cast.admin.as_str()));
    let change = async |body: Value| walk.call("put", one, admin, Some(body)).await;
    let send = async |report: Vec<u8>| walk.call_raw("post", "/v1/verifiers/reports", None, Some(report)).await;
    let rejected = send(report(1, ReportedBound::Unbounded)).await;
    assert_eq!(rejected.status, 400);
    assert_eq!(rejected.text("detail"), "bound is larger than the 60 s that the verifier may have");
    let changed = change(json!({"max_bound": "none"})).await.json();
    assert_eq!(changed.get("max_bound"), None, "{changed:#}");
    assert_eq!(send(report(2, ReportedBound::Unbounded)).await.status, 204);
    for seconds in [86_401, u64::MAX] {
        assert_eq!(send(report(3, ReportedBound::Seconds(seconds))).await.status, 400, "{seconds}");
    }
    for wrong in [json!({}), json!({"max_bound": 0}), json!({"max_bound": "any"}), json!({"public_key": "x"})] {
        assert_eq!(change(wrong.clone()).await.status, 400, "{wrong}");
    }
    let other = BASE64.encode(issue::SigningKey::from_seed(&[8; 32]).unwrap().public_key().as_bytes());
    let changed = change(json!({"public_key": other, "max_bound": 30})).await.json();
    assert_eq!((&changed["public_key"], &changed["max_bound"]), (&json!(other), &json!(30)));
    assert_eq!(send(report(3, ReportedBound::Seconds(30))).await.status, 401);

    assert_eq!(walk.call("delete", one, admin, None).await.status, 204);
    assert_eq!(walk.call("delete", one, admin, None).await.status, 404);
    assert_eq!(change(json!({"max_bound": 30})).await.status, 404);
    let page = walk.call("get", "/v1/admin/verifiers", admin, None).await.json();
    assert_eq!(page["verifiers"][0]["instances"].as_array().unwrap().len(), 2, "{page:#}");
    assert!(page["verifiers"][0]["removed_at"].is_string(), "{page:#}");
    for (id, status) in
        [("01".repeat(16), 409), ("02".repeat(16), 204), ("02".repeat(16), 404), ("unknown".into(), 404)]
    {
        let instance = format!("{one}/instances/{id}");
        assert_eq!(walk.call("delete", &instance, admin, None).await.status, status, "{id}");
    }
}

async fn apps(walk: &Walk, cast: &Cast) {
    let (list, one, admin) = ("/v1/admin/apps", format!("/v1/admin/apps/{}", cast.app_id), Some(cast.admin.as_str()));
    let taken = json!({"name": "front-desk", "scopes": SCOPES});
    assert_eq!(walk.call("post", list, admin, Some(taken)).await.status, 409);
    let narrower = json!({"scopes": ["read:data:x"]});
    assert_eq!(walk.call("put", &one, admin, Some(narrower)).await.status, 200);
    let escaped = walk.call("post", "/v1/token/renew", Some(&cast.agent), None).await;
    assert_eq!(escaped.text("error_code"), "scope_violation");
    assert_eq!(walk.call("get", &one, admin, None).await.status, 200);
    for body in [None, Some(json!({"overlap": 0}))] {
        let rotated = walk.call("post", &format!("{one}/rotate-secret"), admin, body).await;
        assert_eq!((rotated.status, rotated.text("client_id")), (200, cast.client_id.clone()));
    }
    for (action, status) in [("suspend", "suspended"), ("resume", "active"), ("suspend", "suspended")] {
        let answer = walk.call("post", &format!("{one}/{action}"), admin, None).await;
        assert_eq!((answer.status, answer.text("status")), (200, status.to_owned()));
    }
    for _ in 0..2 {
        assert_eq!(walk.call("delete", &one, admin, None).await.status, 200);
    }
    let gone = walk.call("get", &one, admin, None).await;
    assert!(gone.json()["deregistered_at"].is_string());
    assert_eq!(walk.call("get", &format!("{list}?limit=5&offset=0"), admin, None).await.json()["total"], 1);
}

async fn keys(walk: &Walk, cast: &Cast) {
    let (list, rotate, mut admin) = ("/v1/admin/keys", "/v1/admin/keys/rotate", cast.admin.clone());
    let first = walk.call("get", list, Some(&admin), None).await.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let change = |kid: &str, change: &str| format!("{list}/{kid}/{change}");
    let prepared = walk.call("post", list, Some(&admin), None).await;
    assert_eq!(prepared.status, 201);
    let second = prepared.text("kid");
    assert_eq!(walk.call("post", rotate, Some(&admin), Some(json!({"reason": "a tour"}))).await.status, 200);
    assert_eq!(walk.call("post", &change(&second, "activate"), Some(&admin), None).await.status, 409);
    let force = Some(json!({"force": true}));
    let active = walk.call("post", &change(&second, "activate"), Some(&admin), force).await;
    assert_eq!((active.status, active.text("state")), (200, "active".to_owned()));
    assert_eq!(walk.call("post", &change(&first, "retire"), Some(&admin), None).await.status, 409);
    let third = walk.call("post", list, Some(&admin), None).await.text("kid");
    assert_eq!(walk.call("post", &change(&third, "retire"), Some(&admin), None).await.status, 200);
    // It signed the token of this request.
    let withdrawn = walk.call("post", &change(&first, "withdraw"), Some(&admin), Some(json!({"wait": 0}))).await;
    // The instance of the removed verifier counts until it is fenced.
    assert_eq!(withdrawn.json()["confirmation"]["state"], "pending");
    assert_eq!(walk.call("get", list, Some(&admin), None).await.status, 401);
    let login = walk.call("post", "/v1/admin/auth", None, Some(json!({"secret": ADMIN_SECRET}))).await;
    admin = login.text("access_token");
    for _ in 1..KeySet::MAX_KEYS {
        let kid = walk.call("post", list, Some(&admin), None).await.text("kid");
        let force = Some(json!({"force": true}));
        assert_eq!(walk.call("post", &change(&kid, "activate"), Some(&admin), force).await.status, 200);
    }
    for path in [list, rotate] {
        assert_eq!(walk.call("post", path, Some(&admin), None).await.status, 409);
    }
}

async fn logins(walk: &Walk, cast: &Cast) {
    let app = json!({"client_id": cast.client_id, "client_secret": cast.client_secret});
    for (path, body) in [("/v1/admin/auth", json!({"secret": "wrong"})), ("/v1/app/auth", app)] {
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(walk.call("post", path, None, Some(body.clone())).await.status);
        }
        assert!(statuses.contains(&401) && statuses.contains(&429), "{path}: {statuses:?}");
    }
}

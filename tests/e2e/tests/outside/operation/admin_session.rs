//! The operator's session is kept between commands of `awrit`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use agentwrit_e2e::{ADMIN_SECRET, Broker, Run, awrit, payload, stable};
use axum::{
    Json, Router,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::{Value, json};

/// How often the operator has logged in.
async fn logins(broker: &Broker) -> u64 {
    let events = broker.events(&broker.admin_token().await, "event_type=admin_auth").await;
    events.len() as u64 - 1 // the one of this question
}

fn sessions(broker: &Broker) -> Vec<PathBuf> {
    let directory = broker.directory().join(".local/state/awrit/sessions");
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn kept_token(broker: &Broker) -> String {
    let [file] = sessions(broker).try_into().unwrap();
    let kept: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    kept["token"].as_str().unwrap().to_owned()
}

async fn with_environment(broker: &Broker, more: &[(&str, &str)], arguments: &[&str]) -> Run {
    let operator = [("AACTL_BROKER_URL", broker.url.as_str()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
    awrit(broker.directory(), &[&operator, more].concat(), arguments, "").await
}

#[tokio::test]
async fn many_commands_log_in_once() {
    let broker = Broker::start().await;
    for number in 0..30 {
        let task = format!("t-{number}");
        let register = ["agent", "register", "--orch-id", "o", "--task-id", &task, "--scopes", "read:data:x"];
        let run = broker.awrit(&register).await;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    }
    assert_eq!(logins(&broker).await, 1);
    let [file] = sessions(&broker).try_into().unwrap();
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&file.parent().unwrap().to_owned())), (0o600, 0o700));
    assert!(!fs::read_to_string(&file).unwrap().contains(ADMIN_SECRET));
}

#[tokio::test]
async fn commands_that_start_together_log_in_once() {
    let broker = Broker::start().await;
    let commands: Vec<_> = (0..20).map(|_| broker.awrit_command(&["app", "list"]).spawn().unwrap()).collect();
    for command in commands {
        let ended = command.wait_with_output().await.unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    assert_eq!(logins(&broker).await, 1);
}

#[tokio::test]
async fn rejected_session_causes_one_login() {
    let broker = Broker::start().await;
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    // Revoked by the operator.
    assert_eq!(broker.awrit(&["revoke", "--level", "agent", "--target", "admin", "--yes"]).await.code, 0);
    let revoked = kept_token(&broker);
    // A token of the same second as the revocation is revoked, too.
    let mut attempts = 0;
    while broker.awrit(&["app", "list"]).await.code != 0 {
        attempts += 1;
        assert!(attempts < 1000, "no login is accepted after the revocation");
    }
    assert_ne!(kept_token(&broker), revoked);

    // A broker with another key, at the same address.
    let (port, kept) = (broker.url.rsplit(':').next().unwrap().to_owned(), kept_token(&broker));
    let (_, directory) = broker.terminate().await;
    fs::remove_file(directory.path().join("signing.key")).unwrap();
    let broker = Broker::start_in(directory, &[("AA_PORT", &port)]).await;
    let before = logins(&broker).await;
    let run = broker.awrit(&["app", "list"]).await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_ne!(kept_token(&broker), kept);
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    // Each question of the test logs in, too.
    assert_eq!(logins(&broker).await - before, 2);
}

#[tokio::test]
async fn other_secret_does_not_reuse_session() {
    let broker = Broker::start().await;
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    let wrong = [("AACTL_BROKER_URL", broker.url.as_str()), ("AACTL_ADMIN_SECRET", "another-secret-than-that")];
    let run = awrit(broker.directory(), &wrong, &["app", "list"], "").await;
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stderr.contains("invalid credentials"), "{}", run.stderr);
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    assert_eq!(logins(&broker).await, 1, "the session of the right secret is still there");
}

#[tokio::test]
async fn logout_releases_token_and_removes_file() {
    let broker = Broker::start().await;
    broker.awrit(&["logout"]).await.is(0, "There is no session at <broker>.", "");
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    let token = kept_token(&broker);
    assert_eq!(broker.awrit(&["token", "validate", &token]).await.code, 0);
    // It needs no secret.
    let at = [("AACTL_BROKER_URL", broker.url.as_str())];
    awrit(broker.directory(), &at, &["logout"], "").await.is(0, "Logged out of <broker>.", "");
    assert!(sessions(&broker).is_empty());
    assert_eq!(broker.awrit(&["token", "validate", &token]).await.code, 3);
    broker.awrit(&["logout"]).await.is(0, "There is no session at <broker>.", "");
}

#[tokio::test]
async fn logout_releases_token_of_file_that_group_can_read() {
    let broker = Broker::start().await;
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    let token = kept_token(&broker);
    let [file] = sessions(&broker).try_into().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    broker.awrit(&["logout"]).await.is(
        0,
        "Logged out of <broker>.",
        "awrit: warning: other users of this machine could read or change the session file",
    );
    assert!(sessions(&broker).is_empty());
    assert_eq!(broker.awrit(&["token", "validate", &token]).await.code, 3);
}

#[tokio::test]
async fn logout_fails_when_file_holds_no_token() {
    let broker = Broker::start().await;
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    let [file] = sessions(&broker).try_into().unwrap();
    fs::write(&file, "{}").unwrap();
    let run = broker.awrit(&["logout"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("awrit: the session file was removed, but its token could not be released: "));
    assert!(run.stderr.contains("hint: `awrit revoke --level agent --target admin` ends every operator session\n"));
    assert!(sessions(&broker).is_empty());
}

#[tokio::test]
async fn logout_names_expiry_and_revocation_when_broker_is_unreachable() {
    let broker = Broker::start_with(&[("AA_ADMIN_TOKEN_TTL", "3600")]).await;
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    let token = kept_token(&broker);
    let jti = payload(&token)["jti"].as_str().unwrap().to_owned();
    let at = broker.url.clone();
    let (_, directory) = broker.terminate().await;
    let run = awrit(directory.path(), &[("AACTL_BROKER_URL", at.as_str())], &["logout"], "").await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    let hint = format!(
        "  hint: the session file was removed; its token stays valid until <time> (<when>) unless you run `awrit revoke \
         --level token --target {jti}`\n"
    );
    let complaint = stable(&run.stderr).replace("<jti>", &jti);
    assert!(complaint.starts_with("awrit: broker cannot be reached: ") && complaint.ends_with(&hint), "{complaint}");
}

#[tokio::test]
async fn logout_waits_for_command_that_logs_in() {
    let broker = Broker::start().await;
    assert_eq!(broker.awrit(&["app", "list"]).await.code, 0);
    let [file] = sessions(&broker).try_into().unwrap();
    let lock = fs::File::open(file.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    broker.awrit(&["logout", "--timeout", "1"]).await.is(
        1,
        "",
        "awrit: another awrit command has been logging in for more than <when>\n  hint: try again when it has ended",
    );
    assert_eq!(sessions(&broker), [file]);
    drop(lock);
    broker.awrit(&["logout"]).await.is(0, "Logged out of <broker>.", "");
}

#[tokio::test]
async fn keeps_no_session_when_disabled_or_impossible() {
    let broker = Broker::start().await;
    for _ in 0..2 {
        assert_eq!(broker.awrit(&["app", "list", "--no-session-cache"]).await.code, 0);
        assert_eq!(with_environment(&broker, &[("AACTL_NO_SESSION_CACHE", "1")], &["app", "list"]).await.code, 0);
        assert_eq!(with_environment(&broker, &[("XDG_STATE_HOME", "/dev/null")], &["app", "list"]).await.code, 0);
    }
    assert!(sessions(&broker).is_empty());
    assert_eq!(logins(&broker).await, 6);
    // A directory that others can write is not trusted.
    let state = broker.directory().join("state");
    fs::create_dir_all(state.join("awrit/sessions")).unwrap();
    fs::set_permissions(state.join("awrit/sessions"), fs::Permissions::from_mode(0o777)).unwrap();
    let at = state.to_str().unwrap();
    assert_eq!(with_environment(&broker, &[("XDG_STATE_HOME", at)], &["app", "list"]).await.code, 0);
    assert_eq!(fs::read_dir(state.join("awrit/sessions")).unwrap().count(), 0);
}

#[tokio::test]
async fn reports_wait_after_429_on_stderr() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let login = || async {
        if ASKED.fetch_add(1, Ordering::SeqCst) > 0 {
            return Json(json!({ "access_token": "x", "expires_in": 300, "token_type": "Bearer" })).into_response();
        }
        let problem = json!({
            "type": "urn:agentwrit:error:rate_limited", "title": "Too Many Requests", "status": 429,
            "detail": "too many requests", "instance": "/v1/admin/auth", "error_code": "rate_limited", "request_id": "r",
        });
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], Json(problem)).into_response()
    };
    let apps = || async { Json(json!({ "apps": [], "total": 0 })) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/admin/auth", post(login)).route("/v1/admin/apps", get(apps));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let directory = tempfile::tempdir().unwrap();
    let environment = [("AACTL_BROKER_URL", url.as_str()), ("AACTL_ADMIN_SECRET", ADMIN_SECRET)];
    let run = awrit(directory.path(), &environment, &["app", "list"], "").await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.starts_with("awrit: too many requests (429); trying again in 1."), "{}", run.stderr);
}

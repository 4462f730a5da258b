//! Guarantees to operators (issue 3, "exact weaknesses").

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use agentwrit_e2e::{ADMIN_SECRET, Agent, Broker, Registration, alter_database, assert_whole_chain};
use serde_json::json;

#[tokio::test]
async fn refuses_start_with_misspelt_tls_mode() {
    for mode in ["tsl", "TLS", "mTLS", "on", "true", "1", "https", " tls", "tls ", "strict"] {
        let stopped = Broker::refuses_to_start(&[("AA_TLS_MODE", mode)]).await;
        assert!(stopped.output.contains("AA_TLS_MODE") && !stopped.output.contains("listening"), "{mode:?}");
    }
    for (variable, value) in [("AA_TLS_MOD", "tls"), ("AA_TSL_MODE", "tls"), ("aa_tls_mode", "tls")] {
        let stopped = Broker::refuses_to_start(&[(variable, value)]).await;
        assert!(stopped.output.contains(variable) && stopped.output.contains("AA_TLS_MODE"), "{}", stopped.output);
    }
    // A certificate requires a TLS mode, and a TLS mode requires an existing certificate.
    let stopped = Broker::refuses_to_start(&[("AA_TLS_CERT", "cert.pem"), ("AA_TLS_KEY", "key.pem")]).await;
    assert!(stopped.output.contains("AA_TLS_MODE"), "{}", stopped.output);
    let stopped = Broker::refuses_to_start(&[("AA_TLS_MODE", "tls")]).await;
    assert!(stopped.output.contains("AA_TLS_CERT"), "{}", stopped.output);
    let named = [("AA_TLS_MODE", "tls"), ("AA_TLS_CERT", "missing.pem"), ("AA_TLS_KEY", "missing.pem")];
    assert!(Broker::refuses_to_start(&named).await.output.contains("missing.pem"));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn database_and_key_are_readable_by_owner_only() {
    let broker = Broker::start().await;
    broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    for entry in fs::read_dir(broker.directory()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let (_, directory) = broker.terminate().await;
    for file in ["data.db", "signing.key"] {
        let path = directory.path().join(file);
        for open in [0o644, 0o642, 0o604, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let stopped = Broker::run_in(directory.path(), &[], &[]).await;
            assert!(!stopped.status.success() && stopped.output.contains(file), "{open:o}: {}", stopped.output);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    Broker::start_in(directory, &[]).await;
}

#[tokio::test]
async fn refuses_start_with_corrupt_or_foreign_key_and_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("signing.key");
    let rsa = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    for text in ["", "nonsense", rsa, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let stopped = Broker::run_in(directory.path(), &[], &[]).await;
        assert!(!stopped.status.success() && stopped.output.contains("signing.key"), "{text:?}: {}", stopped.output);
        assert_eq!(fs::read_to_string(&key).unwrap(), text, "a key is never overwritten");
    }
}

#[tokio::test]
async fn audit_chain_continues_after_restarts_and_crashes() {
    let mut broker = Broker::start().await;
    let mut seen = Vec::new();
    for crash in [false, true, false, true] {
        let admin = broker.admin_token().await;
        broker.agent(&admin, &["read:data:x"]).await;
        broker.get("/v1/app/agents").bearer(&admin).await.problem(403, "insufficient_scope");
        let events = broker.events(&admin, "").await;
        assert_eq!(events[..seen.len()], seen, "what was shown stays");
        assert_whole_chain(&events);
        seen = events;
        let directory = if crash { broker.kill().await } else { broker.terminate().await.1 };
        broker = Broker::start_in(directory, &[]).await;
    }
    assert_whole_chain(&broker.events(&broker.admin_token().await, "").await);
}

#[tokio::test]
async fn writes_folded_denials_at_shutdown() {
    let broker = Broker::start().await;
    broker.get("/v1/audit/events").bearer("nonsense").await.problem(401, "unauthorized");
    let (_, directory) = broker.terminate().await;
    let broker = Broker::start_in(directory, &[]).await;
    let events = broker.events(&broker.admin_token().await, "event_type=token_auth_failed").await;
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn refuses_start_with_tampered_trail_unless_accepted() {
    for sql in [
        "UPDATE audit_events SET detail = 'nothing happened' WHERE seq = 3",
        "DELETE FROM audit_events WHERE seq = 3",
        "UPDATE audit_events SET at = at + 1 WHERE seq = 4",
        "UPDATE audit_events SET agent = NULL WHERE seq = 2",
        "UPDATE audit_events SET hash = zeroblob(32) WHERE seq = 3",
    ] {
        let broker = Broker::start().await;
        let admin = broker.admin_token().await;
        broker.agent(&admin, &["read:data:x"]).await;
        let (_, directory) = broker.terminate().await;
        alter_database(directory.path(), sql);
        let stopped = Broker::run_in(directory.path(), &[], &[]).await;
        assert!(!stopped.status.success() && stopped.output.contains("--accept-broken-audit"), "{}", stopped.output);
        assert!(stopped.output.contains("evt-00000"), "{sql}: it says where: {}", stopped.output);

        let breaks = Broker::breaks_of_trail(directory.path()).await;
        let broker = Broker::start_with_arguments(directory, &[], &["--accept-broken-audit", &breaks]).await;
        broker.admin_token().await;
    }
}

#[tokio::test]
async fn no_secret_is_on_disk_in_log_or_in_trail() {
    let broker = Broker::start_with(&[("AA_LOG_LEVEL", "trace")]).await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let registration: Registration = broker.registration(&admin, &["read:data:*"]).await;
    let registered = broker.post("/v1/register").json(&registration.0).await.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let agent = Agent { id: text(&registered["agent_id"]), token: text(&registered["access_token"]) };
    let delegated = broker.delegated(&agent.token, &agent, &["read:data:x"]).await;
    let renewed = broker.renewed(&delegated).await;
    let app_renewed = broker.renewed(&app_token).await;
    let unused = broker.launch_token(&admin, &["read:data:x"]).await;
    for wrong in [format!("{renewed}x"), unused.clone(), app.client_secret.clone()] {
        broker.get("/v1/audit/events").bearer(&wrong).await.problem(401, "unauthorized");
        broker.post("/v1/token/validate").json(&json!({"token": wrong})).await;
        broker.post("/v1/token/renew").bearer(&wrong).await.problem(401, "unauthorized");
        broker.post("/v1/admin/auth").json(&json!({"secret": wrong})).await;
    }
    broker.post("/v1/register").json(&registration.0).await.problem(401, "unauthorized");
    broker.release(&renewed).await;
    broker.renew(&renewed).await.problem(401, "unauthorized");

    let forger_key = fs::read_to_string(broker.directory().join("signing.key")).unwrap();
    let key: String = forger_key.lines().filter(|line| !line.starts_with('-')).collect();
    let mut secrets = vec![
        ADMIN_SECRET.to_owned(),
        admin.clone(),
        app.client_secret,
        app_token,
        app_renewed,
        agent.token,
        delegated,
        renewed,
        unused,
        text(&registration.0["launch_token"]),
        text(&registration.0["signature"]),
    ];
    // Without the signature a token is no token; with it, it is one.
    let signatures: Vec<String> =
        secrets.iter().filter_map(|secret| Some(secret.rsplit_once('.')?.1.to_owned())).collect();
    secrets.extend(signatures);
    let events = broker.events(&admin, "").await;
    for secret in &secrets {
        assert!(!broker.files_hold(secret.as_bytes()), "`{secret}` is on the disk");
    }
    // Spent nonces are stored as bytes; the key is in a file of its own.
    secrets.extend([text(&registration.0["nonce"]), key]);
    let (stopped, directory) = broker.terminate().await;
    for secret in &secrets {
        assert!(!stopped.output.contains(secret.as_str()), "`{secret}` is in the log");
        assert!(events.iter().all(|event| !event.to_string().contains(secret.as_str())), "`{secret}` is in the trail");
        let database = fs::read(directory.path().join("data.db")).unwrap();
        assert!(!database.windows(secret.len()).any(|window| window == secret.as_bytes()), "`{secret}` is stored");
    }
}

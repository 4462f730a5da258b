//! Destructive commands of `awrit` where no question can be asked: refused without `--yes`.

use std::fs;

use agentwrit_e2e::{Broker, stable};

#[tokio::test]
async fn refuses_destructive_commands_without_yes_when_stdin_is_no_terminal() {
    let broker = Broker::start().await;
    let register = ["app", "register", "--name", "desk", "--scopes", "read:data:*", "--json"];
    let app = broker.awrit(&register).await.json()["app_id"].as_str().unwrap().to_owned();
    let create = ["launch-token", "create", "--name", "nightly", "--scopes", "read:data:*", "--ttl", "600", "--json"];
    let launch = broker.awrit(&create).await.json()["launch_token_id"].as_str().unwrap().to_owned();
    let subject = format!("app:{app}");
    let config = broker.directory().join("config");
    fs::write(&config, "ADMIN_SECRET=the-secret-of-before\n").unwrap();
    fs::write(broker.directory().join("keys.json"), "what was there").unwrap();
    let destructive = [
        &["app", "remove", "--id", &app][..],
        &["launch-token", "delete", &launch],
        &["revoke", "--level", "agent", "--target", &subject],
        &["init", "--config-path", "config", "--force"],
        &["keys", "export", "--output", "keys.json"],
        &["revocations", "export", "--output", "keys.json"],
        &["audit", "export", "--output", "keys.json"],
    ];
    for arguments in destructive {
        for reply in ["", "y\n"] {
            let run = broker.awrit_with(arguments, reply).await;
            assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}: {}", run.stderr);
            assert!(run.stderr.contains("not confirmed, nothing was done: "), "{arguments:?}: {}", run.stderr);
        }
    }
    let listed = broker.awrit(&["app", "get", &app, "--json"]).await.json();
    assert_eq!(listed["status"], "active");
    assert_eq!(broker.awrit(&["launch-token", "list", "--json"]).await.json()["total"], 1);
    assert_eq!(broker.awrit(&["revocations", "list", "--json"]).await.json()["total"], 0);
    assert_eq!(fs::read_to_string(&config).unwrap(), "ADMIN_SECRET=the-secret-of-before\n");
    assert_eq!(fs::read_to_string(broker.directory().join("keys.json")).unwrap(), "what was there");

    let refused = broker.awrit(&["app", "remove", "--id", &app]).await;
    assert_eq!(
        stable(&refused.stderr).trim_end(),
        "awrit: not confirmed, nothing was done: Deregister app-desk-<suffix>? This ends its tokens and unused launch \
         tokens at once. (stdin or stderr is not a terminal; --yes confirms)"
    );

    // The app itself goes last: revoking its tokens needs it to be known.
    for arguments in destructive.iter().rev() {
        let run = broker.awrit(&[arguments, &["--yes"][..]].concat()).await;
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    }
}

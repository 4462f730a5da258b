//! `awrit trust`, and `awrit agent register --attestation`.

use std::{path::Path, sync::Arc};

use agentwrit_e2e::{Broker, Run, awrit, stable};
use identity_provider::Algorithm;
use serde_json::json;

use crate::{
    issuer::{Issuer, SCOPE},
    workload::token_service,
};

/// Adds a rule for an app by `awrit`. Returns the rule's id.
async fn add(broker: &Broker, issuer: &Issuer) -> String {
    let app = broker.awrit(&["app", "register", "--name", "ci-jobs", "--scopes", SCOPE, "--json"]).await.json();
    let (url, keys) = (issuer.url(), issuer.provider.keys_url());
    let rule = broker
        .awrit(&[
            "trust",
            "add",
            "--name",
            "ci",
            "--app",
            app["app_id"].as_str().unwrap(),
            "--kind",
            "oidc",
            "--issuer",
            &url,
            "--jwks-url",
            &keys,
            "--audience",
            "agentwrit",
            "--claim",
            "repository=acme/api",
            "--claim-prefix",
            "ref=refs/heads/",
            "--scopes",
            SCOPE,
            "--max-ttl",
            "60",
            "--task-template",
            "run-{run_id}",
            "--orch-template",
            "{repository}",
            "--json",
        ])
        .await
        .json();
    assert_eq!(rule["claims"], json!({"repository": {"equals": "acme/api"}, "ref": {"prefix": "refs/heads/"}}));
    rule["trust_rule_id"].as_str().unwrap().to_owned()
}

/// Runs `awrit` without the admin secret.
async fn without_secret(broker: &Broker, variables: &[(&str, &str)], arguments: &[&str], stdin: &str) -> Run {
    let environment = [&[("AACTL_BROKER_URL", broker.url.as_str())], variables].concat();
    awrit(broker.directory(), &environment, arguments, stdin).await
}

const REGISTER: [&str; 5] = ["agent", "register", "--scopes", SCOPE, "--attestation"];

const REGISTERED: &str = "\
agent_id  spiffe://agentwrit.local/agent/acme-api/run-7/<instance>
scope  read:records:*
expires_at  <time> (<when>)
access_token  <jwt>";

#[tokio::test]
async fn adds_lists_and_removes_trust_rules() {
    let broker = Broker::start().await;
    broker.awrit(&["trust", "list"]).await.is(0, "There is no trust rule: `awrit trust add` adds one.", "");
    let issuer = Issuer::start(Algorithm::EdDsa);
    let rule = add(&broker, &issuer).await;
    let list = broker.awrit(&["trust", "list"]).await;
    assert_eq!((list.code, list.stderr.as_str()), (0, ""));
    let row = list.stdout.lines().nth(1).unwrap();
    for part in [rule.as_str(), "oidc", &issuer.url(), "agentwrit", "ref^=refs/heads/ repository=acme/api"] {
        assert!(row.contains(part), "`{part}` is not in {row}");
    }
    let listed = broker.awrit(&["trust", "list", "--json"]).await.json();
    assert_eq!((&listed["total"], &listed["trust_rules"][0]["trust_rule_id"]), (&json!(1), &json!(rule)));

    let unconfirmed = broker.awrit(&["trust", "remove", &rule]).await;
    assert_eq!(unconfirmed.code, 2, "{}", unconfirmed.stderr);
    let removed = broker.awrit(&["trust", "remove", &rule, "--yes"]).await;
    removed.is(0, &format!("Removed {rule}. Agents that it registered keep their tokens until they expire."), "");
    let again = broker.awrit(&["trust", "remove", &rule, "--yes"]).await;
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("(404)"), "{}", again.stderr);
}

#[tokio::test]
async fn adds_trust_rule_with_key_set_of_file() {
    let broker = Broker::start().await;
    let issuer = Issuer::start(Algorithm::Es256);
    let app = broker.awrit(&["app", "register", "--name", "mesh", "--scopes", SCOPE, "--json"]).await.json();
    let app = app["app_id"].as_str().unwrap();
    let mut jwk = issuer.key.jwk();
    jwk["use"] = json!("jwt-svid");
    let set = json!({"keys": [jwk]});
    write(broker.directory(), "jwks.json", &set.to_string());
    let arguments = |file: &'static str| {
        [
            "trust",
            "add",
            "--name",
            "mesh",
            "--app",
            app,
            "--kind",
            "spiffe",
            "--issuer",
            "spiffe://example.org",
            "--audience",
            "agentwrit",
            "--claim-prefix",
            "sub=spiffe://example.org/ns/",
            "--scopes",
            SCOPE,
            "--jwks",
            file,
            "--json",
        ]
    };
    let rule = broker.awrit(&arguments("jwks.json")).await.json();
    assert_eq!((&rule["jwks"], &rule["max_ttl"]), (&set, &json!(300)));
    let mut private = issuer.key.jwk();
    private["d"] = json!("secret");
    write(broker.directory(), "private.json", &json!({"keys": [private]}).to_string());
    let refused = broker.awrit(&arguments("private.json")).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("must not contain private keys"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("\"secret\""), "{}", refused.stderr);
}

#[tokio::test]
async fn registers_agent_with_assertion_of_file_variable_stdin_and_github() {
    let broker = Broker::start().await;
    let issuer = Arc::new(Issuer::start(Algorithm::Rs256));
    add(&broker, &issuer).await;

    write(broker.directory(), "token", &format!("{}\n", issuer.token()));
    let of_file = [&REGISTER[..], &["token", "--attestation-kind", "oidc"]].concat();
    without_secret(&broker, &[], &of_file, "").await.is(0, REGISTERED, "");

    let (token, variable) = (issuer.token(), "CI_ID_TOKEN");
    let of_variable = [&REGISTER[..], &["env:CI_ID_TOKEN", "--attestation-kind", "oidc"]].concat();
    without_secret(&broker, &[(variable, &token)], &of_variable, "").await.is(0, REGISTERED, "");

    let of_stdin = [&REGISTER[..], &["-", "--attestation-kind", "oidc"]].concat();
    without_secret(&broker, &[], &of_stdin, &issuer.token()).await.is(0, REGISTERED, "");

    let github = token_service(&issuer);
    let url = format!("{}/idtoken?api-version=2.0", github.url());
    let job = [("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-token")];
    let of_github = [&REGISTER[..], &["github", "--audience", "agentwrit"]].concat();
    without_secret(&broker, &job, &of_github, "").await.is(0, REGISTERED, "");
    let outside = without_secret(&broker, &[], &of_github, "").await;
    let expected = "awrit: no assertion to attest an agent with: `ACTIONS_ID_TOKEN_REQUEST_URL` is not set: the GitHub Actions \
                    job needs `permissions: id-token: write`";
    outside.is(1, "", expected);
}

#[tokio::test]
async fn refusal_describes_assertion_and_names_trail() {
    let broker = Broker::start().await;
    let issuer = Issuer::start(Algorithm::EdDsa);
    add(&broker, &issuer).await;
    let token = issuer.token_with(&json!({"aud": "other"}));
    let run = without_secret(
        &broker,
        &[("TOKEN", &token)],
        &[&REGISTER[..], &["env:TOKEN", "--attestation-kind", "oidc"]].concat(),
        "",
    )
    .await;
    assert_eq!(run.code, 1);
    let expected = "\
awrit: broker refused (401): attestation failed
  hint: the assertion is of issuer `<broker>`, for audience `other`, about `repo:acme/api:ref:refs/heads/main`, and expires \
                    <when>; the reason is in the trail: `awrit audit events --event-type attestation_failed`
  request id: <instance> (the broker's log has more)";
    assert_eq!(stable(run.stderr.trim_end()), expected);
    assert!(!run.stderr.contains(&token), "{}", run.stderr);
}

#[tokio::test]
async fn rejects_attestation_options_that_do_not_fit() {
    let broker = Broker::start().await;
    for (arguments, expected) in [
        (&["token"][..], "--attestation needs --attestation-kind"),
        (&["github"], "--attestation github needs --audience"),
        (&["token", "--attestation-kind", "saml"], "oidc, kubernetes or spiffe"),
        (&["token", "--attestation-kind", "oidc", "--audience", "a"], "--audience is for --attestation github"),
        (&["token", "--attestation-kind", "oidc", "--launch-token", "-"], "cannot be used with"),
        (&["env:", "--attestation-kind", "oidc"], "`env:NAME`"),
    ] {
        let run = without_secret(&broker, &[], &[&REGISTER[..], arguments].concat(), "").await;
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
    let without_ids = without_secret(&broker, &[], &["agent", "register", "--scopes", SCOPE], "").await;
    assert_eq!(without_ids.code, 2);
    assert!(without_ids.stderr.contains("--orch-id"), "{}", without_ids.stderr);
}

fn write(directory: &Path, file: &str, text: &str) {
    std::fs::write(directory.join(file), text).unwrap();
}

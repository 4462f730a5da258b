//! `awrit token inspect`, with the broker and without a network.

use agentwrit_e2e::{Broker, Run, awrit, stable, until_second};
use agentwrit_verify::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::token::token;

const CLAIMS: &str = "\
Claims of the token:

signed with  EdDSA <kid>
subject  spiffe://agentwrit.local/agent/reports/t1/<instance>
orchestration  reports
task  t1
scopes  read:data:sales
issuer  https://agentwrit.local
issued  <time> (<when>)
expires  <time> (<when>)
jti  <jti>
session  <jti>
";

/// Runs `awrit token inspect` with the key set in a file and an unreachable broker.
async fn offline(broker: &Broker, token: &str, more: &[&str]) -> Run {
    let nowhere = [("AACTL_BROKER_URL", "http://127.0.0.1:1")];
    let arguments = [&["token", "inspect", "-", "--jwks", "keys.json"], more].concat();
    awrit(broker.directory(), &nowhere, &arguments, token).await
}

async fn exported(broker: &Broker) {
    assert_eq!(broker.awrit(&["keys", "export", "--yes", "-o", "keys.json"]).await.code, 0);
    assert_eq!(broker.awrit(&["revocations", "export", "--yes", "-o", "feed.jwt"]).await.code, 0);
}

fn verdict(run: &Run, check: &str) -> String {
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    let checks = answer["checks"].as_array().unwrap();
    let found = checks.iter().find(|made| made["check"] == check).unwrap();
    format!("{} {}", found["verdict"].as_str().unwrap(), found["reason"].as_str().unwrap_or("-"))
}

#[tokio::test]
async fn reports_every_check_of_valid_token() {
    let broker = Broker::start().await;
    let token = token(&broker).await;
    let checks = "\
form  ok  a compact JWS with the claims of a token
key  ok  its `kid` names a key of <broker> (1 key)
signature  ok  Ed25519, by that key, over header and claims
issuer  ok  the revocation feed is of the same issuer
audience  ok  the token names none: every service that trusts the issuer may accept it
chain  ok  it was not delegated
times  ok  expires <when>
revocation  ok  none of the 0 entries of <broker> matches it, as of <time> (<when>)

valid";
    let run = broker.awrit(&["token", "inspect", &token]).await;
    run.is(0, &format!("{CLAIMS}\n{checks}"), "");
    assert!(!run.stdout.contains(token.rsplit('.').next().unwrap()), "the signature is not printed");

    exported(&broker).await;
    let with_feed = offline(&broker, &token, &["--revocations", "feed.jwt"]).await;
    with_feed.is(
        0,
        &format!("{CLAIMS}\n{}", checks.replacen("<broker>", "`keys.json`", 1).replace("<broker>", "`feed.jwt`")),
        "",
    );
    std::fs::write(broker.directory().join("token.txt"), &token).unwrap();
    let in_file = ["token", "inspect", "--file", "token.txt", "--json"];
    assert_eq!(broker.awrit(&in_file).await.json()["verdict"], "valid");
}

#[tokio::test]
async fn not_verified_without_feed_unless_requested() {
    let broker = Broker::start().await;
    let token = token(&broker).await;
    exported(&broker).await;
    let run = offline(&broker, &token, &[]).await;
    assert_eq!(run.code, 3);
    let text = stable(&run.stdout);
    let expected = "\
issuer  skipped  the token names `https://agentwrit.local`; require an issuer with --issuer
audience  ok  the token names none: every service that trusts the issuer may accept it
chain  ok  it was not delegated
times  ok  expires <when>
revocation  not made  give --revocations FILE, or --without-revocations to skip this check

not verified
";
    assert!(text.ends_with(expected), "{text}");
    let more = ["--without-revocations", "--issuer", "https://agentwrit.local"];
    let run = offline(&broker, &token, &more).await;
    assert_eq!(run.code, 0);
    assert!(run.stdout.ends_with("valid, as far as it was checked\n"), "{}", run.stdout);
}

#[tokio::test]
async fn each_check_fails_with_its_own_reason() {
    let broker = Broker::start_with(&[("AA_AUDIENCE", "https://records.example")]).await;
    let good = token(&broker).await;
    let other = Broker::start().await;
    exported(&broker).await;
    let feed = ["--revocations", "feed.jwt", "--json"];
    let with = |more: &'static [&str]| [&feed[..], more].concat();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", token(&broker).await.rsplit('.').next().unwrap());
    let foreign = token(&other).await;
    for (token, arguments, check, verdict_of_it) in [
        (&good, with(&[]), "audience", "skipped -"),
        (&good, with(&["--audience", "https://records.example"]), "audience", "ok -"),
        (&good, with(&["--audience", "https://billing.example"]), "audience", "fails wrong_audience"),
        (&good, with(&["--issuer", "https://other.example"]), "issuer", "fails wrong_issuer"),
        (&forged, with(&[]), "signature", "fails bad_signature"),
        (&foreign, with(&[]), "key", "fails unknown_key"),
        (&foreign, with(&[]), "signature", "not made -"),
        (&"a.b.c".to_owned(), with(&[]), "form", "fails malformed"),
    ] {
        let run = offline(&broker, token, &arguments).await;
        assert_eq!(verdict(&run, check), verdict_of_it, "{arguments:?}");
        assert_eq!(
            run.code,
            if verdict_of_it.starts_with("ok") || check == "audience" && verdict_of_it.starts_with("skipped") {
                0
            } else {
                3
            }
        );
    }
}

#[tokio::test]
async fn marks_claims_of_forged_token_as_unverified() {
    let broker = Broker::start().await;
    let good = token(&broker).await;
    let header = agentwrit_e2e::protected_header(&good);
    let mut payload = agentwrit_e2e::payload(&good);
    let encoded = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signature = good.rsplit('.').next().unwrap();
    payload["scope"] = json!(["write:data:*"]);
    let forged = format!("{}.{}.{signature}", encoded(&header), encoded(&payload));
    let run = broker.awrit(&["token", "inspect", &forged]).await;
    assert_eq!(run.code, 3);
    assert!(run.stdout.starts_with("Claims of the token (not verified):\n"), "{}", run.stdout);
    assert!(run.stdout.contains("signature   FAILS     the signature does not verify"), "{}", run.stdout);
    assert!(run.stdout.ends_with("\nnot valid\n"), "{}", run.stdout);
}

#[tokio::test]
async fn detects_revocation_only_in_feed_exported_after_it() {
    let broker = Broker::start().await;
    let token = token(&broker).await;
    exported(&broker).await;
    assert_eq!(broker.awrit(&["revoke", "--yes", "--level", "task", "--target", "t1"]).await.code, 0);
    let run = broker.awrit(&["token", "inspect", &token, "--json"]).await;
    assert_eq!((run.code, verdict(&run, "revocation").as_str()), (3, "fails revoked"));
    let before = offline(&broker, &token, &["--revocations", "feed.jwt", "--json"]).await;
    assert_eq!((before.code, verdict(&before, "revocation").as_str()), (0, "ok -"), "it is seconds old");
    let stale = ["--revocations", "feed.jwt", "--accept-stale-revocations"];
    let before = offline(&broker, &token, &stale).await;
    assert_eq!(before.code, 0);
    assert!(before.stdout.contains("\nrevocation  ok then   none of the 0 entries of `feed.jwt`"), "{}", before.stdout);
    assert!(before.stdout.ends_with("\nvalid, as far as it was checked\n"), "{}", before.stdout);
    exported(&broker).await;
    let after = offline(&broker, &token, &["--revocations", "feed.jwt"]).await;
    assert_eq!(after.code, 3);
    assert!(after.stdout.contains("revocation  FAILS     revoked by task\n"), "{}", after.stdout);
}

#[tokio::test]
async fn not_verified_when_feed_predates_token_or_is_stale() {
    let broker = Broker::start().await;
    exported(&broker).await;
    until_second(SystemClock.now().seconds() + 7).await;
    let young = token(&broker).await;
    let run = offline(&broker, &young, &["--revocations", "feed.jwt"]).await;
    assert_eq!(run.code, 3);
    let text = stable(&run.stdout);
    assert!(text.contains("revocation  not made  the snapshot is older than the token"), "{text}");
    assert!(text.ends_with("\n\nnot verified\n"), "{text}");

    // Later it is too old for any token.
    let old = token(&broker).await;
    exported(&broker).await;
    until_second(SystemClock.now().seconds() + 31).await;
    let text = stable(&offline(&broker, &old, &["--revocations", "feed.jwt"]).await.stdout);
    let expected = "not made  the revocation list is <when> old, at most <when> are allowed: export a new one, or give \
                    --accept-stale-revocations to verify with this one";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn rejects_malformed_feed_and_key_set() {
    let broker = Broker::start().await;
    let token = token(&broker).await;
    exported(&broker).await;
    for (feed, complaint) in [
        ("nonsense".to_owned(), "the revocation feed cannot be used: "),
        (token.clone(), "the revocation feed cannot be used: "),
    ] {
        std::fs::write(broker.directory().join("feed.jwt"), feed).unwrap();
        let run = offline(&broker, &token, &["--revocations", "feed.jwt"]).await;
        assert_eq!(run.code, 3);
        assert!(run.stdout.contains(complaint), "{}", run.stdout);
    }
    std::fs::write(broker.directory().join("keys.json"), "{}").unwrap();
    let run = offline(&broker, &token, &["--without-revocations"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("awrit: `keys.json`: "), "{}", run.stderr);
}

#[tokio::test]
async fn prints_delegation_chain_as_tree() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = json!({ "allowed_scope": ["read:data:*", "write:notes:*"], "max_ttl": 300 });
    let root = broker.enrol(&admin, "t1", launch.clone()).await;
    let middle = broker.enrol(&admin, "t2", launch.clone()).await;
    let leaf = broker.enrol(&admin, "t3", launch).await;
    let to_middle = broker.delegated(&root.token, &middle, &["read:data:*"]).await;
    let to_leaf = broker.delegated(&to_middle, &leaf, &["read:data:7"]).await;
    let run = broker.awrit(&["token", "inspect", &to_leaf]).await;
    let text = stable(&run.stdout);
    let tree = text.split("delegation\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let agent = |task: &str| format!("spiffe://agentwrit.local/agent/orch-1/{task}/<instance>");
    assert_eq!(
        tree,
        format!(
            "  {}  read:data:* write:notes:*\n  └─ {}  read:data:*\n  delegated <time>, no longer than <time>\n  └─ {}  \
             read:data:7\n  delegated <time>, no longer than <time>",
            agent("t1"),
            agent("t2"),
            agent("t3")
        )
    );
    assert!(text.contains("chain  ok  2 hops: hash, signatures, scopes and times"), "{text}");
    assert_eq!(run.code, 0);
}

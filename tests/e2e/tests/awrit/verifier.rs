//! `awrit verifier`.

use std::os::unix::fs::PermissionsExt;

use agentwrit_e2e::awrit;
use agentwrit_verify::issue::SigningKey;
use serde_json::json;

use crate::stub::Stub;

#[tokio::test]
async fn enrols_public_half_of_key_that_keygen_made() {
    let directory = tempfile::tempdir().unwrap();
    let keygen = ["verifier", "keygen", "--private-key", "verifier.pem"];
    let made = awrit(directory.path(), &[], &keygen, "").await;
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    let private = directory.path().join("verifier.pem");
    assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    let key = SigningKey::from_pkcs8_pem(&std::fs::read(&private).unwrap()).unwrap();
    let public_key = data_encoding::BASE64.encode(key.public_key().as_bytes());

    std::fs::write(directory.path().join("verifier.pub.pem"), &made.stdout).unwrap();
    let record = json!({ "name": "payments-api", "public_key": public_key, "max_bound": 30, "added_at": "2026-11-28T12:00:00Z" });
    let stub = Stub::default().always("POST /v1/admin/verifiers", 201, record);
    let add = ["verifier", "add", "payments-api", "--public-key", "verifier.pub.pem", "--max-bound", "30"];
    let added = stub.awrit(directory.path(), &add).await;
    assert_eq!(added.code, 0, "{}", added.stderr);
    let sent = &stub.received("POST /v1/admin/verifiers")[0].body;
    assert_eq!(*sent, json!({ "name": "payments-api", "public_key": public_key, "max_bound": 30 }));

    let again = awrit(directory.path(), &[], &keygen, "").await;
    again.is(1, "", "awrit: `verifier.pem`: File exists (os error 17)");
    assert_eq!(std::fs::read(&private).unwrap().len(), 119, "the first key is still there");
}

#[tokio::test]
async fn openssl_reads_private_key_and_makes_same_public_key() {
    let directory = tempfile::tempdir().unwrap();
    let made = awrit(directory.path(), &[], &["verifier", "keygen", "--private-key", "verifier.pem"], "").await;
    let openssl = std::process::Command::new("openssl")
        .args(["pkey", "-in", "verifier.pem", "-pubout"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr));
    assert_eq!(String::from_utf8(openssl.stdout).unwrap(), made.stdout);
}

#[tokio::test]
async fn rejects_private_key_and_malformed_name() {
    let directory = tempfile::tempdir().unwrap();
    awrit(directory.path(), &[], &["verifier", "keygen", "--private-key", "verifier.pem"], "").await;
    let stub = Stub::default();
    stub.awrit(directory.path(), &["verifier", "add", "payments-api", "--public-key", "verifier.pem"]).await.is(
        1,
        "",
        "awrit: `verifier.pem`: it holds a private key, which stays with the service; give the public half (`openssl pkey -pubout`)",
    );
    let run = stub.awrit(directory.path(), &["verifier", "add", "a/b", "--public-key", "verifier.pem"]).await;
    assert_eq!(run.code, 2);
}

#[tokio::test]
async fn lists_instances_and_removes_verifier() {
    let directory = tempfile::tempdir().unwrap();
    let instance = json!({
        "instance": "0a".repeat(16), "last_heard": "2026-11-28T14:03:10Z", "cursor": "9f2c.1840", "behind": 2,
        "bound": "none", "has_current_keys": false,
    });
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let record = |name: &str, instances: &[serde_json::Value]| json!({ "name": name, "public_key": key, "added_at": "2026-11-28T12:00:00Z", "instances": instances });
    let list = json!({ "verifiers": [record("batch-api", &[instance]), record("new-api", &[])], "total": 2 });
    let stub = Stub::default().always("GET /v1/admin/verifiers", 200, list).always(
        "DELETE /v1/admin/verifiers/batch-api",
        204,
        json!(null),
    );
    stub.awrit(directory.path(), &["verifier", "list"]).await.is(
        0,
        "\
VERIFIER  INSTANCE  LAST REPORT  BEHIND  BOUND  KEYS  CURSOR
batch-api  <jti>  <when>  2  none  old  9f2c.1840
new-api  -  never",
        "",
    );
    stub.awrit(directory.path(), &["verifier", "remove", "batch-api"]).await.is(
        2,
        "",
        "awrit: not confirmed, nothing was done: Remove batch-api? Its instances accept no token from then on. (stdin or stderr is not a terminal; --yes confirms)",
    );
    let removed = stub.awrit(directory.path(), &["verifier", "remove", "batch-api", "--yes"]).await;
    assert_eq!((removed.code, stub.received("DELETE /v1/admin/verifiers/batch-api").len()), (0, 1), "{removed:?}");
}

#[tokio::test]
async fn changes_bound_and_key_and_requires_one_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let made = awrit(directory.path(), &[], &["verifier", "keygen", "--private-key", "verifier.pem"], "").await;
    std::fs::write(directory.path().join("verifier.pub.pem"), &made.stdout).unwrap();
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let record =
        json!({ "name": "payments-api", "public_key": key, "max_bound": 60, "added_at": "2026-11-28T12:00:00Z" });
    let stub = Stub::default().always("PUT /v1/admin/verifiers/payments-api", 200, record);
    let update = async |options: &[&str]| {
        let arguments: Vec<&str> = ["verifier", "update", "payments-api"].iter().chain(options).copied().collect();
        stub.awrit(directory.path(), &arguments).await
    };
    let changed = update(&["--max-bound", "60"]).await;
    assert_eq!(changed.code, 0, "{changed:?}");
    assert!(changed.stdout.contains("max_bound   60"), "{changed:?}");
    assert_eq!(update(&["--any-bound", "--public-key", "verifier.pub.pem"]).await.code, 0);
    let sent: Vec<_> =
        stub.received("PUT /v1/admin/verifiers/payments-api").into_iter().map(|request| request.body).collect();
    assert_eq!(sent[0], json!({ "max_bound": 60 }));
    assert_eq!(sent[1]["max_bound"], "none");
    assert_ne!(sent[1]["public_key"], key);
    for wrong in [&[][..], &["--max-bound", "0"], &["--max-bound", "60", "--any-bound"]] {
        assert_eq!(update(wrong).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn forgets_instance_or_unknown_ones_when_operator_confirms() {
    let directory = tempfile::tempdir().unwrap();
    let id = "0a".repeat(16);
    let paths = [&id, "unknown"].map(|id| format!("DELETE /v1/admin/verifiers/batch-api/instances/{id}"));
    let stub = paths.iter().fold(Stub::default(), |stub, path| stub.always(path, 204, json!(null)));
    stub.awrit(directory.path(), &["verifier", "forget", "batch-api", &id, "--yes"]).await.is(
        0,
        "Forgot instance <jti> of batch-api.",
        "",
    );
    stub.awrit(directory.path(), &["verifier", "forget", "batch-api", "--unknown", "--yes"]).await.is(
        0,
        "Forgot the unknown instances of batch-api.",
        "",
    );
    assert_eq!(paths.map(|path| stub.received(&path).len()), [1, 1]);
    for wrong in [&["batch-api"][..], &["batch-api", &id, "--unknown"], &["batch-api", "0a"]] {
        let arguments: Vec<&str> = ["verifier", "forget", "--yes"].iter().chain(wrong).copied().collect();
        assert_eq!(stub.awrit(directory.path(), &arguments).await.code, 2, "{wrong:?}");
    }
    let unconfirmed = stub.awrit(directory.path(), &["verifier", "forget", "batch-api", "--unknown"]).await;
    assert_eq!(unconfirmed.code, 2, "{unconfirmed:?}");
}

//! `awrit agent keygen`, `awrit agent register --sender-constrained` and `awrit token proof`.

use std::os::unix::fs::PermissionsExt;

use agentwrit_e2e::{Broker, awrit, stable};
use agentwrit_verify::{
    KeySet, Verifier, VerifyError,
    proof::{PresentedToken, ProofError, ProofVerifier, Scheme},
};

const PROOF: [&str; 8] =
    ["token", "proof", "--method", "GET", "--url", "https://records.example/P-1?a=b", "--agent-key", "agent.pem"];

/// Returns the token of an agent that is bound to the new key `agent.pem`.
async fn bound_token(broker: &Broker) -> String {
    let register = [
        "agent",
        "register",
        "--orch-id",
        "reports",
        "--task-id",
        "t1",
        "--scopes",
        "read:data:sales",
        "--json",
        "--agent-key",
        "agent.pem",
        "--sender-constrained",
    ];
    broker.awrit(&["agent", "keygen", "--private-key", "agent.pem"]).await.is(0, "<kid>", "");
    let registered = broker.awrit(&register).await.json();
    assert_eq!(registered["token_type"], "DPoP");
    registered["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn makes_key_of_agent_for_its_owner_only() {
    let broker = Broker::start().await;
    let keygen = ["agent", "keygen", "--private-key", "agent.pem", "--json"];
    let thumbprint = broker.awrit(&keygen).await.json()["thumbprint"].as_str().unwrap().to_owned();
    let path = broker.directory().join("agent.pem");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = agentwrit_client::AgentKey::from_pkcs8_pem(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(key.thumbprint().to_string(), thumbprint);
    broker.awrit(&keygen).await.is(1, "", "awrit: `agent.pem`: File exists (os error 17)");
}

#[tokio::test]
async fn signs_proof_that_verifier_accepts_for_its_request_only() {
    let broker = Broker::start().await;
    let token = bound_token(&broker).await;
    std::fs::write(broker.directory().join("token.txt"), &token).unwrap();
    let run = broker.awrit(&[&PROOF[..], &["--token-file", "token.txt", "--headers"]].concat()).await;
    assert_eq!((run.code, &*run.stderr), (0, ""));
    let (authorization, proof) = run.stdout.trim_end().split_once("\nDPoP: ").unwrap();
    assert_eq!(authorization, format!("Authorization: DPoP {token}"));

    let keys = KeySet::from_jwks(&std::fs::read(exported_keys(&broker).await).unwrap()).unwrap();
    let verifier = Verifier::builder().issuer("https://agentwrit.local").keys(keys).without_revocations();
    let verifier = verifier.accept_any_audience().build();
    let proofs = || ProofVerifier::builder().external_url("https://records.example").unwrap().build();
    let judge = |proofs: &ProofVerifier, method: &str, path: &str, proof: &str| {
        let presented = PresentedToken::new(Scheme::Dpop, &token, method, path).proof(proof);
        match verifier.verify_presented(&presented, proofs) {
            Ok(_) => Ok(()),
            Err(VerifyError::Proof { error, .. }) => Err(error),
            Err(error) => panic!("{error:?}"),
        }
    };
    // The verifier has just started: it demands a nonce.
    let started = proofs();
    let Err(ProofError::NonceRequired { nonce }) = judge(&started, "GET", "/P-1", proof) else { panic!("no nonce") };
    let signed = broker.awrit(&[&PROOF[..], &["--token", &token, "--nonce", &nonce]].concat()).await;
    let proof = signed.stdout.trim_end();
    assert!(matches!(judge(&started, "POST", "/P-1", proof), Err(ProofError::WrongMethod { .. })));
    assert!(matches!(judge(&started, "GET", "/P-2", proof), Err(ProofError::WrongUrl { .. })));
    assert_eq!(judge(&started, "GET", "/P-1", proof), Ok(()));
    assert_eq!(judge(&started, "GET", "/P-1", proof), Err(ProofError::Replayed));
}

async fn exported_keys(broker: &Broker) -> std::path::PathBuf {
    let run = broker.awrit(&["keys", "export"]).await;
    let path = broker.directory().join("keys.json");
    std::fs::write(&path, run.stdout).unwrap();
    path
}

#[tokio::test]
async fn shows_key_that_token_is_bound_to() {
    let broker = Broker::start().await;
    let token = bound_token(&broker).await;
    for arguments in [["token", "inspect", &token], ["token", "validate", &token]] {
        let run = broker.awrit(&arguments).await;
        assert_eq!((run.code, &*run.stderr), (0, ""), "{}", run.stdout);
        assert!(stable(&run.stdout).contains("bound to key  <kid>\n"), "{}", run.stdout);
    }
}

#[tokio::test]
async fn rejects_proof_for_token_that_is_not_bound_to_key() {
    let broker = Broker::start().await;
    let token = bound_token(&broker).await;
    broker.awrit(&["agent", "keygen", "--private-key", "other.pem"]).await.is(0, "<kid>", "");
    let other = |arguments: &[&'static str]| -> Vec<&str> {
        PROOF[..7].iter().copied().chain(["other.pem"]).chain(arguments.iter().copied()).collect()
    };
    broker.awrit_with(&other(&["--token", "-"]), &token).await.is(
        1,
        "",
        "awrit: `other.pem`: the token is bound to the key `<kid>`, not to this one",
    );
    let unbound = crate::token::token(&broker).await;
    broker.awrit_with(&other(&["--token", "-"]), &unbound).await.is(
        1,
        "",
        "awrit: the token is not bound to a key: send it as `Authorization: Bearer`",
    );
    let run = broker.awrit(&["token", "proof", "--method", "GET", "--url", "/P-1", "--agent-key", "agent.pem"]).await;
    run.is(2, "", "awrit: `/P-1` is not an absolute URL of http or https");
    let run = broker.awrit(&[&PROOF[..], &["--headers"]].concat()).await;
    run.is(2, "", "awrit: --headers needs --token or --token-file");
}

#[tokio::test]
async fn does_not_send_bound_token_as_bearer_token() {
    let broker = Broker::start().await;
    let token = bound_token(&broker).await;
    // There is no broker at this address: nothing is sent.
    let environment = [("AACTL_BROKER_URL", "http://127.0.0.1:1")];
    awrit(broker.directory(), &environment, &["token", "release", &token], "").await.is(
        1,
        "",
        "\
awrit: invalid token: it is bound to an agent's key, which has to be given too
  hint: name the key with --agent-key FILE",
    );
}

#[tokio::test]
async fn binds_agents_of_launch_token_and_app() {
    let broker = Broker::start().await;
    let create = ["launch-token", "create", "--name", "n", "--scopes", "read:data:*", "--sender-constrained", "--json"];
    let created = broker.awrit(&create).await.json();
    assert_eq!(created["policy"]["sender_constrained"], true);
    let app = ["app", "register", "--name", "desk", "--scopes", "read:data:*", "--sender-constrained", "--json"];
    let app = broker.awrit(&app).await.json();
    assert_eq!(app["sender_constrained"], true);
    let id = app["app_id"].as_str().unwrap();
    assert!(broker.awrit(&["app", "get", id]).await.stdout.contains("sender_constrained"));
    let other = ["app", "register", "--name", "other", "--scopes", "read:data:*", "--json"];
    let other = broker.awrit(&other).await.json();
    assert_eq!(other.get("sender_constrained"), None);
    let update = ["app", "update", "--id", other["app_id"].as_str().unwrap(), "--sender-constrained", "--json"];
    assert_eq!(broker.awrit(&update).await.json()["sender_constrained"], true);
}

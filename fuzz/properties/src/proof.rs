//! Arbitrary path, header and payload, signed by the key of the token: an accepted proof says for a plain JSON parser what
//! it was accepted for, and is accepted once.

use std::{sync::OnceLock, time::Duration};

use agentwrit_verify::{
    Clock as _, VerifyError,
    issue::SigningKey,
    proof::{ExternalUrl, PresentedToken, ProofError, ProofVerifier, Scheme},
    testing::{ManualClock, TestIssuer},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

struct Target {
    issuer: TestIssuer,
    key: SigningKey,
    token: String,
}

fn target() -> &'static Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let (issuer, key) = (TestIssuer::new(), SigningKey::from_seed(&[3; 32]).expect("a good seed"));
        let token = issuer.bound_token(&["read:data:*"], key.public_key().thumbprint());
        issuer.clock().advance(Duration::from_secs(60));
        Target { issuer, key, token }
    })
}

/// A service that was started a minute ago: its table is empty.
fn service(target: &Target) -> ProofVerifier {
    let minute = Duration::from_secs(60);
    let clock = ManualClock::new(target.issuer.clock().now().saturating_sub(minute));
    let builder = ProofVerifier::builder().external_url("https://api.example.com/svc2").expect("a good URL");
    let proofs = builder.replay_capacity(1).clock(clock.clone()).build();
    clock.advance(minute);
    proofs
}

/// Checks one input, and returns whether it is accepted.
///
/// # Panics
///
/// When a property of the module is violated.
#[must_use = "a seed states whether it is accepted"]
pub fn check(input: &[u8]) -> bool {
    let target = target();
    // Path, header and payload are separated by zero bytes; an empty header stands for the usual one.
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (path, header, payload) = (next(), next(), next());
    let path = String::from_utf8_lossy(path);
    let x = BASE64URL_NOPAD.encode(target.key.public_key().as_bytes());
    let usual = format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#);
    let header = if header.is_empty() { usual.as_bytes() } else { header };
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(payload));
    let mut signature = target.key.sign(signed.as_bytes());
    let proof = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
    signature[63] ^= 1;
    let forged = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));

    let proofs = service(target);
    let judge = |proof: &str| {
        let presented = PresentedToken::new(Scheme::Dpop, &target.token, "GET", &path).proof(proof);
        target.issuer.verifier().verify_presented(&presented, &proofs)
    };
    assert!(judge(&forged).is_err(), "accepted a signature that does not verify");
    assert!(judge(&String::from_utf8_lossy(input)).is_err(), "accepted a proof without a signature of the key");
    match judge(&proof) {
        Ok(_) => {
            check_accepted(target, &path, header, payload);
            let again = judge(&proof);
            assert!(matches!(again, Err(VerifyError::Proof { error: ProofError::Replayed, .. })), "{again:?}");
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() < 2000 && !message.contains('\n'), "messages are short and on one line: {message}");
            false
        }
    }
}

fn check_accepted(target: &Target, path: &str, header: &[u8], payload: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("an accepted part is JSON");
    assert_eq!(header["typ"], "dpop+jwt");
    assert!(matches!(header["alg"].as_str(), Some("EdDSA" | "Ed25519")));
    assert!(header.get("crit").is_none() && header["jwk"].get("d").is_none());
    let claims: Value = serde_json::from_slice(payload).expect("an accepted part is JSON");
    assert_eq!(claims["htm"], "GET");
    let now = target.issuer.clock().now().seconds();
    let iat = claims["iat"].as_f64().expect("a number");
    #[expect(clippy::cast_precision_loss, reason = "times of this century are exact")]
    let (earliest, latest) = (now as f64 - 60.0, now as f64 + 6.0);
    assert!(earliest <= iat && iat < latest, "{iat}");
    // The URL is that of the request: another spelling of it at most.
    let htu = claims["htu"].as_str().expect("a text").split(['?', '#']).next().unwrap_or_default();
    let expected =
        ExternalUrl::parse(&format!("https://api.example.com/svc2{}", path.split('?').next().unwrap_or_default()));
    assert_eq!(ExternalUrl::parse(htu), expected);
    assert!(!path.split('?').next().unwrap_or_default().split('/').any(|segment| segment == ".."));
}

//! Proofs by keys on P-256, with the examples of RFC 9449.

use agentwrit_verify::{
    Clock as _, Thumbprint, UnixTime, VerifyError,
    proof::{PresentedProof, PresentedToken, ProofError, ProofVerifier, Scheme},
    testing::{ManualClock, TestIssuer},
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::encode;

/// `jkt` of the examples (RFC 9449 §6.1).
const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZ\
    OXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";

fn example(payload_and_signature: &str) -> String {
    format!("{HEADER}.{payload_and_signature}")
}

/// §4.2, figure 2 (and §5, figure 4).
fn token_request() -> String {
    example(
        "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0Ijox\
         NTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
    )
}

/// §7.1, figure 12.
fn resource_request() -> String {
    example(
        "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNv\
         dXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP\
         86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
    )
}

/// A service that was started long before the clock's time.
fn service(url: &str, clock: &ManualClock) -> ProofVerifier {
    let minute = std::time::Duration::from_secs(60);
    clock.set(clock.now().saturating_sub(minute));
    let proofs = ProofVerifier::builder().external_url(url).unwrap().accept_es256().clock(clock.clone()).build();
    clock.advance(minute);
    proofs
}

#[test]
fn rfc_9449_section_4_2_accepts_example_of_token_request() {
    let clock = ManualClock::new(UnixTime::from_seconds(1_562_262_616));
    let proofs = service("https://server.example.com", &clock);
    let proof = token_request();
    let judge = |method, path| {
        proofs.verify_proof(&PresentedProof::new(method, path).proof(&proof), Some(&JKT.parse().unwrap()))
    };
    assert_eq!(judge("GET", "/token"), Err(ProofError::WrongMethod { found: "POST".into() }));
    assert!(matches!(judge("POST", "/other"), Err(ProofError::WrongUrl { .. })));
    assert_eq!(judge("POST", "/token"), Ok(JKT.parse().unwrap()));
    assert_eq!(judge("POST", "/token"), Err(ProofError::Replayed));
}

#[test]
fn rfc_9449_section_7_1_accepts_example_of_resource_request() {
    let clock = ManualClock::new(UnixTime::from_seconds(1_562_262_618));
    let proofs = service("https://resource.example.org", &clock);
    let proof = resource_request();
    let presented = PresentedProof::new("GET", "/protectedresource").proof(&proof);
    assert_eq!(proofs.verify_proof(&presented, None), Ok(JKT.parse().unwrap()));
    let payload: Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(proof.split('.').nth(1).unwrap().as_bytes()).unwrap()).unwrap();
    assert_eq!(payload["ath"], encode(Sha256::digest("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")).as_str());
}

struct Client {
    key: EcdsaKeyPair,
    jwk: Value,
}

impl Client {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
        Self { key, jwk }
    }

    fn thumbprint(&self) -> Thumbprint {
        let [x, y] = ["x", "y"].map(|member| self.jwk[member].as_str().unwrap());
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Thumbprint::from_bytes(Sha256::digest(canonical).into())
    }

    fn proof(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", encode(signature))
    }
}

#[test]
fn es256_is_accepted_where_the_service_says_so() {
    let issuer = TestIssuer::new();
    let client = Client::new();
    let token = issuer.bound_token(&["read:data:*"], client.thumbprint());
    let proofs = service("https://api.example.com", issuer.clock());
    assert_eq!(proofs.algorithms(), "EdDSA Ed25519 ES256");
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": client.jwk});
    let claims = |jti: &str| {
        let iat = issuer.clock().now().seconds();
        json!({"jti": jti, "htm": "GET", "htu": "https://api.example.com/7", "iat": iat, "ath": encode(Sha256::digest(&token))})
    };
    let judge = |proofs: &ProofVerifier, proof: &str| {
        let presented = PresentedToken::new(Scheme::Dpop, &token, "GET", "/7").proof(proof);
        match issuer.verifier().verify_presented(&presented, proofs) {
            Ok(_) => Ok(()),
            Err(VerifyError::Proof { error, .. }) => Err(error),
            Err(error) => panic!("{error:?}"),
        }
    };
    let good = client.proof(&header, &claims("1"));
    let ed25519_only = ProofVerifier::builder().external_url("https://api.example.com").unwrap().build();
    assert_eq!(ed25519_only.algorithms(), agentwrit_verify::proof::ALGORITHMS);
    assert_eq!(judge(&ed25519_only, &good), Err(ProofError::UnsupportedAlgorithm { algorithm: "ES256".into() }));
    assert_eq!(judge(&proofs, &good), Ok(()));
    assert_eq!(judge(&proofs, &good), Err(ProofError::Replayed));
    // The other signature of the same content (S and n - S both verify) is the same proof.
    assert_eq!(judge(&proofs, &client.proof(&header, &claims("1"))), Err(ProofError::Replayed));
    assert_eq!(judge(&proofs, &client.proof(&header, &claims("2"))), Ok(()), "of a known sender");

    // The verifiers share what is known of the sender.
    let other = client.proof(&header, &claims("2"));
    assert_eq!(judge(&ed25519_only, &other), Err(ProofError::UnsupportedAlgorithm { algorithm: "ES256".into() }));

    assert_eq!(judge(&proofs, &Client::new().proof(&header, &claims("3"))), Err(ProofError::BadSignature));
    let mut forged = good.clone();
    forged.truncate(good.rfind('.').unwrap() + 1);
    assert_eq!(judge(&proofs, &format!("{forged}{}", encode([0; 64]))), Err(ProofError::BadSignature));
    for (changes, expected) in [
        (json!({"y": client.jwk["x"]}), ProofError::WrongKey),
        (json!({"y": "AA"}), ProofError::InvalidKey),
        (json!({"crv": "P-384"}), ProofError::InvalidKey),
        (json!({"d": "AA"}), ProofError::PrivateKey),
    ] {
        let mut jwk = client.jwk.clone();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        assert_eq!(judge(&proofs, &client.proof(&header, &claims("4"))), Err(expected), "{changes}");
    }
    for (alg, expected) in
        [("EdDSA", ProofError::InvalidKey), ("ES384", ProofError::UnsupportedAlgorithm { algorithm: "ES384".into() })]
    {
        let header = json!({"typ": "dpop+jwt", "alg": alg, "jwk": client.jwk});
        assert_eq!(judge(&proofs, &client.proof(&header, &claims("5"))), Err(expected));
    }
}

#[test]
fn rejects_point_that_is_not_on_the_curve() {
    let issuer = TestIssuer::new();
    let client = Client::new();
    let proofs = service("https://api.example.com", issuer.clock());
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": client.jwk["x"], "y": client.jwk["x"]});
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let claims =
        json!({"jti": "1", "htm": "GET", "htu": "https://api.example.com/7", "iat": issuer.clock().now().seconds()});
    let proof = client.proof(&header, &claims);
    let presented = PresentedProof::new("GET", "/7").proof(&proof);
    assert_eq!(proofs.verify_proof(&presented, None), Err(ProofError::InvalidKey));
}

//! Signed documents, read without the libraries under test: `ed25519-dalek` and SHA-256 by the letter of the contract.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Broker, payload, protected_header};

impl Broker {
    /// The payload of a compact JWS of this `typ`, after its signature was checked with the published key.
    pub async fn open(&self, document: &str, media_type: &str) -> Value {
        let header = protected_header(document);
        assert_eq!((&header["alg"], &header["typ"]), (&"EdDSA".into(), &media_type.into()));
        let keys = self.get("/.well-known/jwks.json").await.json();
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).expect("a known key");
        let key = BASE64URL_NOPAD.decode(key["x"].as_str().unwrap().as_bytes()).unwrap();
        let key = VerifyingKey::from_bytes(&key.try_into().unwrap()).unwrap();
        let (signed, signature) = document.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        key.verify_strict(signed.as_bytes(), &Signature::from_slice(&signature).unwrap()).expect("the signature holds");
        payload(document)
    }
}

/// How the feed names a target at a level (contract §5).
#[must_use]
pub fn revocation_key(letter: char, issuer: &str, target: &str) -> String {
    let digest = Sha256::digest(format!("{letter}\0{issuer}\0{target}"));
    BASE64URL_NOPAD.encode(&digest[..16])
}

/// The hash of an audit event by `docs/audit-chain.md`.
#[must_use]
pub fn event_hash(event: &Value) -> String {
    let members = [
        "id",
        "timestamp",
        "event_type",
        "agent_id",
        "task_id",
        "orch_id",
        "detail",
        "resource",
        "outcome",
        "deleg_depth",
        "deleg_chain_hash",
        "bytes_transferred",
        "prev_hash",
    ];
    let mut bytes = b"agentwrit-audit-v1".to_vec();
    for member in members {
        let text = match event.get(member) {
            None => {
                bytes.extend([0xff; 4]);
                continue;
            }
            Some(Value::String(text)) => text.clone(),
            Some(number) => number.to_string(),
        };
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    HEXLOWER.encode(&Sha256::digest(&bytes))
}

/// Asserts that `events` are the trail from its first event on: numbered without gaps, linked, unaltered.
#[track_caller]
pub fn assert_whole_chain(events: &[Value]) {
    let mut previous = "0".repeat(64);
    for (number, event) in (1..).zip(events) {
        assert_eq!(event["id"], format!("evt-{number:06}"));
        assert_eq!(event["prev_hash"], previous, "{event}");
        assert_eq!(event["hash"], event_hash(event), "{event}");
        event["hash"].as_str().unwrap().clone_into(&mut previous);
    }
}

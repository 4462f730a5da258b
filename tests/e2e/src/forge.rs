//! Attacks with the broker's own key: correctly signed, malformed tokens. A verifier that
//! refuses these does so for the reason under test, not for their signature.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ed25519_dalek::{Signer as _, SigningKey};

use crate::Broker;

/// Signs anything with a broker's key.
#[derive(Debug)]
pub struct Forger {
    key: SigningKey,
}

impl Broker {
    /// Attacker who has read the broker's key file.
    #[must_use]
    pub fn forger(&self) -> Forger {
        let pem = std::fs::read_to_string(self.directory().join("signing.key")).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64.decode(base64.as_bytes()).unwrap();
        // PKCS#8 version 1 (RFC 8410 §7): the key is what it ends with.
        Forger { key: SigningKey::from_bytes(der.last_chunk().unwrap()) }
    }
}

impl Forger {
    /// A compact JWS of exactly these texts.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let [header, payload] = [header, payload].map(|text| BASE64URL_NOPAD.encode(text.as_bytes()));
        let input = format!("{header}.{payload}");
        let signature = BASE64URL_NOPAD.encode(&self.key.sign(input.as_bytes()).to_bytes());
        format!("{input}.{signature}")
    }
}

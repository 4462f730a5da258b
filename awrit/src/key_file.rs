//! Key pair of a verifier or an agent as PEM: PKCS #8 and `SubjectPublicKeyInfo` (RFC 8410).

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use agentwrit_protocol::{Base64, PublicKeyBytes};
use agentwrit_verify::{Thumbprint, issue::SigningKey};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::error::CliError;

/// `OneAsymmetricKey` of version 1 with the algorithm Ed25519, up to the 32 bytes of the key.
const PRIVATE_START: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// `SubjectPublicKeyInfo` with the algorithm Ed25519, up to the 32 bytes of the key.
const PUBLIC_START: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const PUBLIC_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PUBLIC_END: &str = "-----END PUBLIC KEY-----";

/// New key pair.
pub(crate) struct KeyPair {
    seed: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl KeyPair {
    pub(crate) fn generate() -> Result<Self, CliError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| CliError::failed(format!("no randomness for a key: {error}")))?;
        let key = SigningKey::from_seed(&seed).map_err(|error| CliError::failed(error.to_string()))?;
        Ok(Self { seed, public: *key.public_key().as_bytes() })
    }

    pub(crate) fn public_key(&self) -> PublicKeyBytes {
        Base64(self.public)
    }

    pub(crate) fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of_ed25519(&self.public)
    }

    pub(crate) fn public_pem(&self) -> String {
        let der = [PUBLIC_START.as_slice(), &self.public].concat();
        format!("{PUBLIC_BEGIN}\n{}\n{PUBLIC_END}\n", BASE64.encode(&der))
    }

    /// Writes the private key to a new file that its owner alone can read.
    pub(crate) fn write_private(&self, path: &Path) -> Result<(), CliError> {
        let der = Zeroizing::new([PRIVATE_START.as_slice(), self.seed.as_slice()].concat());
        let base64 = Zeroizing::new(BASE64.encode(&der));
        let pem = Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *base64));
        let create = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()
        };
        create().map_err(|error| CliError::file(path, &error))
    }
}

/// Reads an Ed25519 public key: PEM, or the base64 of its 32 bytes.
pub(crate) fn public_key(file: &[u8]) -> Result<PublicKeyBytes, &'static str> {
    const NO_KEY: &str = "it holds no Ed25519 public key: neither PEM with `PUBLIC KEY` nor the base64 of 32 bytes";
    let text = std::str::from_utf8(file).map_err(|_| NO_KEY)?;
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "it holds a private key, which stays with the service; give the public half (`openssl pkey -pubout`)",
        );
    }
    let Some((_, rest)) = text.split_once(PUBLIC_BEGIN) else {
        return PublicKeyBytes::decode(text.trim()).ok_or(NO_KEY);
    };
    let (base64, rest) = rest.split_once(PUBLIC_END).ok_or(NO_KEY)?;
    if rest.contains(PUBLIC_BEGIN) {
        return Err("it holds several public keys");
    }
    let base64: String = base64.split_ascii_whitespace().collect();
    let der = BASE64.decode(base64.as_bytes()).map_err(|_| NO_KEY)?;
    let key = der.strip_prefix(&PUBLIC_START).and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(Base64).ok_or("its public key is not of the algorithm Ed25519")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_public_key_that_it_wrote_and_base64_of_it() {
        let pair = KeyPair::generate().unwrap();
        let pem = pair.public_pem();
        for file in [pem.clone(), pem.replace('\n', "\r\n"), format!("{}\n", pair.public_key())] {
            assert_eq!(public_key(file.as_bytes()), Ok(pair.public_key()), "{file}");
        }
    }

    #[test]
    fn writes_private_key_that_services_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verifier.pem");
        let pair = KeyPair::generate().unwrap();
        pair.write_private(&path).unwrap();
        let key = SigningKey::from_pkcs8_pem(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(*key.public_key().as_bytes(), pair.public);
        assert!(pair.write_private(&path).is_err(), "an existing file is not replaced");
        assert!(public_key(&std::fs::read(&path).unwrap()).unwrap_err().starts_with("it holds a private key"));
    }

    #[test]
    fn rejects_files_without_exactly_one_ed25519_key() {
        let pem = KeyPair::generate().unwrap().public_pem();
        // RFC 8410 §10.1, and the same with the algorithm X25519.
        let of_x25519 = pem.replacen("MCowBQYDK2Vw", "MCowBQYDK2Vu", 1);
        for (file, start) in [
            ("", "it holds no Ed25519 public key"),
            ("AAAA", "it holds no Ed25519 public key"),
            (pem.get(..40).unwrap(), "it holds no Ed25519 public key"),
            (&format!("{pem}{pem}"), "it holds several"),
            (&of_x25519, "its public key is not of the algorithm"),
        ] {
            let reason = public_key(file.as_bytes()).unwrap_err();
            assert!(reason.starts_with(start), "{file:?}: {reason}");
        }
    }
}

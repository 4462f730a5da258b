//! Keys on P-256 (RFC 7518 §3.4, §6.2), for OAuth clients that have no Ed25519.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::thumbprint::Thumbprint;

/// A key that verifies signatures of `ES256`.
pub(super) type Key = ParsedPublicKey;

/// Coordinates as a JWK contains them, not yet known to be a point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) x: [u8; 32],
    pub(super) y: [u8; 32],
}

impl Point {
    /// Returns the thumbprint (RFC 7638 §3.2).
    pub(super) fn thumbprint(&self) -> Thumbprint {
        let [x, y] = [&self.x, &self.y].map(|coordinate| BASE64URL_NOPAD.encode(coordinate));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Thumbprint::from_bytes(Sha256::digest(canonical).into())
    }

    /// Returns the key, if the point is on the curve.
    pub(super) fn decode(&self) -> Option<Key> {
        // SEC 1 §2.3.3: an uncompressed point.
        let point: Vec<u8> = [4].into_iter().chain(self.x).chain(self.y).collect();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
    }
}

//! Stateless nonces (RFC 9449 §8, §9).

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::UnixTime;

const DOMAIN: &[u8] = b"agentwrit-dpop-nonce-v1";

/// Key of the nonces that a service demands: 32 random bytes that serve no other purpose.
///
/// A nonce is the time of its issue and a truncated HMAC-SHA256 over it; issuing stores nothing. Proofs can't be made
/// before their nonce is known (§11.2). Instances that share a key accept each other's nonces; an instance with a key of
/// its own accepts no proof that was made for another.
#[derive(Clone)]
pub struct NonceKey(Hmac<Sha256>);

impl NonceKey {
    /// Takes the key.
    #[must_use]
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "HMAC takes a key of any length (RFC 2104 §2)")]
    pub fn from_bytes(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// Makes a key that no other process has, from the keys that the operating system seeds hash maps with. A client that
    /// guessed it could only do without the round trip after a start; it can't sign for another.
    pub(super) fn of_this_process() -> Self {
        let random = RandomState::new();
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip(0_u8..) {
            part.copy_from_slice(&random.hash_one(number).to_be_bytes());
        }
        Self::from_bytes(&key)
    }

    pub(super) fn issue(&self, now: UnixTime) -> String {
        let time = now.seconds().to_be_bytes();
        let mut nonce = [0; 24];
        for (place, byte) in nonce.iter_mut().zip(time.into_iter().chain(self.mac(time).finalize().into_bytes())) {
            *place = byte;
        }
        BASE64URL_NOPAD.encode(&nonce)
    }

    /// Returns true for a nonce that was issued at most `lifetime` ago, or at most `leeway` ahead of this clock.
    pub(super) fn accepts(&self, nonce: &str, now: UnixTime, lifetime: Duration, leeway: Duration) -> bool {
        let mut bytes = [0; 24];
        if nonce.len() != 32 || BASE64URL_NOPAD.decode_mut(nonce.as_bytes(), &mut bytes).is_err() {
            return false;
        }
        let Some((time, tag)) = bytes.split_first_chunk::<8>() else { return false };
        let issued_at = UnixTime::from_seconds(u64::from_be_bytes(*time));
        self.mac(*time).verify_truncated_left(tag).is_ok()
            && issued_at <= now.saturating_add(leeway)
            && issued_at.saturating_add(lifetime) >= now
    }

    fn mac(&self, time: [u8; 8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(DOMAIN).chain_update(time)
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);
    const LEEWAY: Duration = Duration::from_secs(5);

    #[test]
    fn accepts_nonce_from_leeway_before_its_issue_until_the_end_of_its_lifetime() {
        let key = NonceKey::from_bytes(&[1; 32]);
        let nonce = key.issue(UnixTime::from_seconds(1_000));
        let accepts = |at| key.accepts(&nonce, UnixTime::from_seconds(at), LIFETIME, LEEWAY);
        assert_eq!([994, 995, 1_000, 1_060, 1_061].map(accepts), [false, true, true, true, false]);
    }

    #[test]
    fn rejects_nonce_of_another_key_or_time_or_length() {
        let (key, now) = (NonceKey::from_bytes(&[1; 32]), UnixTime::from_seconds(1_000));
        let nonce = key.issue(now);
        assert!(!NonceKey::from_bytes(&[2; 32]).accepts(&nonce, now, LIFETIME, LEEWAY));
        assert!(!NonceKey::of_this_process().accepts(&nonce, now, LIFETIME, LEEWAY));
        assert!(!NonceKey::of_this_process().accepts(&NonceKey::of_this_process().issue(now), now, LIFETIME, LEEWAY));
        for end in 0..nonce.len() {
            assert!(!key.accepts(nonce.get(..end).unwrap(), now, LIFETIME, LEEWAY));
        }
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).unwrap();
        for index in 0..bytes.len() {
            let mut other = bytes.clone();
            other[index] ^= 1;
            assert!(!key.accepts(&BASE64URL_NOPAD.encode(&other), now, LIFETIME, LEEWAY), "byte {index}");
        }
    }
}

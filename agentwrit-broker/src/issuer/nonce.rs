//! Stateless challenge nonces.
//!
//! 1. A nonce is 32 bytes: when it was issued (8, milliseconds, big endian), randomness (8) and a truncated
//!    HMAC-SHA256 over both (16). Only a broker that holds the key can make one.
//! 2. Issuing stores nothing, so a flood of challenges costs neither memory nor disk. The store keeps a *spent* nonce until
//!    the time that [`Nonces::check`] returns; after that the nonce is rejected as expired.
//! 3. A nonce is valid from 5 s before its issue (brokers that share a key may disagree about the time by so much)
//!    until 30 s after it; the thirtieth second itself is too late.
//!
//! Brokers that share the signing key share the nonce key too, and so accept each other's challenges.

use std::{fmt, time::Duration};

use agentwrit_verify::UnixTime;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A nonce as it is signed: the hex on the wire, decoded.
pub(crate) type Nonce = [u8; 32];

/// Issues nonces and checks them.
#[derive(Clone)]
pub(crate) struct Nonces {
    mac: Hmac<Sha256>,
}

impl Nonces {
    /// Lifetime of a nonce.
    pub(crate) const LIFETIME: Duration = Duration::from_secs(30);

    /// Tolerance for an issuing broker whose clock is ahead.
    pub(crate) const SKEW: Duration = Duration::from_secs(5);

    /// Makes nonces under `key`, which must serve no other purpose.
    #[must_use]
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 §2)")]
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self { mac: Hmac::new_from_slice(key).expect("HMAC takes a key of any length") }
    }

    /// Returns a fresh nonce. `random` must be new each time: two nonces of one millisecond differ only there.
    #[must_use]
    pub(crate) fn issue(&self, now: UnixTime, random: [u8; 8]) -> Nonce {
        let millis = u64::try_from(now.elapsed_since_epoch().as_millis()).unwrap_or(u64::MAX);
        let mut nonce = [0; 32];
        let (body, tag) = nonce.split_at_mut(16);
        let (time, salt) = body.split_at_mut(8);
        time.copy_from_slice(&millis.to_be_bytes());
        salt.copy_from_slice(&random);
        let full = self.mac.clone().chain_update(&*body).finalize().into_bytes();
        for (byte, computed) in tag.iter_mut().zip(full) {
            *byte = computed;
        }
        nonce
    }

    /// Checks that this broker issued `nonce` and that `now` lies in its lifetime. Returns the end of its lifetime, until
    /// which a spent nonce must be kept.
    ///
    /// # Errors
    ///
    /// [`NonceError`]; clients receive the same response to each.
    pub(crate) fn check(&self, nonce: &Nonce, now: UnixTime) -> Result<UnixTime, NonceError> {
        let (body, tag) = nonce.split_at(16);
        // Compares in constant time: an attacker must not find the tag byte by byte.
        self.mac.clone().chain_update(body).verify_truncated_left(tag).map_err(|_| NonceError::Unknown)?;
        let millis = body.first_chunk().map_or(u64::MAX, |time| u64::from_be_bytes(*time));
        let issued = UnixTime::since_epoch(Duration::from_millis(millis));
        let early = issued.saturating_since(now);
        if early > Self::SKEW {
            return Err(NonceError::FromTheFuture { by: early });
        }
        let expires_at = issued.saturating_add(Self::LIFETIME);
        if now >= expires_at {
            return Err(NonceError::Expired { by: now.saturating_since(expires_at) });
        }
        Ok(expires_at)
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").finish_non_exhaustive()
    }
}

/// Reason to reject a nonce, for the log: clients learn only that it is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NonceError {
    /// Its MAC is wrong: it is made up, altered, or issued under another key.
    #[error("nonce was not issued by this broker")]
    Unknown,
    /// Its lifetime is over.
    #[error("nonce expired {} ms ago", by.as_millis())]
    Expired {
        /// Time since its expiry.
        by: Duration,
    },
    /// Its MAC is right, but a clock was set back or brokers disagree about the time.
    #[error("nonce was issued {} ms in the future", by.as_millis())]
    FromTheFuture {
        /// Time by which it is ahead of this broker's clock.
        by: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: u64 = 1_795_248_000_123;

    fn at(millis: u64) -> UnixTime {
        UnixTime::since_epoch(Duration::from_millis(millis))
    }

    fn nonces() -> Nonces {
        Nonces::new(&[7; 32])
    }

    #[test]
    fn rejects_nonce_from_its_thirtieth_second() {
        let nonce = nonces().issue(at(ISSUED), [1; 8]);
        let check = |millis| nonces().check(&nonce, at(millis));
        let expires_at = at(ISSUED + 30_000);
        assert_eq!(check(ISSUED), Ok(expires_at));
        assert_eq!(check(ISSUED + 29_999), Ok(expires_at));
        assert_eq!(check(ISSUED + 30_000), Err(NonceError::Expired { by: Duration::ZERO }));
        assert_eq!(check(ISSUED + 90_000), Err(NonceError::Expired { by: Duration::from_secs(60) }));
    }

    #[test]
    fn accepts_nonce_up_to_five_seconds_from_the_future() {
        let nonce = nonces().issue(at(ISSUED), [1; 8]);
        let check = |millis| nonces().check(&nonce, at(millis));
        assert_eq!(check(ISSUED - 5_000), Ok(at(ISSUED + 30_000)));
        let by = Duration::from_millis(5_001);
        assert_eq!(check(ISSUED - 5_001), Err(NonceError::FromTheFuture { by }));
        let by = Duration::from_secs(3_600);
        assert_eq!(check(ISSUED - 3_600_000), Err(NonceError::FromTheFuture { by }));
    }

    #[test]
    fn rejects_nonce_with_any_changed_bit() {
        let nonce = nonces().issue(at(ISSUED), [1; 8]);
        for bit in 0..256 {
            let mut forged = nonce;
            forged[bit / 8] ^= 1 << (bit % 8);
            let verdict = nonces().check(&forged, at(ISSUED));
            assert_eq!(verdict, Err(NonceError::Unknown), "bit {bit}");
        }
        assert_eq!(nonces().check(&[0; 32], at(0)), Err(NonceError::Unknown));
        assert_eq!(nonces().check(&[0xff; 32], at(ISSUED)), Err(NonceError::Unknown));
    }

    #[test]
    fn rejects_nonce_of_another_key() {
        let foreign = Nonces::new(&[8; 32]).issue(at(ISSUED), [1; 8]);
        assert_eq!(nonces().check(&foreign, at(ISSUED)), Err(NonceError::Unknown));
    }

    #[test]
    fn nonces_of_one_millisecond_differ() {
        let nonces = nonces();
        assert_ne!(nonces.issue(at(ISSUED), [1; 8]), nonces.issue(at(ISSUED), [2; 8]));
    }

    #[test]
    fn debug_hides_nonce_key() {
        assert_eq!(format!("{:?}", nonces()), "Nonces { .. }");
    }
}

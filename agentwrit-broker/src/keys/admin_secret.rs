//! Admin secret.
//!
//! 1. A secret that is configured in clear is kept as a digest, a bcrypt hash as it is.
//! 2. It is compared in constant time.
//! 3. bcrypt ignores what follows the 72nd byte. A secret of more than [`AdminSecret::MAX_BCRYPT_LENGTH`] bytes never matches
//!    a hash, so that a prefix of a longer secret is never accepted.
//! 4. bcrypt is slow on purpose: at most two comparisons run at once, on threads for blocking work, and at most sixteen
//!    wait, in places that addresses share fairly; the next one is rejected.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::weak_secrets::{is_known_placeholder, is_monotonous};
use crate::limits::fair_share::{FairPool, Favour};

/// Secret of the operator.
#[derive(Clone)]
pub struct AdminSecret(Kind);

#[derive(Clone)]
enum Kind {
    Digest([u8; 32]),
    Bcrypt { hash: Arc<str>, queue: Arc<Queue>, accepted: Arc<Mutex<Option<[u8; 32]>>> },
}

impl AdminSecret {
    /// Minimum length of a secret in clear, in characters.
    pub const MIN_LENGTH: usize = 16;

    /// Maximum length of a secret that is configured as a bcrypt hash, in bytes.
    pub const MAX_BCRYPT_LENGTH: usize = 71;

    /// Parses a bcrypt hash (`$2a$`, `$2b$`, `$2y$`) or a secret in clear.
    ///
    /// # Errors
    ///
    /// [`AdminSecretError`] if the secret is too easy to guess or the hash is incomplete.
    pub fn parse(written: &Secret) -> Result<Self, AdminSecretError> {
        let text = written.expose();
        if text.is_empty() {
            return Err(AdminSecretError::Empty);
        }
        if text.trim() != text {
            return Err(AdminSecretError::Padded);
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version)) {
            return Self::bcrypt(text);
        }
        let length = text.chars().count();
        if length < Self::MIN_LENGTH {
            return Err(AdminSecretError::TooShort { length });
        }
        if is_known_placeholder(text) {
            return Err(AdminSecretError::KnownWeak);
        }
        if is_monotonous(text) {
            return Err(AdminSecretError::Monotonous);
        }
        Ok(Self(Kind::Digest(Sha256::digest(text).into())))
    }

    /// Returns the digest of the secret, or its bcrypt hash: equal for brokers with the same setting.
    pub(crate) fn stored_form(&self) -> &[u8] {
        match &self.0 {
            Kind::Digest(digest) => digest,
            Kind::Bcrypt { hash, .. } => hash.as_bytes(),
        }
    }

    /// Returns true if `offered`, which `client` sent, is the secret.
    ///
    /// # Errors
    ///
    /// [`Busy`] if so many comparisons with a bcrypt hash wait that this one would take seconds.
    pub async fn verify(&self, offered: &Secret, client: IpAddr) -> Result<bool, Busy> {
        if let Some(right) = self.verify_at_once(offered) {
            return Ok(right);
        }
        match &self.0 {
            Kind::Digest(_) => Ok(false),
            Kind::Bcrypt { .. } if offered.expose().len() > Self::MAX_BCRYPT_LENGTH => {
                tracing::warn!(
                    component = "auth",
                    "a login sent a secret of more than {} bytes, which no bcrypt hash can hold: if it is the admin secret, \
                     configure a shorter one, or the secret itself instead of a hash",
                    Self::MAX_BCRYPT_LENGTH
                );
                Ok(false)
            }
            Kind::Bcrypt { hash, queue, accepted } => {
                let right = queue.compare(offered.clone(), Arc::clone(hash), client).await?;
                if right {
                    let computed = Sha256::digest(offered.expose()).into();
                    *accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(computed);
                }
                Ok(right)
            }
        }
    }

    /// Returns the result of [`verify`](Self::verify) if it needs no bcrypt comparison.
    pub(crate) fn verify_at_once(&self, offered: &Secret) -> Option<bool> {
        let computed: [u8; 32] = Sha256::digest(offered.expose()).into();
        match &self.0 {
            Kind::Digest(digest) => Some(bool::from(computed.ct_eq(digest))),
            Kind::Bcrypt { accepted, .. } => {
                // A secret that was accepted once needs no further comparison: a flood of wrong secrets does not exclude
                // clients with the right one.
                let known = *accepted.lock().unwrap_or_else(PoisonError::into_inner);
                known.is_some_and(|known| bool::from(computed.ct_eq(&known))).then_some(true)
            }
        }
    }

    fn bcrypt(text: &str) -> Result<Self, AdminSecretError> {
        let hash: bcrypt::HashParts = text.parse().map_err(|_| AdminSecretError::MalformedHash)?;
        let cost = hash.get_cost();
        if !BCRYPT_COSTS.contains(&cost) {
            return Err(AdminSecretError::BcryptCost { cost });
        }
        Ok(Self(Kind::Bcrypt { hash: Arc::from(text), queue: Arc::default(), accepted: Arc::default() }))
    }
}

impl fmt::Debug for AdminSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Digest(_) => "AdminSecret(digest …)",
            Kind::Bcrypt { .. } => "AdminSecret(bcrypt …)",
        })
    }
}

/// Reason that a text cannot be the admin secret, without the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminSecretError {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text begins or ends with white space, often a line feed from a file, which no client would send.
    #[error("begins or ends with white space")]
    Padded,
    /// The text is too short.
    #[error("has {length} characters, at least {} are required", AdminSecret::MIN_LENGTH)]
    TooShort {
        /// Length in characters.
        length: usize,
    },
    /// The text is from documentation or a list of passwords.
    #[error("is a well-known placeholder")]
    KnownWeak,
    /// The text repeats a character, a few of them or a short text, or is a sequence such as `abcdefghijklmnop`.
    #[error("repeats a few characters, or is a sequence of neighbours")]
    Monotonous,
    /// The text begins like a bcrypt hash and is not complete; often a shell has replaced its `$`.
    #[error("begins like a bcrypt hash but is not a complete one (is every `$` still there?)")]
    MalformedHash,
    /// The cost is too low to resist guessing, or so high that every login would take minutes.
    #[error("has bcrypt cost {cost}, 4 to 16 are accepted")]
    BcryptCost {
        /// Binary logarithm of the number of rounds.
        cost: u32,
    },
}

/// Error of a comparison that was rejected because too many are waiting. A retry after a second may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins are waiting to be checked")]
pub struct Busy;

const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=16;

/// Number of comparisons that run or wait.
const PLACES: usize = 2 + 16;

/// Queue of comparisons, which bounds the work that wrong secrets cause.
struct Queue {
    places: FairPool,
    running: Arc<Semaphore>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { places: FairPool::new(PLACES, PLACES / 2, Favour::Established), running: Arc::new(Semaphore::new(2)) }
    }
}

impl Queue {
    async fn compare(&self, offered: Secret, hash: Arc<str>, client: IpAddr) -> Result<bool, Busy> {
        let place = self.places.admit(client).ok_or(Busy)?;
        let permit = tokio::select! {
            permit = Arc::clone(&self.running).acquire_owned() => permit.map_err(|_| Busy)?,
            () = place.displaced() => return Err(Busy),
        };
        let comparison = tokio::task::spawn_blocking(move || {
            // A client that disconnects must not free the permit while the comparison runs.
            let _permit = permit;
            bcrypt::non_truncating_verify(offered.expose(), &hash).unwrap_or(false)
        });
        comparison.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOGIN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const CLEAR: &str = "correct horse battery staple";

    fn parse(text: &str) -> Result<AdminSecret, AdminSecretError> {
        AdminSecret::parse(&Secret::new(text.into()))
    }

    async fn accepts(secret: &AdminSecret, offered: &str) -> Result<bool, Busy> {
        secret.verify(&Secret::new(offered.into()), LOGIN).await
    }

    #[tokio::test]
    async fn accepts_only_the_whole_secret_in_clear() {
        let secret = parse(CLEAR).unwrap();
        assert_eq!(accepts(&secret, CLEAR).await, Ok(true));
        for wrong in ["", "correct horse", "correct horse battery staplf", "Correct horse battery staple"] {
            assert_eq!(accepts(&secret, wrong).await, Ok(false), "{wrong}");
        }
    }

    #[tokio::test]
    async fn accepts_secret_of_bcrypt_hash_of_each_version() {
        let hash = bcrypt::hash_with_result(CLEAR, 4).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let hash = hash.format_for_version(version);
            let secret = parse(&hash).unwrap();
            assert_eq!(accepts(&secret, CLEAR).await, Ok(true));
            assert_eq!(accepts(&secret, "something else entirely").await, Ok(false));
            assert_eq!(accepts(&secret, &hash).await, Ok(false), "the hash itself");
        }
    }

    #[tokio::test]
    async fn rejects_secret_that_bcrypt_would_truncate_and_its_prefixes() {
        let long = "0123456789 correct horse battery staple ".repeat(2);
        let secret = parse(&bcrypt::hash(&long, 4).unwrap()).unwrap();
        let prefix = |length| long.get(..length).unwrap();
        for offered in [long.as_str(), prefix(73), prefix(72), prefix(71)] {
            assert_eq!(accepts(&secret, offered).await, Ok(false), "{} bytes", offered.len());
        }
        let longest = prefix(AdminSecret::MAX_BCRYPT_LENGTH);
        let secret = parse(&bcrypt::hash(longest, 4).unwrap()).unwrap();
        assert_eq!(accepts(&secret, longest).await, Ok(true));
        assert_eq!(accepts(&secret, &long).await, Ok(false));
        let in_clear = parse(&format!("{long}and more")).unwrap();
        assert_eq!(accepts(&in_clear, &format!("{long}and less")).await, Ok(false));
        assert_eq!(accepts(&in_clear, &format!("{long}and more")).await, Ok(true));
    }

    #[test]
    fn rejects_secrets_that_are_easy_to_guess_and_incomplete_hashes() {
        for (text, error) in [
            ("", AdminSecretError::Empty),
            ("fifteen letters", AdminSecretError::TooShort { length: 15 }),
            ("ééééééééé", AdminSecretError::TooShort { length: 9 }),
            ("change-me-in-production", AdminSecretError::KnownWeak),
            ("CHANGE_ME_IN_PRODUCTION!", AdminSecretError::KnownWeak),
            ("changeme.changeme", AdminSecretError::KnownWeak),
            ("aaaaaaaaaaaaaaaa", AdminSecretError::Monotonous),
            ("abababababababababab", AdminSecretError::Monotonous),
            ("aaaabbbbccccddddaaaabbbb", AdminSecretError::Monotonous),
            ("hunter2hunter2hunter2", AdminSecretError::Monotonous),
            ("hunter2hunter2hunt", AdminSecretError::Monotonous),
            ("longpassphraselongpassphrase", AdminSecretError::Monotonous),
            ("abcdefghijklmnop", AdminSecretError::Monotonous),
            ("ponmlkjihgfedcba", AdminSecretError::Monotonous),
            ("correct horse battery staple\n", AdminSecretError::Padded),
            (" correct horse battery staple", AdminSecretError::Padded),
            ("$2b$12$", AdminSecretError::MalformedHash),
            ("$2b$12$tooshorttobeahashofanything", AdminSecretError::MalformedHash),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
        for text in
            ["sixteen letters!", "4829105736182940", "aaaaaaaaaaaaaaaaaaaa1b2c3", "correct-horse-battery-staple"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn rejects_bcrypt_cost_out_of_range() {
        let hash = bcrypt::hash(CLEAR, 4).unwrap();
        for cost in [17, 31] {
            let dear = hash.replacen("$04$", &format!("${cost}$"), 1);
            assert_eq!(parse(&dear).unwrap_err(), AdminSecretError::BcryptCost { cost });
        }
    }

    #[tokio::test]
    async fn rejects_logins_of_address_with_full_share_of_queue_and_no_others() {
        let secret = parse(&bcrypt::hash(CLEAR, 4).unwrap()).unwrap();
        let Kind::Bcrypt { queue, .. } = &secret.0 else { panic!("expected a bcrypt hash") };
        let flood = |host| (0..PLACES / 2).map(move |_| queue.places.admit(host).unwrap());
        let held: Vec<_> = flood(LOGIN).chain(flood(IpAddr::from([192, 0, 2, 2]))).collect();
        assert_eq!(accepts(&secret, CLEAR).await, Err(Busy));
        let other = IpAddr::from([192, 0, 2, 3]);
        assert_eq!(secret.verify(&Secret::new("another secret".into()), other).await, Ok(false));
        drop(held);
        assert_eq!(accepts(&secret, CLEAR).await, Ok(true));
    }

    #[test]
    fn debug_output_omits_secret() {
        assert_eq!(format!("{:?}", Secret::new(CLEAR.into())), "…");
        assert_eq!(format!("{:?}", parse(CLEAR).unwrap()), "AdminSecret(digest …)");
        let hashed = parse(&bcrypt::hash(CLEAR, 4).unwrap()).unwrap();
        assert_eq!(format!("{hashed:?}"), "AdminSecret(bcrypt …)");
    }
}

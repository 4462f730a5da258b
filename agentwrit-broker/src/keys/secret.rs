//! The admin secret and other texts that must not be seen.
//!
//! 1. [`Secret`] prints as `…`, whoever formats it, and is wiped when dropped.
//! 2. The admin secret is kept as a digest when it is configured in clear, and as it is when it is a bcrypt hash.
//! 3. It is compared in constant time.
//! 4. bcrypt ignores what follows the 72nd byte. A secret of more than [`AdminSecret::MAX_BCRYPT_LENGTH`] bytes never matches
//!    a hash, so that a prefix of a longer secret is never accepted.
//! 5. bcrypt is slow on purpose: at most two comparisons run at once, on threads for blocking work, and at most
//!    sixteen wait, whose places addresses share fairly; the next one is refused instead of queued.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::limits::fair_share::{FairPool, Favour};

/// Whether a text may be something that the broker handed out in confidence: a token, or 64 hexadecimal digits, as launch
/// tokens, client secrets and nonces are. People paste them where a name belongs; nothing with this form is recorded.
pub(crate) fn is_secret_shaped(text: &str) -> bool {
    let longest_name = 128;
    text.len() > longest_name || text.split(|c: char| !c.is_ascii_hexdigit()).any(|digits| digits.len() >= 64)
}

/// What the admin has to know.
#[derive(Clone)]
pub struct AdminSecret(Kind);

#[derive(Clone)]
enum Kind {
    Digest([u8; 32]),
    Bcrypt { hash: Arc<str>, queue: Arc<Queue>, accepted: Arc<Mutex<Option<[u8; 32]>>> },
}

impl AdminSecret {
    /// The shortest secret in clear that is accepted, in characters.
    pub const MIN_LENGTH: usize = 16;

    /// The longest secret, in bytes, that can be configured as a bcrypt hash.
    pub const MAX_BCRYPT_LENGTH: usize = 71;

    /// Takes a bcrypt hash (`$2a$`, `$2b$`, `$2y$`) as one and anything else as the secret in clear.
    ///
    /// # Errors
    ///
    /// [`AdminSecretError`] when it is too easy to guess or no complete hash.
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
        if is_known_weak(text) {
            return Err(AdminSecretError::KnownWeak);
        }
        if is_monotonous(text) {
            return Err(AdminSecretError::Monotonous);
        }
        Ok(Self(Kind::Digest(Sha256::digest(text).into())))
    }

    /// Whether `offered`, which came from `client`, is the secret.
    ///
    /// # Errors
    ///
    /// [`Busy`] when so many comparisons with a bcrypt hash wait that this one would have to wait for seconds.
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

    /// The same, where a digest tells; `None` when only a slow comparison does.
    pub(crate) fn verify_at_once(&self, offered: &Secret) -> Option<bool> {
        let computed: [u8; 32] = Sha256::digest(offered.expose()).into();
        match &self.0 {
            Kind::Digest(digest) => Some(bool::from(computed.ct_eq(digest))),
            Kind::Bcrypt { accepted, .. } => {
                // What was accepted once needs no comparison again: a flood of wrong secrets keeps nobody out who knows
                // the right one.
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

/// Why a text cannot be the admin secret. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminSecretError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Begins or ends with white space: mostly a line feed from a file, which nobody would send.
    #[error("begins or ends with white space")]
    Padded,
    /// Can be guessed.
    #[error("has {length} characters, at least {} are required", AdminSecret::MIN_LENGTH)]
    TooShort {
        /// In characters.
        length: usize,
    },
    /// Stands in documentation or in a list of passwords.
    #[error("is a well-known placeholder")]
    KnownWeak,
    /// One character, a few of them, or one short text again and again, or a sequence such as `abcdefghijklmnop`.
    #[error("repeats a few characters, or is a sequence of neighbours")]
    Monotonous,
    /// Begins like a bcrypt hash and is none; often a shell has replaced its `$`.
    #[error("begins like a bcrypt hash but is not a complete one (is every `$` still there?)")]
    MalformedHash,
    /// Too cheap to resist, or so dear that every login would take minutes.
    #[error("has bcrypt cost {cost}, 4 to 16 are accepted")]
    BcryptCost {
        /// The binary logarithm of the number of rounds.
        cost: u32,
    },
}

/// Too many comparisons are waiting. Try again in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins are waiting to be checked")]
pub struct Busy;

const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=16;

/// How many comparisons run or wait.
const PLACES: usize = 2 + 16;

/// Bounds the work that wrong secrets can cause.
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
            // A client that hangs up must not free the permit while the comparison still runs.
            let _permit = permit;
            bcrypt::non_truncating_verify(offered.expose(), &hash).unwrap_or(false)
        });
        comparison.await.map_err(|_| Busy)
    }
}

/// Spelling variants of one placeholder are one placeholder.
fn is_known_weak(text: &str) -> bool {
    let plain: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    KNOWN_WEAK.contains(&plain.as_str())
}

/// The least number of different characters: sixteen random decimal digits have about eight.
const LEAST_VARIETY: usize = 5;

/// Whether a text is guessed without trying many: too few different characters, a text shorter than is accepted again and
/// again, or neighbours in order.
fn is_monotonous(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let distinct: BTreeSet<char> = characters.iter().copied().collect();
    let repeats = |unit: usize| {
        let (beginning, rest) = (characters.iter(), characters.iter().skip(unit));
        unit.saturating_mul(2) <= characters.len() && rest.zip(beginning).all(|(later, earlier)| later == earlier)
    };
    let steps: BTreeSet<i64> = characters
        .windows(2)
        .filter_map(
            |pair| if let [a, b] = pair { Some(i64::from(u32::from(*b)) - i64::from(u32::from(*a))) } else { None },
        )
        .collect();
    distinct.len() < LEAST_VARIETY || (1..AdminSecret::MIN_LENGTH).any(repeats) || steps.len() == 1
}

/// In lower case without punctuation.
const KNOWN_WEAK: [&str; 33] = [
    "changemeinproduction",
    "changethisinproduction",
    "changemebeforeproduction",
    "changemechangeme",
    "changemeplease",
    "changemenow",
    "pleasechangeme",
    "pleasechangethis",
    "changeitplease",
    "changethissecret",
    "changethispassword",
    "replacethissecret",
    "replacemeinproduction",
    "yoursecrethere",
    "youradminsecret",
    "youradminsecrethere",
    "yoursupersecretkey",
    "insertyoursecrethere",
    "thisisasecret",
    "thisisnotsecure",
    "notsecureatallever",
    "defaultadminsecret",
    "insecuredefaultsecret",
    "insecuredefault",
    "adminadminadminadmin",
    "administratoradministrator",
    "passwordpassword",
    "secretsecretsecret",
    "supersecretpassword",
    "0123456789abcdef",
    "1234567890123456",
    "0000000000000000",
    "qwertyuiopasdfgh",
];

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
    async fn a_secret_in_clear_is_compared_whole() {
        let secret = parse(CLEAR).unwrap();
        assert_eq!(accepts(&secret, CLEAR).await, Ok(true));
        for wrong in ["", "correct horse", "correct horse battery staplf", "Correct horse battery staple"] {
            assert_eq!(accepts(&secret, wrong).await, Ok(false), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_hash_of_each_version_is_taken_as_one() {
        let hash = bcrypt::hash_with_result(CLEAR, 4).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let hash = hash.format_for_version(version);
            let secret = parse(&hash).unwrap();
            assert_eq!(accepts(&secret, CLEAR).await, Ok(true));
            assert_eq!(accepts(&secret, "something else entirely").await, Ok(false));
            assert_eq!(accepts(&secret, &hash).await, Ok(false), "the hash is no secret");
        }
    }

    #[tokio::test]
    async fn rejects_secret_that_bcrypt_would_truncate_and_its_prefixes() {
        let long = "0123456789 correct horse battery staple ".repeat(2);
        let secret = parse(&bcrypt::hash(&long, 4).unwrap()).unwrap();
        for offered in [long.as_str(), &long[..73], &long[..72], &long[..71]] {
            assert_eq!(accepts(&secret, offered).await, Ok(false), "{} bytes", offered.len());
        }
        let longest = &long[..AdminSecret::MAX_BCRYPT_LENGTH];
        let secret = parse(&bcrypt::hash(longest, 4).unwrap()).unwrap();
        assert_eq!(accepts(&secret, longest).await, Ok(true));
        assert_eq!(accepts(&secret, &long).await, Ok(false));
        let in_clear = parse(&format!("{long}and more")).unwrap();
        assert_eq!(accepts(&in_clear, &format!("{long}and less")).await, Ok(false));
        assert_eq!(accepts(&in_clear, &format!("{long}and more")).await, Ok(true));
    }

    #[test]
    fn what_can_be_guessed_is_refused() {
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
    fn the_cost_of_a_hash_is_bounded() {
        let hash = bcrypt::hash(CLEAR, 4).unwrap();
        for cost in [17, 31] {
            let dear = hash.replacen("$04$", &format!("${cost}$"), 1);
            assert_eq!(parse(&dear).unwrap_err(), AdminSecretError::BcryptCost { cost });
        }
    }

    #[tokio::test]
    async fn refuses_the_logins_of_an_address_that_has_its_share_of_the_queue_and_no_others() {
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
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(CLEAR.into())), "…");
        assert_eq!(format!("{:?}", parse(CLEAR).unwrap()), "AdminSecret(digest …)");
        let hashed = parse(&bcrypt::hash(CLEAR, 4).unwrap()).unwrap();
        assert_eq!(format!("{hashed:?}"), "AdminSecret(bcrypt …)");
    }
}

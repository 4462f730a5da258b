//! Sessions of operators who have signed in.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::{FeedCursor, Level};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName, header::COOKIE};
use zeroize::Zeroizing;

use crate::domain::Digest;

/// Time without a request after which a session ends.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Lifetime of a session's token, in seconds: the longest session.
pub(super) const TOKEN_TTL: u64 = 8 * 3600;
/// Largest number of sessions. Another sign-in ends the one that was used least recently.
pub(super) const MAX_SESSIONS: usize = 64;

/// Largest number of revocations that a session keeps: pages of earlier ones show no target.
const MAX_REVOCATIONS: usize = 64;

/// Header of a request by which a page refreshes itself.
const REFRESH: HeaderName = HeaderName::from_static("agentwrit-refresh");
/// Header of a request that waits for news: the version that its page shows.
pub(super) const NEWEST: HeaderName = HeaderName::from_static("agentwrit-newest");

/// Name of the cookie over TLS: a browser accepts the prefix only with `Secure`, `Path=/` and without `Domain`.
const SECURE_COOKIE: &str = "__Host-agentwrit-console";
/// Name of the cookie without TLS. Cookies know no port: its path keeps it from other programs of the host that have no `/console`.
const PLAIN_COOKIE: &str = "agentwrit-console";

/// Sessions of this broker, by the digest of their secret.
pub(super) struct Sessions {
    is_https: bool,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
}

/// A session.
#[derive(Clone)]
pub(super) struct Session {
    /// Token of the operator, which the pages never contain.
    pub(super) token: Zeroizing<String>,
    /// Text that forms of the session contain.
    pub(super) form_token: String,
    /// Moment of the latest request that counts.
    used_at: Instant,
    /// Its latest revocations, oldest first.
    revocations: VecDeque<RevokedHere>,
}

/// A revocation of a session, which its confirmation page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RevokedHere {
    /// End of the log after it.
    pub(super) cursor: FeedCursor,
    pub(super) level: Level,
    pub(super) target: String,
    /// Number of live tokens that it ended.
    pub(super) count: u64,
}

impl Session {
    /// Returns the revocation that ended at a place of the log, if it is one of the session.
    pub(super) fn revocation(&self, cursor: &FeedCursor) -> Option<&RevokedHere> {
        self.revocations.iter().rev().find(|revoked| revoked.cursor == *cursor)
    }

    /// Returns the time until it ends without another request.
    pub(super) fn idle_left(&self, now: Instant) -> Duration {
        IDLE_LIMIT.saturating_sub(now.saturating_duration_since(self.used_at))
    }
}

impl Sessions {
    pub(super) fn new(is_https: bool) -> Self {
        Self { is_https, sessions: Mutex::default() }
    }

    /// Begins a session that holds `token`. Returns the value of `Set-Cookie`.
    pub(super) fn begin(&self, token: String, random: &[u8; 64], now: Instant) -> String {
        let (secret, form_token) = random.split_at(32);
        let secret = BASE64URL_NOPAD.encode(secret);
        let form_token = BASE64URL_NOPAD.encode(form_token);
        let session = Session { token: Zeroizing::new(token), form_token, used_at: now, revocations: VecDeque::new() };
        let mut sessions = self.lock();
        sessions.retain(|_, session| is_alive(session, now));
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used_at).map(|(key, _)| *key);
            oldest.and_then(|key| sessions.remove(&key));
        }
        sessions.insert(key_of(&secret), session);
        self.cookie(&secret, None)
    }

    /// Returns the session that the request names, if it has not ended. The request keeps it alive if it `counts`.
    pub(super) fn find(&self, headers: &HeaderMap, now: Instant, counts: bool) -> Option<Session> {
        let key = key_of(self.secret_in(headers)?);
        let mut sessions = self.lock();
        if !sessions.get(&key).is_some_and(|session| is_alive(session, now)) {
            sessions.remove(&key);
            return None;
        }
        let session = sessions.get_mut(&key)?;
        if counts {
            session.used_at = now;
        }
        Some(session.clone())
    }

    /// Returns true if the request names a session, ended or not.
    pub(super) fn is_named(&self, headers: &HeaderMap) -> bool {
        self.secret_in(headers).is_some()
    }

    /// Adds a revocation to the session that the request names.
    pub(super) fn add_revocation(&self, headers: &HeaderMap, revoked: RevokedHere) {
        let Some(key) = self.secret_in(headers).map(key_of) else { return };
        if let Some(session) = self.lock().get_mut(&key) {
            if session.revocations.len() >= MAX_REVOCATIONS {
                session.revocations.pop_front();
            }
            session.revocations.push_back(revoked);
        }
    }

    /// Ends the session that the request names. Returns the value of `Set-Cookie` that removes the cookie.
    pub(super) fn end(&self, headers: &HeaderMap) -> String {
        if let Some(secret) = self.secret_in(headers) {
            self.lock().remove(&key_of(secret));
        }
        self.cookie("", Some(0))
    }

    fn cookie(&self, secret: &str, max_age: Option<u64>) -> String {
        let end = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let (name, path, secure) =
            if self.is_https { (SECURE_COOKIE, "/", "; Secure") } else { (PLAIN_COOKIE, "/console", "") };
        format!("{name}={secret}; Path={path}; HttpOnly; SameSite=Strict{secure}{end}")
    }

    /// Returns the value of the session's cookie. A cookie without the prefix does not count over TLS: another service of the
    /// host's domain can set it.
    fn secret_in<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let name = if self.is_https { SECURE_COOKIE } else { PLAIN_COOKIE };
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut found = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        found.find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns true if a page sent the request by itself, and the operator did nothing.
pub(super) fn is_refresh(headers: &HeaderMap) -> bool {
    headers.contains_key(REFRESH) || headers.contains_key(NEWEST)
}

/// Returns the key of a session: a look-up takes the same time whatever part of the secret is right.
fn key_of(secret: &str) -> [u8; 32] {
    *Digest::of(secret.as_bytes()).as_bytes()
}

fn is_alive(session: &Session, now: Instant) -> bool {
    !session.idle_left(now).is_zero()
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("is_https", &self.is_https).finish_non_exhaustive()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("used_at", &self.used_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    fn begin(sessions: &Sessions, number: u8, now: Instant) -> HeaderMap {
        let cookie = sessions.begin(format!("token-{number}"), &[number; 64], now);
        headers(cookie.split(';').next().unwrap())
    }

    #[test]
    fn ends_idle_session_and_ignores_refreshes() {
        let (sessions, start) = (Sessions::new(true), Instant::now());
        let cookie = begin(&sessions, 1, start);
        let almost = start + IDLE_LIMIT.saturating_sub(Duration::from_millis(1));
        assert!(sessions.find(&cookie, almost, false).is_some());
        assert!(sessions.find(&cookie, start + IDLE_LIMIT, true).is_none());
        assert!(sessions.find(&cookie, start, true).is_none(), "it has ended");

        let cookie = begin(&sessions, 2, start);
        assert!(sessions.find(&cookie, almost, true).is_some());
        assert!(sessions.find(&cookie, start + IDLE_LIMIT, true).is_some());
    }

    #[test]
    fn limits_number_of_sessions_by_ending_the_least_recently_used() {
        let (sessions, start) = (Sessions::new(false), Instant::now());
        let cookies: Vec<HeaderMap> =
            (0..64).map(|number| begin(&sessions, number, start + Duration::from_millis(number.into()))).collect();
        let later = start + Duration::from_secs(1);
        assert!(sessions.find(&cookies[0], later, true).is_some());
        let newest = begin(&sessions, 99, later);
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
        let alive = [&cookies[0], &cookies[1], &cookies[2], &newest].map(|cookie| sessions.find(cookie, later, true));
        assert_eq!(alive.map(|session| session.is_some()), [true, false, true, true]);
    }

    #[test]
    fn keeps_latest_revocations_of_its_own_session() {
        let (sessions, start) = (Sessions::new(false), Instant::now());
        let (one, other) = (begin(&sessions, 1, start), begin(&sessions, 2, start));
        let cursor = |number| FeedCursor::new("00112233445566778899aabbccddeeff", number).unwrap();
        for number in 0..=MAX_REVOCATIONS as u64 {
            let target = number.to_string();
            let revoked = RevokedHere { cursor: cursor(number), level: Level::Task, target, count: number };
            sessions.add_revocation(&one, revoked);
        }
        let found = |cookie, number| {
            let session = sessions.find(cookie, start, true).unwrap();
            session.revocation(&cursor(number)).map(|revoked| revoked.count)
        };
        assert_eq!([0, 1, 64].map(|number| found(&one, number)), [None, Some(1), Some(64)]);
        assert_eq!(found(&other, 64), None);
    }

    #[test]
    fn cookie_has_host_prefix_over_tls_only() {
        for (is_https, expected) in [
            (true, "__Host-agentwrit-console=AQEB; Path=/; HttpOnly; SameSite=Strict; Secure"),
            (false, "agentwrit-console=AQEB; Path=/console; HttpOnly; SameSite=Strict"),
        ] {
            assert_eq!(Sessions::new(is_https).cookie("AQEB", None), expected);
        }
    }

    #[test]
    fn rejects_cookie_of_other_name_and_unknown_secret() {
        let (sessions, start) = (Sessions::new(true), Instant::now());
        let cookie = sessions.begin("token".to_owned(), &[1; 64], start);
        let secret = cookie.split(['=', ';']).nth(1).unwrap();
        let is_found = |text: &str| sessions.find(&headers(text), start, true).is_some();
        assert!(is_found(&format!("a=b; {SECURE_COOKIE}={secret}")));
        for text in [
            format!("{PLAIN_COOKIE}={secret}"),
            format!("{SECURE_COOKIE}={}", secret.to_ascii_lowercase()),
            format!("{SECURE_COOKIE}="),
            SECURE_COOKIE.to_owned(),
        ] {
            assert!(!is_found(&text), "{text}");
        }
        let removal = sessions.end(&headers(&format!("{SECURE_COOKIE}={secret}")));
        assert!(removal.contains("Max-Age=0"));
        assert!(!is_found(&format!("{SECURE_COOKIE}={secret}")));
    }
}

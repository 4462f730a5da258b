//! Time as a parameter: nothing else in this workspace reads the system clock.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment on the wall clock: the time since 1970-01-01T00:00:00Z, as in RFC 7519 §2 (`NumericDate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The last moment that RFC 3339 can write: 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(Duration::from_secs(253_402_300_799));

    /// A moment from whole seconds since the epoch, at most [`UnixTime::MAX`].
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self::since_epoch(Duration::from_secs(seconds))
    }

    /// A moment from the time since the epoch, at most [`UnixTime::MAX`].
    #[must_use]
    pub fn since_epoch(elapsed: Duration) -> Self {
        Self(elapsed.min(Self::MAX.0))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    /// The time since the epoch.
    #[must_use]
    pub fn elapsed_since_epoch(self) -> Duration {
        self.0
    }

    /// The moment `later` after this one, at most [`UnixTime::MAX`].
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Self {
        Self::since_epoch(self.0.saturating_add(later))
    }

    /// The moment `earlier` before this one, at least the epoch.
    #[must_use]
    pub fn saturating_sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }

    /// Returns the duration since `earlier`; zero when `earlier` is later than this time.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with whole seconds: `2026-11-21T08:00:00Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        i64::try_from(self.seconds())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map_or_else(|| String::from("9999-12-31T23:59:59Z"), |timestamp| timestamp.to_string())
    }

    /// Parses the text that [`to_rfc3339`](Self::to_rfc3339) returns for a moment, and no other spelling of it.
    pub(crate) fn parse_canonical(text: &str) -> Option<Self> {
        let [year @ .., b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'] = text.as_bytes()
        else {
            return None;
        };
        let is_canonical = year.len() == 4
            && year.iter().chain([m1, m2, d1, d2, h1, h2, n1, n2, s1, s2]).all(u8::is_ascii_digit)
            // RFC 3339 parsers take a leap second for the second before.
            && *s1 < b'6';
        if is_canonical { Self::parse_rfc3339(text).ok() } else { None }
    }

    /// Parses RFC 3339 with any offset; the offset is applied.
    ///
    /// # Errors
    ///
    /// [`TimeError`] when the text is not RFC 3339 or lies before 1970.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        let malformed = || TimeError { text: text.chars().take(64).collect() };
        let timestamp: Timestamp = text.parse().map_err(|_| malformed())?;
        let elapsed = Duration::try_from(timestamp.as_duration()).map_err(|_| malformed())?;
        Ok(Self::since_epoch(elapsed))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl Serialize for UnixTime {
    /// Serialises as RFC 3339.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(de::Error::custom)
    }
}

/// A text is not an RFC 3339 time since 1970.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time such as `2026-11-21T08:00:00Z`")]
#[non_exhaustive]
pub struct TimeError {
    /// The beginning of the text.
    pub text: String,
}

/// Source of the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock. It may jump, forwards and back.
    fn now(&self) -> UnixTime;

    /// A clock that never goes back, to measure ages with.
    fn monotonic(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> UnixTime {
        self.as_ref().now()
    }

    fn monotonic(&self) -> Instant {
        self.as_ref().monotonic()
    }
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit struct that callers name as a value")]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system clock")]
    fn now(&self) -> UnixTime {
        // A clock before 1970 reads as 1970: every token is then not yet valid, which fails closed.
        UnixTime::since_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc3339_round_trips_in_whole_seconds() {
        let time = UnixTime::from_seconds(1_795_248_000);
        assert_eq!(time.to_rfc3339(), "2026-11-21T08:00:00Z");
        assert_eq!(UnixTime::parse_rfc3339("2026-11-21T08:00:00Z"), Ok(time));
        assert_eq!(UnixTime::parse_rfc3339("2026-11-21T09:00:00+01:00"), Ok(time));
    }

    fn near_canonical() -> impl Strategy<Value = String> {
        let digits = |least: u32, most: u32| (least..=most).prop_map(|number| format!("{number:02}"));
        let date = (1960_u32..=10_010, digits(0, 13), digits(0, 32)).prop_map(|(y, m, d)| format!("{y:04}-{m}-{d}"));
        let time = (digits(0, 24), digits(0, 60), digits(0, 60)).prop_map(|(h, m, s)| format!("{h}:{m}:{s}"));
        let rest =
            (prop::sample::select(vec!["T", "t", " "]), prop::sample::select(vec!["Z", "z", "+00:00", ".0Z", ""]));
        (date, time, rest).prop_map(|(date, time, (middle, end))| format!("{date}{middle}{time}{end}"))
    }

    proptest! {
        #[test]
        fn parse_canonical_accepts_exactly_what_is_printed(text in near_canonical()) {
            let expected = UnixTime::parse_rfc3339(&text).ok().filter(|time| time.to_rfc3339() == text);
            prop_assert_eq!(UnixTime::parse_canonical(&text), expected);
        }
    }

    #[test]
    fn saturates_beyond_year_9999_and_rejects_times_before_1970() {
        assert_eq!(UnixTime::from_seconds(u64::MAX), UnixTime::MAX);
        assert_eq!(UnixTime::MAX.to_rfc3339(), "9999-12-31T23:59:59Z");
        assert_eq!(UnixTime::MAX.saturating_add(Duration::MAX), UnixTime::MAX);
        assert!(UnixTime::parse_rfc3339("1969-12-31T23:59:59Z").is_err());
        assert!(UnixTime::parse_rfc3339("yesterday").is_err());
        assert!(UnixTime::parse_rfc3339("").is_err());
    }
}

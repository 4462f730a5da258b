//! Moments on the command line: RFC 3339, a date, or how long ago.

use std::time::Duration;

use agentwrit_verify::UnixTime;

const DAY: Duration = Duration::from_secs(86_400);

/// A moment as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// RFC 3339.
    At(UnixTime),
    /// `2026-11-21`: this day in UTC, which begins at that moment.
    Day(UnixTime),
    /// `1h`: this long before now.
    Ago(Duration),
}

impl When {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(time) = UnixTime::parse_rfc3339(text) {
            return Ok(Self::At(time));
        }
        if text.len() == "2026-11-21".len()
            && let Ok(midnight) = UnixTime::parse_rfc3339(&format!("{text}T00:00:00Z"))
        {
            return Ok(Self::Day(midnight));
        }
        ago(text).map(Self::Ago).ok_or_else(|| {
            "RFC 3339 as in 2026-11-21T08:00:00Z, a date as in 2026-11-21 (UTC), or how long ago as in 90s, 15m, 1h, 2d, 1w"
                .to_owned()
        })
    }

    /// The first moment of it.
    pub(super) fn first(self, now: UnixTime) -> UnixTime {
        match self {
            Self::At(time) | Self::Day(time) => time,
            Self::Ago(passed) => now.saturating_sub(passed),
        }
    }

    /// The last moment of it, to the microsecond.
    pub(super) fn last(self, now: UnixTime) -> UnixTime {
        match self {
            Self::Day(midnight) => midnight.saturating_add(DAY).saturating_sub(Duration::from_micros(1)),
            Self::At(_) | Self::Ago(_) => self.first(now),
        }
    }
}

fn ago(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let seconds: u64 = match text.strip_prefix(digits)? {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let amount: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    amount.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> UnixTime {
        UnixTime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn a_moment_has_a_first_and_a_last_instant() {
        let now = time("2026-11-21T08:00:00Z");
        for (text, first, last) in [
            ("2026-11-20T07:00:00+01:00", "2026-11-20T06:00:00Z", "2026-11-20T06:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z", "2026-11-20T23:59:59.999999Z"),
            ("2028-02-29", "2028-02-29T00:00:00Z", "2028-02-29T23:59:59.999999Z"),
            ("90s", "2026-11-21T07:58:30Z", "2026-11-21T07:58:30Z"),
            ("15m", "2026-11-21T07:45:00Z", "2026-11-21T07:45:00Z"),
            ("15min", "2026-11-21T07:45:00Z", "2026-11-21T07:45:00Z"),
            ("1h", "2026-11-21T07:00:00Z", "2026-11-21T07:00:00Z"),
            ("2d", "2026-11-19T08:00:00Z", "2026-11-19T08:00:00Z"),
            ("1w", "2026-11-14T08:00:00Z", "2026-11-14T08:00:00Z"),
            ("9999999d", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ] {
            let when = When::parse(text).unwrap();
            assert_eq!((when.first(now), when.last(now)), (time(first), time(last)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_moments() {
        for text in [
            "",
            "h",
            "1",
            "1y",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            "yesterday",
            "2026-11",
            "2026-13-01",
            "2026-02-30",
            "21.11.2026",
            "2026-11-21T08:00:00",
            "99999999999999999999s",
            "9999999999999999999w",
            "é1",
        ] {
            assert!(When::parse(text).is_err(), "{text:?}");
        }
    }
}

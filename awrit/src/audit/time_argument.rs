//! Times on the command line: RFC 3339, a date, or a duration before now.

use std::time::Duration;

use agentwrit_verify::UnixTime;

use crate::duration_argument;

const DAY: Duration = Duration::from_secs(86_400);

/// Time in one of its three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeArgument {
    /// RFC 3339.
    At(UnixTime),
    /// Start of a day in UTC, as in `2026-11-21`.
    Day(UnixTime),
    /// Duration before now, as in `1h`.
    Ago(Duration),
}

impl TimeArgument {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(time) = UnixTime::parse_rfc3339(text) {
            return Ok(Self::At(time));
        }
        if text.len() == "2026-11-21".len()
            && let Ok(midnight) = UnixTime::parse_rfc3339(&format!("{text}T00:00:00Z"))
        {
            return Ok(Self::Day(midnight));
        }
        duration_argument::parse(text).map(Self::Ago).ok_or_else(|| {
            "write RFC 3339 as in 2026-11-21T08:00:00Z, a date as in 2026-11-21 (UTC), or a duration before now as in 90s, 15m, 1h, 2d, 1w"
                .to_owned()
        })
    }

    /// Returns the start of the time.
    pub(super) fn start(self, now: UnixTime) -> UnixTime {
        match self {
            Self::At(time) | Self::Day(time) => time,
            Self::Ago(passed) => now.saturating_sub(passed),
        }
    }

    /// Returns the end of the time: of a date its last microsecond.
    pub(super) fn end(self, now: UnixTime) -> UnixTime {
        match self {
            Self::Day(midnight) => midnight.saturating_add(DAY).saturating_sub(Duration::from_micros(1)),
            Self::At(_) | Self::Ago(_) => self.start(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> UnixTime {
        UnixTime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn parses_times_dates_and_durations() {
        let now = time("2026-11-21T08:00:00Z");
        for (text, start, end) in [
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
            let time_argument = TimeArgument::parse(text).unwrap();
            assert_eq!((time_argument.start(now), time_argument.end(now)), (time(start), time(end)), "{text}");
        }
    }

    #[test]
    fn rejects_other_texts() {
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
            assert!(TimeArgument::parse(text).is_err(), "{text:?}");
        }
    }
}

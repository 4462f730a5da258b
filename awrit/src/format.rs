//! Numbers, times and scopes as text.

use std::time::Duration;

use agentwrit_verify::{ScopeSet, UnixTime};

/// Returns the value as text; `-` for one that the broker did not send.
pub(crate) fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Formats a duration in its two largest units, as in `3 min 12 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
    let Some(first) = parts.iter().position(|(amount, _)| *amount > 0) else { return "0 s".to_owned() };
    let parts: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount} {unit}"))
        .collect();
    parts.join(" ")
}

/// Formats a time relative to `now`, as in `in 3 min 12 s`, `2 h 5 min ago` or `now`.
pub(crate) fn relative(time: UnixTime, now: UnixTime) -> String {
    let whole =
        |later: UnixTime, earlier: UnixTime| Duration::from_secs(later.seconds().saturating_sub(earlier.seconds()));
    match (whole(time, now), whole(now, time)) {
        (Duration::ZERO, Duration::ZERO) => "now".to_owned(),
        (ahead, Duration::ZERO) => format!("in {}", self::duration(ahead)),
        (_, passed) => format!("{} ago", self::duration(passed)),
    }
}

/// Formats a time with its distance from `now`, as in `2026-11-21T08:00:00Z (in 5 min)`.
pub(crate) fn time(time: UnixTime, now: UnixTime) -> String {
    format!("{time} ({})", relative(time, now))
}

/// Joins scopes with spaces, as OAuth does.
pub(crate) fn scopes(scopes: &ScopeSet) -> String {
    let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

/// Formats a number of things, as in `1 event` or `12,345 events`.
pub(crate) fn count(amount: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(amount), if amount == 1 { "" } else { "s" })
}

/// Formats a number with thousands separators, as in `12,345`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Removes the fraction of `2026-11-21T08:00:00.000001Z`: the id orders events of one second.
pub(crate) fn to_the_second(timestamp: &str) -> String {
    timestamp.split_once('.').map_or_else(|| timestamp.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_durations_in_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (192, "3 min 12 s"),
            (180, "3 min"),
            (3600, "1 h"),
            (7512, "2 h 5 min"),
            (3605, "1 h"),
            (86_400, "1 d"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn formats_times_relative_to_now() {
        let at = UnixTime::from_seconds;
        assert_eq!(relative(at(100), at(100)), "now");
        assert_eq!(relative(at(112), at(100)), "in 12 s");
        assert_eq!(relative(at(100), at(160)), "1 min ago");
        assert_eq!(relative(UnixTime::since_epoch(Duration::from_millis(100_900)), at(100)), "now");
    }

    #[test]
    fn formats_numbers_with_thousands_separators() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), expected);
        }
    }
}

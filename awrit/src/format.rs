//! Numbers and times as people say them.

use std::time::Duration;

use agentwrit_verify::{ScopeSet, UnixTime};

/// A cell of a table: `-` for what the broker did not say.
pub(crate) fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// `3 min 12 s`: the two largest units.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
    let Some(first) = parts.iter().position(|(amount, _)| *amount > 0) else { return "0 s".to_owned() };
    let said: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount} {unit}"))
        .collect();
    said.join(" ")
}

/// `in 3 min 12 s`, `2 h 5 min ago` or `now`.
pub(crate) fn relative(time: UnixTime, now: UnixTime) -> String {
    let whole =
        |later: UnixTime, earlier: UnixTime| Duration::from_secs(later.seconds().saturating_sub(earlier.seconds()));
    match (whole(time, now), whole(now, time)) {
        (Duration::ZERO, Duration::ZERO) => "now".to_owned(),
        (ahead, Duration::ZERO) => format!("in {}", self::duration(ahead)),
        (_, passed) => format!("{} ago", self::duration(passed)),
    }
}

/// Scopes with spaces between, as OAuth writes them.
pub(crate) fn scopes(scopes: &ScopeSet) -> String {
    let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

/// `1 event`, `12,345 events`.
pub(crate) fn count(amount: u64, what: &str) -> String {
    format!("{} {what}{}", number(amount), if amount == 1 { "" } else { "s" })
}

/// `12,345`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut said = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            said.push(',');
        }
        said.push(digit);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, said) in [
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
            assert_eq!(duration(Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn times_are_relative() {
        let at = UnixTime::from_seconds;
        assert_eq!(relative(at(100), at(100)), "now");
        assert_eq!(relative(at(112), at(100)), "in 12 s");
        assert_eq!(relative(at(100), at(160)), "1 min ago");
        assert_eq!(relative(UnixTime::since_epoch(Duration::from_millis(100_900)), at(100)), "now");
    }

    #[test]
    fn numbers_have_groups() {
        for (given, said) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(given), said);
        }
    }
}

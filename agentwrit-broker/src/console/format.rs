//! Times, numbers and scopes as pages show them.

use std::{fmt, time::Duration};

use agentwrit_verify::{ScopeSet, UnixTime};

/// A time, shown by its distance from now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    time: UnixTime,
    now: UnixTime,
}

impl Time {
    pub(super) fn new(time: UnixTime, now: UnixTime) -> Self {
        Self { time, now }
    }

    /// Returns the time in RFC 3339.
    pub(super) fn exact(&self) -> String {
        self.time.to_rfc3339()
    }
}

impl fmt::Display for Time {
    /// Writes `in 3 min 12 s`, `2 h 5 min ago` or `now`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |later: UnixTime, earlier: UnixTime| later.seconds().saturating_sub(earlier.seconds());
        match (whole(self.time, self.now), whole(self.now, self.time)) {
            (0, 0) => f.write_str("now"),
            (ahead, 0) => write!(f, "in {}", duration(Duration::from_secs(ahead))),
            (_, passed) => write!(f, "{} ago", duration(Duration::from_secs(passed))),
        }
    }
}

/// Formats a duration in its two largest units.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(amount, _)| *amount > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2).filter(|(amount, unit)| *amount > 0 || (*unit == "s" && first == 3));
    shown.map(|(amount, unit)| format!("{amount} {unit}")).collect::<Vec<_>>().join(" ")
}

/// Formats a number with thousands separators.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the scopes as texts.
pub(super) fn scopes(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_times_by_distance_and_numbers_with_separators() {
        let at = UnixTime::from_seconds;
        for (time, expected) in [(100, "now"), (112, "in 12 s"), (40, "1 min ago"), (100 + 7512, "in 2 h 5 min")] {
            assert_eq!(Time::new(at(time), at(100)).to_string(), expected);
        }
        assert_eq!(duration(Duration::ZERO), "0 s");
        assert_eq!((number(0), number(1_234_567)), ("0".to_owned(), "1,234,567".to_owned()));
    }
}

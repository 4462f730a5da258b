//! Durations on the command line.

use std::time::Duration;

/// Parses a number with its unit, as in `90s`, `15m`, `1h`, `2d` or `1w`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
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

/// Time limit of a wait: `30s`, `5m`, or seconds alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitLimit {
    /// As long as it takes to be certain.
    UntilCertain,
    /// At most so long.
    AtMost(Duration),
}

impl WaitLimit {
    /// Parses the value of `--wait`; the empty text is the option without a value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::UntilCertain);
        }
        let seconds = || text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let limit = parse(text).or_else(|| seconds().map(Duration::from_secs));
        limit.map(Self::AtMost).ok_or_else(|| "write a duration as in 30s, 5m or 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_limit_of_wait() {
        let at_most = |seconds| Ok(WaitLimit::AtMost(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("", Ok(WaitLimit::UntilCertain)),
            ("30s", at_most(30)),
            ("5m", at_most(300)),
            ("1h", at_most(3600)),
            ("45", at_most(45)),
            ("0", at_most(0)),
        ] {
            assert_eq!(WaitLimit::parse(text), expected, "{text:?}");
        }
        for text in ["soon", "-1", "+1", "s", "1.5s", "5x", "99999999999999999999", "18446744073709551615w", "é"] {
            assert_eq!(WaitLimit::parse(text), Err("write a duration as in 30s, 5m or 1h".to_owned()), "{text:?}");
        }
    }
}

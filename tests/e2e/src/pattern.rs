//! Whole bodies, with what can't be known beforehand described:
//!
//! | pattern | matches |
//! |---|---|
//! | `"$hex(64)"` | that many lower-case hexadecimal characters |
//! | `"$jwt"` | a compact JWS |
//! | `"$cursor"` | a place in the revocation log, `<epoch>.<position>` |
//! | `"$time"` | RFC 3339 in UTC, whole seconds |
//! | `"$bool"` | true or false |
//! | `"$uint"` | a number that is not negative |
//! | `"$sentence"` | text without a line break, not empty |
//! | `"$starts(text)"` | text that begins so and goes on |
//! | anything else | itself, every member of an object and no other |

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// Compares, and says where the first difference is.
///
/// # Errors
///
/// The path to the first difference, what was expected there, and what is.
pub fn compare(expected: &Value, actual: &Value) -> Result<(), String> {
    compare_at("$", expected, actual)
}

fn compare_at(path: &str, expected: &Value, actual: &Value) -> Result<(), String> {
    let differs = || Err(format!("{path}: expected {expected}, found {actual}"));
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(found)) => {
            if let Some(name) = found.keys().find(|name| !wanted.contains_key(*name)) {
                return Err(format!("{path}.{name}: not expected, found {}", found[name]));
            }
            wanted.iter().try_for_each(|(name, value)| {
                let inner = found.get(name).ok_or_else(|| format!("{path}.{name}: missing"))?;
                compare_at(&format!("{path}.{name}"), value, inner)
            })
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.try_for_each(|(i, (wanted, found))| compare_at(&format!("{path}[{i}]"), wanted, found))
        }
        (Value::String(pattern), found) if pattern.starts_with('$') => {
            if describes(pattern, found) {
                Ok(())
            } else {
                differs()
            }
        }
        (wanted, found) => {
            if wanted == found {
                Ok(())
            } else {
                differs()
            }
        }
    }
}

fn describes(pattern: &str, found: &Value) -> bool {
    let (name, argument) = match pattern.split_once('(') {
        Some((name, rest)) => (name, rest.trim_end_matches(')')),
        None => (pattern, ""),
    };
    match (name, found) {
        ("$bool", Value::Bool(_)) => true,
        ("$uint", Value::Number(number)) => number.is_u64(),
        ("$hex", Value::String(text)) => text.len().to_string() == argument && text.bytes().all(is_lower_hex),
        ("$jwt", Value::String(text)) => is_compact_jws(text),
        ("$cursor", Value::String(text)) => is_cursor(text),
        ("$time", Value::String(text)) => is_rfc3339_utc(text),
        ("$sentence", Value::String(text)) => !text.is_empty() && !text.contains('\n'),
        ("$starts", Value::String(text)) => text.strip_prefix(argument).is_some_and(|rest| !rest.is_empty()),
        _ => false,
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_compact_jws(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').map(|part| BASE64URL_NOPAD.decode(part.as_bytes())).collect();
    matches!(&parts[..], [Ok(header), Ok(payload), Ok(signature)]
        if header.starts_with(b"{") && payload.starts_with(b"{") && signature.len() == 64)
}

fn is_cursor(text: &str) -> bool {
    text.split_once('.').is_some_and(|(epoch, position)| {
        epoch.len() == 16 && epoch.bytes().all(is_lower_hex) && position.parse::<u64>().is_ok()
    })
}

fn is_rfc3339_utc(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00Z"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_describe_what_they_say() {
        for (pattern, yes, no) in [
            ("$hex(4)", json!("0a9f"), vec![json!("0a9F"), json!("0a9"), json!(1234)]),
            ("$bool", json!(false), vec![json!(0), json!("true")]),
            ("$uint", json!(0), vec![json!(-1), json!(1.5), json!("1")]),
            ("$cursor", json!("0123456789abcdef.18"), vec![json!("18"), json!("0123456789abcdef."), json!(18)]),
            ("$time", json!("2026-11-21T08:00:00Z"), vec![json!("2026-11-21T08:00:00+01:00"), json!("yesterday")]),
            ("$sentence", json!("no"), vec![json!(""), json!("a\nb"), json!(null)]),
            ("$starts(app-)", json!("app-x"), vec![json!("app-"), json!("xapp-")]),
            ("$jwt", json!(format!("e30.e30.{}", "A".repeat(86))), vec![json!("e30.e30.AA"), json!("e30.e30")]),
        ] {
            let pattern = json!(pattern);
            assert_eq!(compare(&pattern, &yes), Ok(()));
            for other in no {
                assert!(compare(&pattern, &other).is_err(), "{pattern} {other}");
            }
        }
    }

    #[test]
    fn every_member_counts() {
        assert_eq!(compare(&json!({"a": [1, "$uint"]}), &json!({"a": [1, 2]})), Ok(()));
        for (expected, actual, difference) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), "$.b: not expected, found 2"),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), "$.b: missing"),
            (json!({"a": [1, 2]}), json!({"a": [1, 3]}), "$.a[1]: expected 2, found 3"),
            (json!([1]), json!([1, 2]), "$: expected [1], found [1,2]"),
            (json!(1), json!("1"), "$: expected 1, found \"1\""),
        ] {
            assert_eq!(compare(&expected, &actual), Err(difference.to_owned()));
        }
    }
}

//! Registered claims of a foreign token (RFC 7519 §4.1), checked.
//!
//! 1. `exp` is required and has no leeway: a workload gets another token. `nbf` and `iat` may be up to 60 s in the future.
//! 2. A token is valid for at most 24 hours, from `iat` if it has one: a long-lived token is a shared secret again.
//! 3. `aud` is a text or a list of texts, one of which is exactly the rule's audience (RFC 8725 §3.9). Tokens for other
//!    services that the workload calls attest nothing.
//! 4. Values of wrong types are rejected, never skipped.

use std::time::Duration;

use agentwrit_verify::UnixTime;
use serde_json::{Map, Value};

use super::error::AttestationError;

/// Time by which `nbf` and `iat` may be ahead of the broker's clock.
const LEEWAY: Duration = Duration::from_secs(60);
/// Longest lifetime.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Largest integer that every JSON implementation keeps.
const MAX_NUMBER: f64 = 9_007_199_254_740_991.0;

/// Checks the times of a token; returns its expiry.
pub(super) fn check_times(claims: &Map<String, Value>, now: UnixTime) -> Result<UnixTime, AttestationError> {
    let expires_at = time(claims, "exp")?.ok_or(AttestationError::ExpiryMissing)?;
    let (issued_at, not_before) = (issued_at(claims)?, time(claims, "nbf")?);
    if now >= expires_at {
        return Err(AttestationError::Expired);
    }
    let latest = now.saturating_add(LEEWAY);
    if issued_at.into_iter().chain(not_before).any(|time| time > latest) {
        return Err(AttestationError::NotYetValid);
    }
    if expires_at.saturating_since(issued_at.unwrap_or(now)) > MAX_LIFETIME {
        return Err(AttestationError::LifetimeTooLong);
    }
    Ok(expires_at)
}

/// Checks that the token is for this audience.
pub(super) fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), AttestationError> {
    let is_for = match claims.get("aud") {
        Some(Value::String(text)) => text == audience,
        Some(Value::Array(elements)) => {
            let texts: Option<Vec<&str>> = elements.iter().map(Value::as_str).collect();
            texts.ok_or(AttestationError::MalformedClaims)?.contains(&audience)
        }
        None => false,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(AttestationError::MalformedClaims);
        }
    };
    if is_for { Ok(()) } else { Err(AttestationError::AudienceMismatch) }
}

/// Returns a claim that must be a text and not empty, if it is present.
pub(super) fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, AttestationError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(AttestationError::MalformedClaims),
    }
}

/// Returns the time at which the token was issued.
pub(super) fn issued_at(claims: &Map<String, Value>) -> Result<Option<UnixTime>, AttestationError> {
    time(claims, "iat")
}

/// Returns a `NumericDate` (RFC 7519 §2), rounded down to whole seconds.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, AttestationError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => whole,
        (None, Some(decimal)) if (0.0..=MAX_NUMBER).contains(&decimal) && !value.is_i64() => {
            Duration::from_secs_f64(decimal).as_secs()
        }
        (None, _) => return Err(AttestationError::MalformedClaims),
    };
    Ok(Some(UnixTime::from_seconds(seconds)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_795_248_000;
    const DAY: u64 = 24 * 3600;

    fn times(claims: &Value) -> Result<UnixTime, AttestationError> {
        check_times(claims.as_object().unwrap(), UnixTime::from_seconds(NOW))
    }

    fn audience(aud: &Value) -> Result<(), AttestationError> {
        check_audience(json!({ "aud": aud }).as_object().unwrap(), "https://broker.example")
    }

    #[test]
    fn accepts_times_up_to_their_edges() {
        let expiry = |seconds| Ok(UnixTime::from_seconds(seconds));
        assert_eq!(times(&json!({ "exp": NOW + 1 })), expiry(NOW + 1));
        assert_eq!(times(&json!({ "exp": NOW + DAY })), expiry(NOW + DAY));
        assert_eq!(times(&json!({ "exp": NOW + 300, "iat": NOW + 60, "nbf": NOW + 60 })), expiry(NOW + 300));
        assert_eq!(times(&json!({ "exp": NOW - DAY + 1 + DAY, "iat": NOW + 1 - DAY + 1 })), expiry(NOW + 1));
        assert_eq!(times(&json!({ "exp": 1_795_248_005.9, "iat": 1_795_248_000.5 })), expiry(NOW + 5));
    }

    #[test]
    fn rejects_times_beyond_their_edges() {
        for (claims, expected) in [
            (json!({ "exp": NOW }), AttestationError::Expired),
            (json!({ "exp": 1_795_248_000.9 }), AttestationError::Expired),
            (json!({ "exp": NOW - 1 }), AttestationError::Expired),
            (json!({ "exp": 0 }), AttestationError::Expired),
            (json!({ "exp": NOW + 300, "iat": NOW + 61 }), AttestationError::NotYetValid),
            (json!({ "exp": NOW + 300, "nbf": NOW + 61 }), AttestationError::NotYetValid),
            (json!({ "exp": NOW + DAY + 1 }), AttestationError::LifetimeTooLong),
            (json!({ "exp": NOW + 1, "iat": NOW - DAY }), AttestationError::LifetimeTooLong),
            (json!({ "exp": u64::MAX }), AttestationError::LifetimeTooLong),
            (json!({ "iat": NOW }), AttestationError::ExpiryMissing),
        ] {
            assert_eq!(times(&claims), Err(expected), "{claims}");
        }
    }

    #[test]
    fn rejects_times_of_other_types() {
        for wrong in
            [json!("1795248300"), json!(null), json!(true), json!(-1), json!([NOW + 300]), json!(1e300), json!(-0.5)]
        {
            for name in ["exp", "iat", "nbf"] {
                let mut claims = json!({ "exp": NOW + 300 });
                claims[name] = wrong.clone();
                assert_eq!(times(&claims), Err(AttestationError::MalformedClaims), "{claims}");
            }
        }
    }

    #[test]
    fn accepts_audience_as_text_or_in_list() {
        assert_eq!(audience(&json!("https://broker.example")), Ok(()));
        assert_eq!(audience(&json!(["https://other.example", "https://broker.example"])), Ok(()));
    }

    #[test]
    fn rejects_near_misses_of_audience() {
        for near in [
            json!("https://broker.example/"),
            json!("https://Broker.example"),
            json!("https://broker.example.evil"),
            json!("https://broker.exampl"),
            json!(" https://broker.example"),
            json!("https://broker.ex\u{430}mple"),
            json!("https://other.example https://broker.example"),
            json!([]),
            json!(["https://other.example"]),
            json!(""),
        ] {
            assert_eq!(audience(&near), Err(AttestationError::AudienceMismatch), "{near}");
        }
        assert_eq!(check_audience(&Map::new(), "https://broker.example"), Err(AttestationError::AudienceMismatch));
        for wrong in [
            json!(null),
            json!(7),
            json!({}),
            json!(["https://broker.example", 7]),
            json!([["https://broker.example"]]),
        ] {
            assert_eq!(audience(&wrong), Err(AttestationError::MalformedClaims), "{wrong}");
        }
    }
}

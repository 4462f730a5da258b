//! Claims of foreign tokens, and whether they meet the conditions of a trust rule.
//!
//! 1. Texts are compared byte for byte: upper and lower case, a trailing slash and letters that look alike all differ.
//! 2. A value is compared with values of its own JSON type: `true` is not `"true"`, `1` is neither `"1"` nor `1.0`.
//! 3. A missing claim and `null` meet no condition.
//! 4. Of a list, one element must equal the value. A prefix is of a text only, never of an element.
//!
//! A prefix may end inside a segment of a path: `repo:acme/` is an organisation, `repo:acme` also that of `acme-evil`. Which
//! of them a rule may have is in `trust_rule::restriction`.

use std::fmt;

use agentwrit_protocol::{ClaimMatch, ClaimValue, limits::MAX_CLAIM_NAME};
use serde_json::{Map, Value};

/// Name of a claim: a member of the token's payload, or of an object in it.
///
/// A name that begins with `/` is a JSON pointer (RFC 6901) through objects: `/kubernetes.io/namespace`. Any other one is a
/// member of that very name (`https://example.com/team`) or, where there is none, a path with dots: `team.name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimName(Box<str>);

/// A text that cannot name a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a claim is 1 to 256 printable ASCII characters without spaces, braces, quotes and backslashes")]
pub struct ClaimNameError;

impl ClaimName {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// [`ClaimNameError`].
    pub fn parse(text: &str) -> Result<Self, ClaimNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'"' | b'\\');
        let valid = matches!(text.len(), 1..=MAX_CLAIM_NAME) && text != "/" && text.bytes().all(is_allowed);
        if valid { Ok(Self(text.into())) } else { Err(ClaimNameError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the claim; `None` if it is missing or `null`.
    #[must_use]
    pub fn of<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let found = match self.0.strip_prefix('/') {
            Some(pointer) => walk(claims, pointer.split('/').map(unescaped)),
            None => claims.get(&*self.0).or_else(|| walk(claims, self.0.split('.').map(str::to_owned))),
        };
        found.filter(|value| !value.is_null())
    }
}

fn walk(claims: &Map<String, Value>, mut names: impl Iterator<Item = String>) -> Option<&Value> {
    let first = claims.get(&names.next()?)?;
    names.try_fold(first, |value, name| value.as_object()?.get(&name))
}

/// Decodes a token of a JSON pointer.
fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a claim meets a condition.
pub(super) fn meets(claim: &Value, condition: &ClaimMatch) -> bool {
    match (condition, claim) {
        (ClaimMatch::Equals(value), Value::Array(elements)) => elements.iter().any(|element| equals(element, value)),
        (ClaimMatch::Equals(value), claim) => equals(claim, value),
        (ClaimMatch::Prefix(prefix), Value::String(text)) => text.starts_with(prefix.as_str()),
        (ClaimMatch::Prefix(_), _) => false,
    }
}

fn equals(claim: &Value, expected: &ClaimValue) -> bool {
    match expected {
        ClaimValue::Text(text) => claim.as_str() == Some(text),
        // None for a decimal, also for one that is whole.
        ClaimValue::Number(number) => claim.as_u64() == Some(*number),
        ClaimValue::Flag(flag) => claim.as_bool() == Some(*flag),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> ClaimName {
        ClaimName::parse(text).unwrap()
    }

    fn text(text: &str) -> ClaimMatch {
        ClaimMatch::Equals(ClaimValue::Text(text.to_owned()))
    }

    #[test]
    fn finds_member_pointer_and_dotted_path_with_member_of_that_name_first() {
        let token = json!({
            "sub": "a", "a.b": "member", "a": { "b": "path" }, "https://example.com/team": "red",
            "kubernetes.io": { "namespace": "prod", "x/y": 1, "pod": { "name": "p" } }, "null": null, "list": ["x"],
        });
        let token = token.as_object().unwrap();
        for (text, found) in [
            ("sub", json!("a")),
            ("/sub", json!("a")),
            ("a.b", json!("member")),
            ("/a/b", json!("path")),
            ("https://example.com/team", json!("red")),
            ("/kubernetes.io/namespace", json!("prod")),
            ("/kubernetes.io/x~1y", json!(1)),
            ("/kubernetes.io/pod/name", json!("p")),
        ] {
            assert_eq!(name(text).of(token), Some(&found), "{text}");
        }
        for text in [
            "Sub",
            "sub.x",
            "/sub/x",
            "kubernetes.io.namespace",
            "/kubernetes.io/",
            "null",
            "/list/0",
            "list.0",
            "//sub",
        ] {
            assert_eq!(name(text).of(token), None, "{text}");
        }
    }

    #[test]
    fn rejects_texts_that_cannot_name_claim() {
        for text in ["", "/", "a b", "a{b}", "größe", "a\n", "a\"b", &"a".repeat(257)] {
            assert_eq!(ClaimName::parse(text), Err(ClaimNameError), "{text:?}");
        }
    }

    #[test]
    fn near_misses_of_text_meet_no_condition() {
        let main = text("repo:acme/app:ref:refs/heads/main");
        assert!(meets(&json!("repo:acme/app:ref:refs/heads/main"), &main));
        assert!(meets(&json!(["x", "repo:acme/app:ref:refs/heads/main"]), &main));
        for near in [
            json!("repo:Acme/app:ref:refs/heads/main"),
            json!("repo:acme/app:ref:refs/heads/main/"),
            json!("repo:acme/app:ref:refs/heads/main "),
            json!("repo:acme/app:ref:refs/heads/m\u{430}in"),
            json!("repo:acme/app:ref:refs/heads/main\u{301}"),
            json!("repo:acme/app:ref:refs/heads/mai"),
            json!(["repo:acme/app:ref:refs/heads/main2", null]),
            json!([["repo:acme/app:ref:refs/heads/main"]]),
            json!({ "repo:acme/app:ref:refs/heads/main": true }),
            json!(null),
            json!(1),
        ] {
            assert!(!meets(&near, &main), "{near}");
        }
    }

    #[test]
    fn values_of_other_types_meet_no_condition() {
        let (one, large) = (ClaimValue::Number(1), ClaimValue::Number((1 << 53) - 1));
        let yes = ClaimValue::Flag(true);
        assert!(
            equals(&json!(1), &one) && equals(&json!(9_007_199_254_740_991_u64), &large) && equals(&json!(true), &yes)
        );
        for (near, value) in [
            (json!("1"), &one),
            (json!(1.0), &one),
            (json!(-1), &one),
            (json!(true), &one),
            (json!(9_007_199_254_740_990_u64), &large),
            (json!("true"), &yes),
            (json!(1), &yes),
            (json!(false), &yes),
            (json!(1), &ClaimValue::Text("1".to_owned())),
        ] {
            assert!(!equals(&near, value), "{near} {value:?}");
        }
    }

    #[test]
    fn prefix_is_of_text_only() {
        let organisation = ClaimMatch::Prefix("repo:acme/".to_owned());
        assert!(meets(&json!("repo:acme/app"), &organisation) && meets(&json!("repo:acme/"), &organisation));
        for near in [
            json!("repo:acme"),
            json!("repo:acme-evil/app"),
            json!("repo:ACME/app"),
            json!(" repo:acme/app"),
            json!(["repo:acme/app"]),
            json!(null),
        ] {
            assert!(!meets(&near, &organisation), "{near}");
        }
    }
}

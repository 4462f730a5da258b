//! Search for a secret in a malformed response, which the broker returns only once.
//!
//! The only lenient reader of the crate: it takes the first member of the name that is a string, whatever precedes or
//! follows it, also when the response is truncated. The caller receives the secret; this crate never uses it.

use std::fmt;

use agentwrit_protocol::Secret;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

/// Returns the string member of the object in `body`.
pub(crate) fn find(body: &[u8], member: &str) -> Option<Secret> {
    let mut found = None;
    let reader = Reader { member, found: &mut found };
    // The response's defect is known already.
    serde_json::Deserializer::from_slice(body).deserialize_map(reader).ok();
    found
}

struct Reader<'a> {
    member: &'a str,
    found: &'a mut Option<Secret>,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == self.member {
                *self.found = Some(members.next_value()?);
                return Ok(());
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_secret_in_malformed_responses() {
        for (body, found) in [
            (r#"{"client_secret":"s"}"#, true),
            (r#"{"app_id":7,"a":{"b":[1]},"client_secret":"s","created_at":"yesterday"}"#, true),
            (r#"{"client_secret":"s","client_secret":"t"}"#, true),
            (r#"{"client_secret":"s","name":"cut o"#, true),
            (r#"{"client_secret":"s"} trailing"#, true),
            (r#"{"client_secret":7}"#, false),
            (r#"{"client_secr"#, false),
            (r#"["client_secret","s"]"#, false),
            ("<html>", false),
            ("", false),
        ] {
            let secret = find(body.as_bytes(), "client_secret");
            assert_eq!(secret.as_ref().map(Secret::expose), found.then_some("s"), "{body}");
        }
    }
}

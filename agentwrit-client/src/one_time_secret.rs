//! What can be had of an response that is malformed: the secret that the broker shows once.
//!
//! The one reader of the crate that takes what it can get: the first member of that name which is a string, whatever comes
//! before it or after it, also when the response ends too soon. It is handed to a person, never used.

use std::fmt;

use agentwrit_protocol::Secret;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

/// The string that `member` of the object in `body` is.
pub(crate) fn find(body: &[u8], member: &str) -> Option<Secret> {
    let mut found = None;
    let reader = Reader { member, found: &mut found };
    // What is wrong with the response is known already.
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
    fn secret_is_found_in_what_cannot_be_read_otherwise() {
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

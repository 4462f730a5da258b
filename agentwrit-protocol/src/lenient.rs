//! Members of responses that nothing depends on.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// Reads a member that is absent when it is missing, `null` or malformed: use with
/// `#[serde(default, deserialize_with = "lenient")]`.
pub(crate) fn lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Member<T> {
        WellFormed(T),
        Malformed(IgnoredAny),
    }
    Member::deserialize(deserializer).map(|member| match member {
        Member::WellFormed(value) => Some(value),
        Member::Malformed(IgnoredAny) => None,
    })
}

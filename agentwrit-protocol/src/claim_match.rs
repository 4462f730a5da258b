//! Conditions on the claims of assertions, in trust rules.

use std::{collections::BTreeMap, fmt};

use agentwrit_json::CowStr;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess},
};

use crate::{
    RequestError,
    limits::{MAX_CLAIM_NAME, MAX_CLAIM_VALUE, MAX_RULE_CLAIMS},
    members::{Member, MemberValue, Seconds, required},
};

/// Largest number that every JSON reader keeps exactly (RFC 8259 §6).
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Condition on one claim of an assertion. Comparisons are exact: case, trailing slashes and JSON types count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "code that judges claims must know each condition")]
pub enum ClaimMatch {
    /// The claim is this value, or a list with this element.
    Equals(ClaimValue),
    /// The claim is a text that begins with this one, which is not empty.
    Prefix(String),
}

/// Value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "code that judges claims must know each type")]
pub enum ClaimValue {
    /// A string.
    Text(String),
    /// A whole number of at most 53 bits.
    Number(u64),
    /// `true` or `false`.
    Flag(bool),
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

/// A text of 1 to [`MAX_CLAIM_VALUE`] bytes that can be stored.
fn storable(text: &str) -> Option<String> {
    let is_storable = (1..=MAX_CLAIM_VALUE).contains(&text.len()) && !text.contains('\0');
    is_storable.then(|| text.to_owned())
}

impl MemberValue for ClaimValue {
    fn from_text(text: &str) -> Option<Self> {
        storable(text).map(Self::Text)
    }

    fn from_number(number: Seconds) -> Option<Self> {
        match number {
            Seconds::Whole(number) if number <= MAX_NUMBER => Some(Self::Number(number)),
            Seconds::Whole(_) | Seconds::OutOfRange | Seconds::Fraction => None,
        }
    }

    fn from_flag(flag: bool) -> Option<Self> {
        Some(Self::Flag(flag))
    }
}

impl MemberValue for ClaimMatch {
    /// A condition that is not understood would make its rule wider than it was meant: other members than the two are
    /// rejected, not ignored.
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut conditions = Vec::new();
        while let Some(CowStr(name)) = object.next_key()? {
            let condition = match &*name {
                "equals" => object.next_value::<Member<ClaimValue>>()?.given().map(Self::Equals),
                "prefix" => match object.next_value::<Member<ClaimValue>>()?.given() {
                    Some(ClaimValue::Text(text)) => Some(Self::Prefix(text)),
                    Some(ClaimValue::Number(_) | ClaimValue::Flag(_)) | None => None,
                },
                _ => object.next_value::<IgnoredAny>().map(|_| None)?,
            };
            if conditions.len() < 2 {
                conditions.push(condition);
            }
        }
        Ok(match conditions.as_mut_slice() {
            [condition] => condition.take(),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for ClaimMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let condition = Member::<Self>::deserialize(deserializer)?.given();
        condition.ok_or_else(|| de::Error::custom(CONDITION_EXPECTED))
    }
}

const CONDITION_EXPECTED: &str = "must be {\"equals\": …} with a text, a whole number, true or false, or {\"prefix\": …} with \
                                  a text; texts have 1 to 1024 bytes";

/// Conditions by the name of their claim, of which at most [`MAX_RULE_CLAIMS`] are kept.
#[derive(Debug)]
pub(crate) struct Claims(Result<BTreeMap<String, ClaimMatch>, String>);

impl MemberValue for Claims {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut claims = BTreeMap::new();
        let mut problem = None;
        while let Some(CowStr(name)) = object.next_key()? {
            let condition = object.next_value::<Member<ClaimMatch>>()?.given();
            if problem.is_some() {
                continue;
            }
            let is_name = (1..=MAX_CLAIM_NAME).contains(&name.len()) && !name.contains('\0');
            match condition {
                _ if !is_name => problem = Some(format!("a claim's name must have 1 to {MAX_CLAIM_NAME} bytes")),
                _ if claims.len() == MAX_RULE_CLAIMS => problem = Some(count_expected()),
                None => problem = Some(format!("`{name}` {CONDITION_EXPECTED}")),
                Some(condition) => drop(claims.insert(name.into_owned(), condition)),
            }
        }
        if claims.is_empty() {
            problem.get_or_insert_with(count_expected);
        }
        Ok(Some(Self(problem.map_or(Ok(claims), Err))))
    }
}

fn count_expected() -> String {
    format!("must name 1 to {MAX_RULE_CLAIMS} claims")
}

impl Member<Claims> {
    pub(crate) fn claims(self, name: &'static str) -> Result<BTreeMap<String, ClaimMatch>, RequestError> {
        let Claims(claims) = required(name, self.into_typed(name, "an object")?)?;
        claims.map_err(|problem| RequestError::invalid(name, problem))
    }
}

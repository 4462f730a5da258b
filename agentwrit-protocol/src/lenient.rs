//! Members of responses that may have any form: they are kept only while they are small.

use std::fmt;

use agentwrit_json::CowStr;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Largest tree of values, in bytes: more than the claims of any token, or the longest delegation chain.
const MAX_TREE: usize = 256 * 1024;
/// Upper estimates of memory: a value with the spare capacity of its list, a list's first allocation, an object's, and
/// a member beside its name and value.
const VALUE: usize = 2 * size_of::<Value>();
const LIST: usize = 4 * size_of::<Value>();
const OBJECT: usize = 640;
const MEMBER: usize = 128;

/// A value whose tree takes at most [`MAX_TREE`] bytes; of a larger one nothing is kept, and the rest of it is read and
/// dropped. Serde's untagged enums keep all of it, at 40 times the length of its text.
pub(crate) struct SmallValue(pub(crate) Option<Value>);

impl<'de> Deserialize<'de> for SmallValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut budget = Budget { left: Some(MAX_TREE) };
        let value = TreeReader(&mut budget).deserialize(deserializer)?;
        Ok(Self(budget.left.map(|_| value)))
    }
}

/// Reads the rest of an object whose tree takes at most [`MAX_TREE`] bytes; of a larger one nothing is kept.
pub(crate) fn small_object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Value>, A::Error> {
    let mut budget = Budget { left: Some(MAX_TREE) };
    let value = TreeReader(&mut budget).visit_map(object)?;
    Ok(budget.left.map(|_| value))
}

/// Reads a member that is absent when it is missing, `null` or malformed: use with
/// `#[serde(default, deserialize_with = "lenient")]`.
pub(crate) fn lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    SmallValue::deserialize(deserializer).map(|SmallValue(value)| T::deserialize(value?).ok())
}

/// Reads a flag that is false when it is missing, `null` or malformed.
pub(crate) fn lenient_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    lenient(deserializer).map(Option::unwrap_or_default)
}

/// Leaves out a flag that is false: use with `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature of `skip_serializing_if`")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

/// Bytes that the tree may still take; `None` once it was too large.
struct Budget {
    left: Option<usize>,
}

impl Budget {
    /// Spends bytes; returns false when there are too few, now or before.
    fn spend(&mut self, bytes: usize) -> bool {
        self.left = self.left.and_then(|left| left.checked_sub(bytes));
        self.left.is_some()
    }
}

/// Reads one value of the tree: `null` once the budget is spent.
struct TreeReader<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for TreeReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.spend(VALUE) {
            return deserializer.deserialize_any(self);
        }
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Value::Null)
    }
}

impl<'de> Visitor<'de> for TreeReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if self.0.spend(text.len()) { Value::from(text) } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.0.spend(LIST);
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(TreeReader(self.0))? {
            if self.0.left.is_some() {
                values.push(value);
            }
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        self.0.spend(OBJECT);
        let mut members = Map::new();
        while let Some(CowStr(name)) = object.next_key()? {
            let is_kept = self.0.spend(name.len().saturating_add(MEMBER));
            let name = if is_kept { name.into_owned() } else { String::new() };
            let value = object.next_value_seed(TreeReader(self.0))?;
            if self.0.left.is_some() {
                members.insert(name, value);
            }
        }
        Ok(Value::Object(members))
    }
}

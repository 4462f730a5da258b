//! JSON that every reader reads alike.
//!
//! 1. No object has a member twice, at any depth: two parsers that disagree on which one counts disagree on what was
//!    signed or asked (RFC 8259 §4, RFC 8725 §2.4).
//! 2. Nesting is bounded, so that small input can't exhaust the stack.
//! 3. Nothing but white space follows the value.
//! 4. The value is an object; a list in its place is not taken as its members in order.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::MapAccessDeserializer,
    },
};

/// Reads an object with the rules of this module.
///
/// # Errors
///
/// [`JsonError`] says what is wrong, in words that name the member where there is one.
pub fn object_from_slice<T: DeserializeOwned>(text: &[u8], max_depth: usize) -> Result<T, JsonError> {
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(JsonError { message: String::from("a JSON object is expected") });
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    Strict { depth_left: max_depth }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(serde_json::from_slice(text)?)
}

/// Reads an optional member that must not be `null` when it is there: use with `#[serde(default, deserialize_with)]`.
///
/// # Errors
///
/// Those of `T`, and a wrong type for `null`.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An inner value that must be an object too (rule 4): a derived `Deserialize` takes a list for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object))
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

/// Whether a member is there, whatever its value, `null` included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence(pub bool);

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// A text is not the JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    message: String,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        // Such a message may quote input: it is cut, and made printable, before it goes anywhere.
        let message = error.to_string();
        Self { message: message.chars().take(200).flat_map(printable).collect() }
    }
}

/// The character, or its escape when it is a control character: a line of a log stays one line.
pub(crate) fn printable(character: char) -> impl Iterator<Item = char> {
    let escape = character.is_control();
    character.escape_default().filter(move |_| escape).chain((!escape).then_some(character))
}

/// Walks a value without keeping it and refuses what breaks the rules.
#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        self.depth_left
            .checked_sub(1)
            .map(|depth_left| Self { depth_left })
            .ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        while list.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inner = self.inner()?;
        let mut names = Names::default();
        while let Some(Name(name)) = object.next_key()? {
            if let Some(twice) = names.add(name) {
                return Err(de::Error::custom(format_args!("duplicate field `{twice}`")));
            }
            object.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// The names of an object's members: a list while it is short, which nearly every object is.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    const FEW: usize = 24;

    /// Adds a name; gives it back when it was there.
    fn add(&mut self, name: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.few.contains(&name) || self.many.contains(&name) {
            return Some(name);
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        None
    }
}

/// A member's name, borrowed from the input unless it holds escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        object_from_slice(text.as_bytes(), 4).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_objects_are_read() {
        assert_eq!(read(" {\"a\":[1,-2,3.5,true,null,\"x\"],\"b\":{\"a\":1}} \n").unwrap()["b"]["a"], 1);
    }

    #[test]
    fn a_member_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(read(text).unwrap_err().contains("duplicate field `a`"), "{text}");
        }
        let many: Vec<String> = (0..100).map(|i| format!("\"m{i}\":0,")).collect();
        assert!(read(&format!("{{{}\"m99\":1}}", many.concat())).unwrap_err().contains("duplicate field `m99`"));
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(read(r#"{"a":[[[1]]]}"#).is_ok());
        assert!(read(r#"{"a":[[[[1]]]]}"#).unwrap_err().contains("nested too deeply"));
        let bomb = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(read(&bomb).unwrap_err().contains("nested too deeply"));
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in
            ["", "  ", "1", "\"a\"", "[]", "null", "{} {}", "{}x", "{", "{\"a\":}", "{\"a\":1e999}", "\u{feff}{}"]
        {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(object_from_slice::<Value>(b"{\"a\":\"\xff\"}", 4).is_err());
    }

    #[test]
    fn a_list_is_not_taken_as_the_members_of_an_inner_object() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Point {
            x: u8,
        }
        let inner = |text: &str| serde_json::from_str::<Object<Point>>(text).ok();
        assert_eq!(inner(r#"{"x":1}"#), Some(Object(Point { x: 1 })));
        assert_eq!(inner("[1]"), None);
    }
}

#![doc = include_str!("../README.md")]
//!
//! Read untrusted text into a type that names its members, never into `serde_json::Value`, which takes up to 100 times the
//! length of the text.

#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, MapAccessDeserializer},
    },
};

mod names;

use self::names::Names;

/// Parses an object by the rules of this crate.
///
/// # Errors
///
/// [`JsonError`], with the member if there is one.
pub fn object_from_slice<'a, T: Deserialize<'a>>(text: &'a [u8], max_depth: usize) -> Result<T, JsonError> {
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(JsonError::not_an_object());
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = T::deserialize(Strict { inner: &mut reader, text, depth_left: max_depth })?;
    reader.end()?;
    Ok(value)
}

/// Reads an optional member that must not be `null` when it is present: use with `#[serde(default, deserialize_with)]`.
///
/// # Errors
///
/// Those of `T`, and a wrong type for `null`.
pub fn non_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An inner value that must be an object: a derived `Deserialize` accepts a list of the members too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper of one value")]
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

/// Presence of a member, whatever its value, `null` included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper of one value")]
pub struct IsPresent(pub bool);

impl<'de> Deserialize<'de> for IsPresent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// Error of a text that is not the expected JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    message: String,
}

impl JsonError {
    fn not_an_object() -> Self {
        Self { message: String::from("a JSON object is expected") }
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        // The message may quote input: it is truncated and made printable for logs.
        let message = error.to_string();
        Self { message: message.chars().take(200).flat_map(escape_control).collect() }
    }
}

/// Returns the character, or its escape when it is a control character: quoted input stays on one log line.
pub fn escape_control(character: char) -> impl Iterator<Item = char> {
    let escape = character.is_control();
    character.escape_default().filter(move |_| escape).chain((!escape).then_some(character))
}

/// Wraps every deserializer and visitor between the text and the target type, and rejects text that breaks the rules.
struct Strict<'de, T> {
    inner: T,
    text: &'de [u8],
    depth_left: usize,
}

impl<'de, T> Strict<'de, T> {
    fn wrap<U>(&self, inner: U) -> Strict<'de, U> {
        Strict { inner, text: self.text, depth_left: self.depth_left }
    }

    fn nested<U, E: de::Error>(&self, inner: U) -> Result<Strict<'de, U>, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Strict { inner, text: self.text, depth_left })
    }
}

/// Forwards to the inner deserializer with a wrapped visitor.
macro_rules! forward_deserialize {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let strict = self.wrap(visitor);
            self.inner.$method(strict)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<'de, D> {
    type Error = D::Error;

    forward_deserialize! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit
        deserialize_seq deserialize_map deserialize_identifier
    }

    /// Checks a dropped member like any other.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        members: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let strict = self.wrap(visitor);
        self.inner.deserialize_struct(name, members, strict)
    }

    /// Accepts unit variants only: the content of other variants would be read past the wrapper.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let CowStr(variant) = CowStr::deserialize(self.inner)?;
        visitor.visit_enum(variant.into_deserializer())
    }
}

/// Forwards a scalar value to the inner visitor.
macro_rules! forward_visit {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<'de, V> {
    type Value = V::Value;

    forward_visit! {
        visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let strict = self.wrap(value);
        self.inner.visit_some(strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        let strict = self.nested(list)?;
        self.inner.visit_seq(strict)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<V::Value, A::Error> {
        let strict = self.nested(object)?;
        self.inner.visit_map(StrictObject { names: Names::new(strict.text), members: strict })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<'de, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        let strict = self.wrap(value);
        self.inner.deserialize(strict)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<'de, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let strict = self.wrap(seed);
        self.inner.next_element_seed(strict)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Members of an object, each of which may occur once.
struct StrictObject<'de, A> {
    members: Strict<'de, A>,
    names: Names<'de>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for StrictObject<'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let Some(CowStr(name)) = self.members.inner.next_key()? else {
            return self.names.check().map(|()| None).map_err(de::Error::custom);
        };
        let value = match &name {
            Cow::Borrowed(text) => seed.deserialize(BorrowedStrDeserializer::new(text)),
            Cow::Owned(text) => seed.deserialize(text.as_str().into_deserializer()),
        };
        self.names.add(name).map_err(de::Error::custom)?;
        value.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let strict = self.members.wrap(seed);
        self.members.inner.next_value_seed(strict)
    }
}

/// A string, borrowed from the input unless it holds escapes. (Serde deserializes `Cow<str>` as a copy.)
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper of one value")]
pub struct CowStr<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for CowStr<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CowStrVisitor;

        impl<'de> Visitor<'de> for CowStrVisitor {
            type Value = CowStr<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<CowStr<'de>, E> {
                Ok(CowStr(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<CowStr<'de>, E> {
                Ok(CowStr(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<CowStr<'de>, E> {
                Ok(CowStr(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(CowStrVisitor)
    }
}

#[cfg(test)]
mod tests;

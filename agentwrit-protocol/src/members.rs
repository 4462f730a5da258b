//! Members of a request body, read into types that keep at most what each member's rule allows.

use std::{fmt, marker::PhantomData};

use agentwrit_verify::{PathSegment, Scope, ScopeError, ScopeSet, ScopeSetError};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{Presented, RequestError, Secret};

/// A member as it was sent. Use with `#[serde(default)]`.
#[derive(Debug)]
pub(crate) enum Member<T> {
    /// Missing or `null`.
    Absent,
    /// Of another JSON type.
    Mistyped,
    Given(T),
}

// Derived, it would ask for `T: Default`.
#[expect(clippy::derivable_impls, reason = "a derived `Default` asks for `T: Default`")]
impl<T> Default for Member<T> {
    fn default() -> Self {
        Self::Absent
    }
}

/// A value that a member can hold. `None`: not of this JSON type.
pub(crate) trait MemberValue: Sized {
    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_number(_: Seconds) -> Option<Self> {
        None
    }

    fn from_flag(_: bool) -> Option<Self> {
        None
    }

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, T: MemberValue> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor(PhantomData))
    }
}

struct MemberVisitor<T>(PhantomData<T>);

impl<'de, T: MemberValue> Visitor<'de> for MemberVisitor<T> {
    type Value = Member<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Member<T>, E> {
        Ok(Member::Absent)
    }

    fn visit_str<E>(self, text: &str) -> Result<Member<T>, E> {
        Ok(T::from_text(text).into())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Member<T>, E> {
        Ok(T::from_flag(flag).into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Member<T>, E> {
        Ok(T::from_number(Seconds::Whole(number)).into())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member<T>, E> {
        Ok(T::from_number(Seconds::OutOfRange).into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Member<T>, E> {
        let number = match number {
            // How the reader hands over integers that are too large for 64 bits.
            large if large >= 2.0_f64.powi(64) => Seconds::Whole(u64::MAX),
            decimal if decimal.fract() != 0.0 => Seconds::Fraction,
            _ => Seconds::OutOfRange,
        };
        Ok(T::from_number(number).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Member<T>, A::Error> {
        T::from_list(list).map(Into::into)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Member<T>, A::Error> {
        T::from_object(object).map(Into::into)
    }
}

impl<T> From<Option<T>> for Member<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Mistyped, Self::Given)
    }
}

impl<T> Member<T> {
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Returns the value if it is there and of its type.
    pub(crate) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Mistyped => None,
        }
    }

    /// Returns the value if the member is there, like [`Self::typed`].
    pub(crate) fn into_typed(self, name: &'static str, expected: &str) -> Result<Option<T>, RequestError> {
        self.typed(name, expected)?;
        Ok(self.given())
    }

    /// Returns the value if the member is there; `expected` describes its type.
    pub(crate) fn typed(&self, name: &'static str, expected: &str) -> Result<Option<&T>, RequestError> {
        match self {
            Self::Absent => Ok(None),
            Self::Mistyped => Err(RequestError::invalid(name, format!("must be {expected}"))),
            Self::Given(value) => Ok(Some(value)),
        }
    }
}

pub(crate) fn required<T>(name: &'static str, value: Option<T>) -> Result<T, RequestError> {
    value.ok_or_else(|| RequestError::invalid(name, "is required"))
}

/// A text of at most `LONGEST` bytes; of a longer one nothing is kept.
#[derive(Debug)]
pub(crate) enum Text<const LONGEST: usize> {
    Fits(Secret),
    TooLong,
}

impl<const LONGEST: usize> MemberValue for Text<LONGEST> {
    fn from_text(text: &str) -> Option<Self> {
        Some(if text.len() > LONGEST { Self::TooLong } else { Self::Fits(Secret::new(text.to_owned())) })
    }
}

impl<const LONGEST: usize> Member<Text<LONGEST>> {
    /// A text of 1 to `LONGEST` bytes.
    pub(crate) fn text(&self, name: &'static str) -> Result<&str, RequestError> {
        required(name, self.optional_text(name)?)
    }

    /// A text of 1 to `LONGEST` bytes, if it is there.
    pub(crate) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, RequestError> {
        match self.typed(name, "a string")? {
            None => Ok(None),
            Some(Text::TooLong) => Err(RequestError::invalid(name, format!("must have at most {LONGEST} bytes"))),
            Some(Text::Fits(text)) if text.expose().is_empty() => Err(RequestError::invalid(name, "must not be empty")),
            Some(Text::Fits(text)) => Ok(Some(text.expose())),
        }
    }

    /// A text that is stored or looked up as it is: it must not contain U+0000, which PostgreSQL does not store.
    pub(crate) fn stored_text(&self, name: &'static str) -> Result<String, RequestError> {
        required(name, self.optional_stored_text(name)?)
    }

    /// A text that is stored as it is, if it is there.
    pub(crate) fn optional_stored_text(&self, name: &'static str) -> Result<Option<String>, RequestError> {
        match self.optional_text(name)? {
            Some(text) if text.contains('\0') => Err(RequestError::invalid(name, "must not contain U+0000")),
            text => Ok(text.map(str::to_owned)),
        }
    }

    /// A text that is a credential: a longer one is none.
    pub(crate) fn presented(&self, name: &'static str) -> Result<Presented<&str>, RequestError> {
        match self {
            Self::Given(Text::TooLong) => Ok(Presented::Malformed),
            Self::Absent | Self::Mistyped | Self::Given(Text::Fits(_)) => self.text(name).map(Presented::WellFormed),
        }
    }

    /// A text that is a secret.
    pub(crate) fn secret(&self, name: &'static str) -> Result<Secret, RequestError> {
        self.text(name).map(|text| Secret::new(text.to_owned()))
    }
}

/// A SPIFFE path segment.
pub(crate) type Segment = Text<{ PathSegment::MAX_LENGTH }>;

impl Member<Segment> {
    /// A SPIFFE path segment, if it is there.
    pub(crate) fn optional_segment(&self, name: &'static str) -> Result<Option<PathSegment>, RequestError> {
        let text = self.optional_text(name)?;
        text.map(|text| PathSegment::parse(text).map_err(|error| RequestError::invalid(name, error.to_string())))
            .transpose()
    }
}

/// A list of scopes, of which at most [`ScopeSet::MAX_SCOPES`] are kept.
#[derive(Debug)]
pub(crate) struct Scopes(Result<ScopeSet, ScopeSetError>);

struct ListedScope(Result<Scope, ScopeError>);

impl MemberValue for ListedScope {
    fn from_text(text: &str) -> Option<Self> {
        Some(Self(Scope::parse(text)))
    }
}

impl MemberValue for Scopes {
    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut parsed = Vec::new();
        let mut problem = None;
        let mut texts_only = true;
        while let Some(member) = list.next_element::<Member<ListedScope>>()? {
            let index = parsed.len();
            match member {
                Member::Absent | Member::Mistyped => texts_only = false,
                Member::Given(_) if problem.is_some() => {}
                Member::Given(_) if index >= ScopeSet::MAX_SCOPES => problem = Some(ScopeSetError::TooMany),
                Member::Given(ListedScope(Err(source))) => problem = Some(ScopeSetError::Scope { index, source }),
                Member::Given(ListedScope(Ok(scope))) => parsed.push(scope),
            }
        }
        Ok(texts_only.then(|| Self(problem.map_or_else(|| ScopeSet::new(parsed), Err))))
    }
}

impl Member<Scopes> {
    /// 1 to 64 scopes, the broker's own too.
    pub(crate) fn any_scopes(&self, name: &'static str) -> Result<Option<&ScopeSet>, RequestError> {
        let given = self.typed(name, "a list of strings")?;
        given
            .map(|Scopes(set)| set.as_ref().map_err(|error| RequestError::invalid(name, error.to_string())))
            .transpose()
    }

    /// 1 to 64 scopes that an app or agent may hold.
    pub(crate) fn scopes(&self, name: &'static str) -> Result<ScopeSet, RequestError> {
        required(name, self.optional_scopes(name)?)
    }

    /// 1 to 64 scopes that an app or agent may hold, if the member is there.
    pub(crate) fn optional_scopes(&self, name: &'static str) -> Result<Option<ScopeSet>, RequestError> {
        let Some(scopes) = self.any_scopes(name)? else { return Ok(None) };
        match scopes.iter().find(|scope| Scope::is_reserved(scope)) {
            Some(scope) => Err(reserved(name, scope)),
            None => Ok(Some(scopes.clone())),
        }
    }
}

/// Rejects a scope of the families that are the broker's own.
pub(crate) fn reserved(name: &'static str, scope: &Scope) -> RequestError {
    RequestError::invalid(name, format!("`{scope}` is the broker's own: no agent can hold it"))
}

/// A number of seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seconds {
    Whole(u64),
    /// Negative, or a whole number written as a decimal.
    OutOfRange,
    Fraction,
}

impl MemberValue for Seconds {
    fn from_number(number: Seconds) -> Option<Self> {
        Some(number)
    }
}

impl Member<Seconds> {
    /// A lifetime of `least` to `most` seconds, if it is there.
    pub(crate) fn lifetime(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, RequestError> {
        match self.typed(name, "a whole number of seconds")? {
            None => Ok(None),
            Some(Seconds::Whole(seconds)) if (least..=most).contains(seconds) => Ok(Some(*seconds)),
            Some(Seconds::Whole(_) | Seconds::OutOfRange) => Err(RequestError::TtlOutOfRange { name, least, most }),
            Some(Seconds::Fraction) => Err(RequestError::invalid(name, "must be a whole number of seconds")),
        }
    }
}

impl Member<Seconds> {
    /// A number of `least` to `most` seconds that is not a lifetime, if it is there.
    pub(crate) fn whole(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, RequestError> {
        match self.lifetime(name, least, most) {
            Err(RequestError::TtlOutOfRange { name, least, most }) => {
                Err(RequestError::invalid(name, format!("must be {least} to {most} seconds")))
            }
            seconds => seconds,
        }
    }

    /// A lifetime of at least 1 second, if it is there, for an operation that shortens what is too long.
    pub(crate) fn clamped_lifetime(&self, name: &'static str) -> Result<Option<u64>, RequestError> {
        match self.lifetime(name, 1, u64::MAX) {
            Err(RequestError::TtlOutOfRange { name, .. }) => Err(RequestError::TtlNotPositive { name }),
            lifetime => lifetime,
        }
    }
}

impl MemberValue for bool {
    fn from_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Member<bool> {
    /// `true` or `false`, if it is there.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, RequestError> {
        self.typed(name, "true or false").map(Option::<&bool>::copied)
    }
}

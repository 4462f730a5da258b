//! Request bodies: one JSON object, read strictly into a type that names its members.
//!
//! 1. A member that the type does not name is checked and dropped; no tree of values is built.
//! 2. A named member keeps at most what its rule allows, whatever the length of what was sent.
//! 3. `null` is absence.
//! 4. Every error names the member and says what it must be.

use std::{fmt, marker::PhantomData, ops::Deref};

use agentwrit_verify::{PathSegment, Scope, ScopeError, ScopeSet, ScopeSetError};
use axum::extract::{FromRequest, Request};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{body::buffer, problem::Failure};
use crate::{keys::Secret, limits::fair_share::Place, service::Error};

const MAX_DEPTH: usize = 16;

/// The members of a request's body. The body stays counted until this is dropped.
#[derive(Debug)]
pub(super) struct JsonBody<T> {
    members: T,
    _place: Option<Place>,
}

impl<T> Deref for JsonBody<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.members
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let body = buffer(request).await?;
        let members = agentwrit_json::object_from_slice(&body.bytes, MAX_DEPTH)
            .map_err(|error| Failure::BadBody(format!("the body is not the JSON object that is expected: {error}")))?;
        Ok(Self { members, _place: body.place })
    }
}

/// A member as it was sent. Use with `#[serde(default)]`.
#[derive(Debug)]
pub(super) enum Member<T> {
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

/// What a member is made from. `None`: not from this JSON type.
pub(super) trait FromJson: Sized {
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
}

impl<'de, T: FromJson> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor(PhantomData))
    }
}

struct MemberVisitor<T>(PhantomData<T>);

impl<'de, T: FromJson> Visitor<'de> for MemberVisitor<T> {
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

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Member<T>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Mistyped)
    }
}

impl<T> From<Option<T>> for Member<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Mistyped, Self::Given)
    }
}

impl<T> Member<T> {
    pub(super) fn is_given(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn typed(&self, field: &'static str, expected: &str) -> Result<Option<&T>, Error> {
        match self {
            Self::Absent => Ok(None),
            Self::Mistyped => Err(Error::invalid(field, format!("must be {expected}"))),
            Self::Given(value) => Ok(Some(value)),
        }
    }
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(field, "is required"))
}

/// A text of at most `LONGEST` bytes; of a longer one nothing is kept.
#[derive(Debug)]
pub(super) enum Text<const LONGEST: usize> {
    Fits(Secret),
    TooLong,
}

impl<const LONGEST: usize> FromJson for Text<LONGEST> {
    fn from_text(text: &str) -> Option<Self> {
        Some(if text.len() > LONGEST { Self::TooLong } else { Self::Fits(Secret::new(text.to_owned())) })
    }
}

impl<const LONGEST: usize> Member<Text<LONGEST>> {
    /// A text of 1 to `LONGEST` bytes.
    pub(super) fn text(&self, field: &'static str) -> Result<&str, Error> {
        required(field, self.optional_text(field)?)
    }

    /// A text of 1 to `LONGEST` bytes, if it is there.
    pub(super) fn optional_text(&self, field: &'static str) -> Result<Option<&str>, Error> {
        match self.typed(field, "a string")? {
            None => Ok(None),
            Some(Text::TooLong) => Err(Error::invalid(field, format!("must have at most {LONGEST} bytes"))),
            Some(Text::Fits(text)) if text.expose().is_empty() => Err(Error::invalid(field, "must not be empty")),
            Some(Text::Fits(text)) => Ok(Some(text.expose())),
        }
    }

    pub(super) fn is_too_long(&self) -> bool {
        matches!(self, Self::Given(Text::TooLong))
    }

    /// A text that is a secret.
    pub(super) fn secret(&self, field: &'static str) -> Result<Secret, Error> {
        self.text(field).map(|text| Secret::new(text.to_owned()))
    }
}

/// A SPIFFE path segment.
pub(super) type Segment = Text<{ PathSegment::MAX_LENGTH }>;

impl Member<Segment> {
    /// A SPIFFE path segment.
    pub(super) fn segment(&self, field: &'static str) -> Result<PathSegment, Error> {
        required(field, self.optional_segment(field)?)
    }

    /// A SPIFFE path segment, if it is there.
    pub(super) fn optional_segment(&self, field: &'static str) -> Result<Option<PathSegment>, Error> {
        let text = self.optional_text(field)?;
        text.map(|text| PathSegment::parse(text).map_err(|error| Error::invalid(field, error.to_string()))).transpose()
    }
}

/// A list of scopes, of which at most [`ScopeSet::MAX_SCOPES`] are kept.
#[derive(Debug)]
pub(super) struct Scopes(Result<ScopeSet, ScopeSetError>);

struct ListedScope(Result<Scope, ScopeError>);

impl FromJson for ListedScope {
    fn from_text(text: &str) -> Option<Self> {
        Some(Self(Scope::parse(text)))
    }
}

impl FromJson for Scopes {
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
    /// 1 to 64 scopes.
    fn any_scopes(&self, field: &'static str) -> Result<Option<&ScopeSet>, Error> {
        let given = self.typed(field, "a list of strings")?;
        given.map(|Scopes(set)| set.as_ref().map_err(|error| Error::invalid(field, error.to_string()))).transpose()
    }

    /// 1 to 64 scopes that an app or agent may hold.
    pub(super) fn scopes(&self, field: &'static str) -> Result<ScopeSet, Error> {
        required(field, self.optional_scopes(field)?)
    }

    /// 1 to 64 scopes that an app or agent may hold, if the member is there.
    pub(super) fn optional_scopes(&self, field: &'static str) -> Result<Option<ScopeSet>, Error> {
        let Some(scopes) = self.any_scopes(field)? else { return Ok(None) };
        match scopes.iter().find(|scope| Scope::is_reserved(scope)) {
            Some(scope) => Err(Error::invalid(field, format!("`{scope}` is the broker's own: no agent can hold it"))),
            None => Ok(Some(scopes.clone())),
        }
    }

    /// 1 to 64 scopes that must lie within an app's ceiling, which the broker's own never do.
    pub(super) fn scopes_within_ceiling(&self, field: &'static str) -> Result<ScopeSet, Error> {
        let scopes = required(field, self.any_scopes(field)?)?;
        match scopes.iter().find(|scope| Scope::is_reserved(scope)) {
            Some(scope) => Err(Error::ExceedsCeiling { scope: scope.clone() }),
            None => Ok(scopes.clone()),
        }
    }
}

/// A number of seconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seconds {
    Whole(u64),
    /// Negative, or a whole number written as a decimal.
    OutOfRange,
    Fraction,
}

impl FromJson for Seconds {
    fn from_number(number: Seconds) -> Option<Self> {
        Some(number)
    }
}

impl Member<Seconds> {
    /// A lifetime of `least` to `most` seconds, if it is there.
    pub(super) fn lifetime(&self, field: &'static str, least: u64, most: u64) -> Result<Option<u64>, Error> {
        match self.typed(field, "a whole number of seconds")? {
            None => Ok(None),
            Some(Seconds::Whole(seconds)) if (least..=most).contains(seconds) => Ok(Some(*seconds)),
            Some(Seconds::Whole(_) | Seconds::OutOfRange) => Err(Error::InvalidTtl { field, least, most }),
            Some(Seconds::Fraction) => Err(Error::invalid(field, "must be a whole number of seconds")),
        }
    }
}

impl Member<Seconds> {
    /// A lifetime of at least 1 second, if it is there, for an operation that shortens what is too long.
    pub(super) fn clamped_lifetime(&self, field: &'static str) -> Result<Option<u64>, Error> {
        match self.lifetime(field, 1, u64::MAX) {
            Err(Error::InvalidTtl { field, .. }) => Err(Error::TtlNotPositive { field }),
            lifetime => lifetime,
        }
    }
}

impl FromJson for bool {
    fn from_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Member<bool> {
    /// `true` or `false`, if it is there.
    pub(super) fn flag(&self, field: &'static str) -> Result<Option<bool>, Error> {
        self.typed(field, "true or false").map(Option::<&bool>::copied)
    }
}

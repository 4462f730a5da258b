//! Sets of keys: rule 3 of [`keys`](super).

use super::{
    error::KeySetError,
    key_id::KeyId,
    public_key::{PublicKey, limit_tables},
};
use crate::key_table::MAX_TABLES;

/// Set of one to [`KeySet::MAX_KEYS`] keys with different ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet(Box<[PublicKey]>);

impl KeySet {
    /// The largest number of keys.
    pub const MAX_KEYS: usize = 64;
    /// The largest JWK Set that is read, in bytes.
    pub const MAX_JWKS_LENGTH: usize = 64 * 1024;

    /// Collects keys.
    ///
    /// # Errors
    ///
    /// [`KeySetError::Empty`], [`KeySetError::TooMany`] or [`KeySetError::Duplicate`].
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeySetError> {
        let mut kept: Vec<PublicKey> = Vec::new();
        for key in keys {
            if kept.len() >= Self::MAX_KEYS {
                return Err(KeySetError::TooMany);
            }
            if kept.iter().any(|other| other.id() == key.id()) {
                return Err(KeySetError::Duplicate { kid: key.id().clone() });
            }
            kept.push(key);
        }
        if kept.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(kept.into())) }
    }

    /// The key of that name.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<&PublicKey> {
        self.iter().find(|key| key.id() == id)
    }

    /// The key for a token: the one that it names, or the only one when it names none.
    #[must_use]
    pub fn select(&self, id: Option<&KeyId>) -> Option<&PublicKey> {
        match (id, self.0.as_ref()) {
            (Some(id), _) => self.find(id),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The same keys, verified without tables. Once a set is in force at a [`Verifier`](crate::Verifier), the first eight of its
    /// keys have a table of multiples each, of 80 KiB, with which a signature is verified in about 0.6 of the time. This is
    /// for processes that lack the memory, and for comparisons: the keys verify the same signatures.
    #[must_use]
    pub fn without_tables(&self) -> Self {
        Self(self.iter().map(PublicKey::never_with_table).collect())
    }

    /// Returns the number of keys that have a table: eight at most. It is 0 until the set is in force:
    /// [`TrustedKeys::key_set`](crate::TrustedKeys::key_set) returns the set whose keys have tables.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.iter().filter_map(PublicKey::table).count()
    }

    /// Returns the set with tables of the first keys. Those of keys that are among `known` are not computed again.
    pub(crate) fn with_tables(self, known: &[PublicKey]) -> Self {
        let with_table = |(index, key): (usize, PublicKey)| {
            if index < MAX_TABLES { key.with_table(known) } else { key.without_table() }
        };
        Self(self.0.into_iter().enumerate().map(with_table).collect())
    }

    /// Removes the tables of all but the first `most` keys that have one. Returns how many fewer than `most` there are.
    pub(crate) fn limit_tables(&mut self, most: usize) -> usize {
        limit_tables(&mut self.0, most)
    }

    /// Returns true when exactly this key, id and bytes, is in the set.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.find(key.id()).is_some_and(|found| found.as_bytes() == key.as_bytes())
    }

    /// The keys.
    pub fn iter(&self) -> std::slice::Iter<'_, PublicKey> {
        self.0.iter()
    }

    /// Returns the number of keys, which is never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a key set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a KeySet {
    type Item = &'a PublicKey;
    type IntoIter = std::slice::Iter<'a, PublicKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_key_without_kid_only_from_set_of_one() {
        let one =
            PublicKey::from_bytes(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes()).unwrap();
        let other = PublicKey::named(KeyId::parse("b").unwrap(), one.as_bytes()).unwrap();
        assert!(KeySet::new([one.clone()]).unwrap().select(None).is_some());
        assert!(KeySet::new([one, other]).unwrap().select(None).is_none());
    }
}

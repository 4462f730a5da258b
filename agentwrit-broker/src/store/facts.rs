//! Rows that are known by their keys: read from the store, or written by the batch.
//!
//! 1. A row whose write is held back is known, so that no read misses it. What is known is never read again.
//! 2. The absence of a row is known too.
//! 3. A job that is undone takes back what it made known ([`Facts::return_to`]).
//! 4. Rows stay known until the commit; those of a store that is not shared, after it too.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use agentwrit_verify::{AgentId, AppId, TokenId, UnixTime};
use foldhash::quality::RandomState;

use super::{StoreError, name::Name, wants::Wants};
use crate::domain::{App, IssuedToken, LaunchToken, LaunchTokenId, RegisteredAgent, TrustRule, TrustRuleId};

/// Number of names that are kept after a commit.
const KEPT_NAMES: usize = 16_384;
/// Number of rows of each other table that are kept after a commit, or for which the memory is.
const KEPT_ROWS: usize = 1024;

/// Reads of rows by their keys.
pub trait ReadFacts {
    /// Calls `read` with the rows of `wants`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn with_facts(&self, wants: Wants, read: &mut dyn FnMut(&Facts)) -> Result<(), StoreError>;

    /// Calls `read` with the rows that are known already, if there are any.
    fn with_known(&self, _read: &mut dyn FnMut(&Facts)) {}
}

/// Reads one row: `find` returns it from the facts, or its absence, or nothing if neither is known.
pub(super) fn lookup<R: ReadFacts + ?Sized, T>(
    reader: &R,
    wants: impl FnOnce() -> Wants,
    find: impl Fn(&Facts) -> Option<Option<T>>,
) -> Result<Option<T>, StoreError> {
    let mut found = None;
    reader.with_known(&mut |facts| found = find(facts));
    if found.is_none() {
        reader.with_facts(wants(), &mut |facts| found = find(facts))?;
    }
    Ok(found.flatten())
}

/// A token, and whether it was released, renewed or revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownToken {
    pub(super) token: IssuedToken,
    pub(super) ended: bool,
}

/// State of a known row.
#[derive(Debug)]
enum Known<V> {
    Row(V),
    Absent,
}

/// Known rows of a table.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: HashMap<K, Known<V>, RandomState>,
    /// State before each change since the batch began.
    replaced: Vec<(K, Option<Known<V>>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::default(), replaced: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// Returns the row, if it is known and exists.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).flatten()
    }

    /// Returns the row or its absence, if it is known.
    #[expect(clippy::option_option, reason = "a row, its absence, or neither is known")]
    pub(super) fn find<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Option<&V>>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).map(|known| match known {
            Known::Row(row) => Some(row),
            Known::Absent => None,
        })
    }

    pub(super) fn is_known<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    /// Notes a row that the batch writes, or deletes.
    pub(super) fn set(&mut self, key: K, row: Option<V>) {
        let before = self.rows.insert(key.clone(), row.map_or(Known::Absent, Known::Row));
        self.replaced.push((key, before));
    }

    /// Notes a row as the store has it. What the batch has written stays.
    pub(super) fn learn(&mut self, key: K, row: Option<V>) {
        if !self.is_known(&key) {
            self.set(key, row);
        }
    }

    /// Notes that the store has no rows of these keys, unless they are known.
    fn learn_absence(&mut self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.learn(key, None);
        }
    }

    /// Makes all rows unknown, after a statement that changed some of them.
    pub(super) fn forget(&mut self) {
        self.replaced.extend(self.rows.drain().map(|(key, row)| (key, Some(row))));
    }

    fn return_to(&mut self, mark: usize) {
        for (key, before) in self.replaced.drain(mark.min(self.replaced.len())..).rev() {
            match before {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Makes all rows unknown after a commit. Their memory is used again.
    fn clear(&mut self) {
        self.rows.clear();
        self.rows.shrink_to(KEPT_ROWS);
        self.replaced.clear();
        self.replaced.shrink_to(KEPT_ROWS);
    }

    /// Makes the changes final, and the absence of rows unknown: another broker may add them.
    fn keep_rows(&mut self) {
        for (key, _) in self.replaced.drain(..) {
            if matches!(self.rows.get(&key), Some(Known::Absent)) {
                self.rows.remove(&key);
            }
        }
    }
}

macro_rules! facts {
    ($($table:ident: $key:ty => $row:ty,)*) => {
        /// Known rows.
        #[derive(Debug, Default)]
        pub struct Facts {
            $(pub(super) $table: Table<$key, $row>,)*
        }

        /// A state that later changes are undone to.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct FactsMark {
            $($table: usize,)*
        }

        impl Facts {
            pub(super) fn mark(&self) -> FactsMark {
                FactsMark { $($table: self.$table.replaced.len(),)* }
            }

            /// Undoes all changes since `mark`.
            pub(super) fn return_to(&mut self, mark: &FactsMark) {
                $(self.$table.return_to(mark.$table);)*
            }

            fn clear(&mut self) {
                $(self.$table.clear();)*
            }

            fn keep_rows(&mut self) {
                $(self.$table.keep_rows();)*
            }

            /// Returns the number of known rows of the table with the most.
            fn most_rows(&self) -> usize {
                [$(self.$table.rows.len()),*].into_iter().max().unwrap_or(0)
            }
        }
    };
}

facts! {
    names: String => Name,
    launch_digests: [u8; 32] => LaunchTokenId,
    launch_tokens: LaunchTokenId => LaunchToken,
    apps: AppId => App,
    agents: AgentId => RegisteredAgent,
    tokens: TokenId => KnownToken,
    nonces: [u8; 32] => (),
    trust_rules: TrustRuleId => TrustRule,
    assertions: [u8; 32] => (),
    marks: String => UnixTime,
}

impl Facts {
    /// Returns the keys whose rows are not known.
    pub(super) fn unknown(&self, mut wants: Wants) -> Wants {
        wants.launch_digests.retain(|key| !self.launch_digests.is_known(key));
        wants.launch_tokens.retain(|key| !self.launch_tokens.is_known(key));
        wants.apps.retain(|key| !self.apps.is_known(key));
        wants.agents.retain(|key| !self.agents.is_known(key));
        wants.tokens.retain(|key| !self.tokens.is_known(key));
        wants.nonces.retain(|(key, _)| !self.nonces.is_known(key));
        wants.trust_rules.retain(|key| !self.trust_rules.is_known(key));
        wants.assertions.retain(|key| !self.assertions.is_known(key));
        wants.marks.retain(|key| !self.marks.is_known(key));
        wants.names.retain(|key| !self.names.is_known(key));
        wants
    }

    /// Notes the absence of the rows of `wants` that the store did not find.
    pub(super) fn settle(&mut self, wants: Wants) {
        let Wants {
            launch_digests,
            launch_tokens,
            apps,
            agents,
            tokens,
            nonces,
            trust_rules,
            assertions,
            marks,
            names,
            events: _,
        } = wants;
        self.launch_digests.learn_absence(launch_digests);
        self.launch_tokens.learn_absence(launch_tokens);
        self.apps.learn_absence(apps);
        self.agents.learn_absence(agents);
        self.tokens.learn_absence(tokens);
        self.nonces.learn_absence(nonces.into_iter().map(|(nonce, _)| nonce));
        self.trust_rules.learn_absence(trust_rules);
        self.assertions.learn_absence(assertions);
        self.marks.learn_absence(marks);
        self.names.learn_absence(names);
    }

    /// Keeps what no other broker can change after the commit: names, and in a store that is not `shared` all rows.
    pub(super) fn commit(&mut self, shared: bool) {
        let mut names = std::mem::take(&mut self.names);
        names.keep_rows();
        // All or none: a digest leads to the row of another table.
        if shared || self.most_rows() > KEPT_ROWS {
            self.clear();
        } else {
            self.keep_rows();
        }
        if names.rows.len() <= KEPT_NAMES {
            self.names = names;
        }
    }

    /// Adds a delegator to a token that was just read.
    pub(super) fn learn_delegator(&mut self, jti: &TokenId, agent: AgentId, sid: TokenId) {
        if let Some(Known::Row(known)) = self.tokens.rows.get_mut(jti) {
            known.token.delegators.push(agent);
            known.token.delegator_sids.push(sid);
        }
    }

    pub(super) fn learn_launch_token(&mut self, token: LaunchToken) {
        self.launch_digests.learn(*token.digest.as_bytes(), Some(token.id));
        self.launch_tokens.learn(token.id, Some(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_to_mark_restores_rows_absence_and_ignorance() {
        let mut table = Table::default();
        table.set("kept", Some(1));
        table.learn("absent", None);
        let mark = table.replaced.len();
        table.set("kept", Some(2));
        table.learn("absent", Some(3));
        table.learn("new", Some(4));
        table.forget();
        assert!(!table.is_known("kept"));
        table.return_to(mark);
        assert_eq!((table.get("kept"), table.get("absent"), table.is_known("absent")), (Some(&1), None, true));
        assert!(!table.is_known("new"));
    }

    #[test]
    fn commit_keeps_rows_but_not_their_absence_and_names_only_if_shared() {
        for shared in [true, false] {
            let mut facts = Facts::default();
            facts.names.learn("there".to_owned(), Some(Name::new("there", 1, None)));
            facts.names.learn("absent".to_owned(), None);
            facts.nonces.set([0; 32], Some(()));
            facts.nonces.learn([1; 32], None);
            facts.commit(shared);
            assert!(facts.names.is_known("there") && !facts.names.is_known("absent"));
            assert_eq!((facts.nonces.is_known(&[0; 32]), facts.nonces.is_known(&[1; 32])), (!shared, false));
        }
    }

    #[test]
    fn commit_keeps_limited_number_of_rows() {
        let mut facts = Facts::default();
        let spend = |facts: &mut Facts, numbers: std::ops::Range<u16>| {
            for number in numbers {
                let mut nonce = [0; 32];
                nonce[..2].copy_from_slice(&number.to_be_bytes());
                facts.nonces.set(nonce, Some(()));
            }
            facts.commit(false);
            facts.nonces.rows.len()
        };
        let kept = u16::try_from(KEPT_ROWS).unwrap();
        assert_eq!((spend(&mut facts, 0..kept), spend(&mut facts, kept..kept + 1)), (KEPT_ROWS, 0));
    }
}

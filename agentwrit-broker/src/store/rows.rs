//! Statements that a store executes for the shared [transaction](super::transaction).

use agentwrit_verify::{
    AppId, TokenId, UnixTime,
    report::{InstanceId, VerifierName},
};

use super::{
    StoreError,
    facts::Facts,
    launch_tokens::LaunchTokensOf,
    pending::Pending,
    prune::Pruned,
    reader::Reader,
    tokens::{EndedTokens, TokensOf},
    trail::OrdinalKey,
    wants::Wants,
};
use crate::domain::StoredKey;

/// Statements of a transaction that writes. A change that affects rows by another condition than their keys is made at once;
/// all others are [held back](Pending).
pub(super) trait Rows: Reader {
    /// Reads the rows of `wants` into `facts`. A key without a row stays unknown.
    fn fetch(&self, wants: &Wants, facts: &mut Facts) -> Result<(), StoreError>;

    /// Returns the ordinals of the last events of kinds in lists.
    fn last_ordinals(&self, keys: &[OrdinalKey]) -> Result<Vec<u64>, StoreError> {
        keys.iter().map(|(list, kind)| self.audit_rank(*list, &[*kind], u64::MAX)).collect()
    }

    /// Writes rows that were held back.
    fn write(&self, rows: &Pending) -> Result<(), StoreError>;

    /// Sets the savepoint to which a job that fails is undone.
    fn set_savepoint(&self) -> Result<(), StoreError>;

    /// Keeps what was written since the savepoint.
    fn release_savepoint(&self) -> Result<(), StoreError>;

    /// Undoes what was written since the savepoint, and releases it.
    fn roll_back_to_savepoint(&self) -> Result<(), StoreError>;

    /// Returns an error if the transaction has ended, with everything that was written in it.
    fn lost(&self) -> Option<StoreError>;

    /// Returns true if several brokers may use the store.
    fn is_shared(&self) -> bool;

    /// Adds a key, or replaces the row of the same id.
    fn put_signing_key(&self, key: &StoredKey) -> Result<(), StoreError>;

    /// Notes that a cursor of the log is confirmed. Returns false if that was noted before.
    fn note_confirmation(&self, epoch: &str, cursor: u64, at: UnixTime) -> Result<bool, StoreError>;

    /// Keeps what a confirmation was decided by, at `at`. Removes the oldest documents beyond `longest` bytes in all.
    fn put_evidence(
        &self,
        epoch: &str,
        cursor: u64,
        document: &[u8],
        at: UnixTime,
        longest: u64,
    ) -> Result<(), StoreError>;

    /// Suspends every active app. Returns their ids.
    fn suspend_apps(&self, at: UnixTime) -> Result<Vec<AppId>, StoreError>;

    /// Bars every agent. Returns the number that was not barred before.
    fn bar_agents(&self, at: UnixTime) -> Result<u64, StoreError>;

    /// Ends tokens. Those that expired until `past` have for certain.
    fn end_tokens(&self, of: TokensOf, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError>;

    /// Ends every token. Returns those that are dated after the second of `at` and have not expired, with their expiry.
    fn end_all_tokens(&self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError>;

    /// Deletes usable launch tokens. Returns their number.
    fn delete_unused_launch_tokens(&self, of: LaunchTokensOf<'_>) -> Result<u64, StoreError>;

    /// Deletes every launch token. Returns their number.
    fn delete_launch_tokens(&self) -> Result<u64, StoreError>;

    /// Deletes the not-before marks that are dated after `at`. Returns their number.
    fn delete_not_before_marks_after(&self, at: UnixTime) -> Result<u64, StoreError>;

    /// Deletes an instance of a verifier.
    fn delete_instance(&self, name: &VerifierName, instance: InstanceId) -> Result<(), StoreError>;

    /// Deletes the instances of a verifier that has no row.
    fn delete_instances_of(&self, name: &VerifierName) -> Result<(), StoreError>;

    /// Tells every broker to read verifiers and instances anew.
    fn enrolments_changed(&self) -> Result<(), StoreError>;

    /// Makes the reports before `at` count as lost.
    fn count_reports_as_lost(&self, at: UnixTime) -> Result<(), StoreError>;

    /// Deletes rows that expired by `until`, and nonces that expired by `nonces_until`.
    fn delete_expired(&self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError>;

    /// Executes statements in the store's own dialect.
    #[cfg(test)]
    fn execute_batch(&self, sql: &str) -> Result<(), StoreError>;

    /// Returns the number of times that the connection waited for the server.
    #[cfg(test)]
    fn round_trips(&self) -> u64 {
        0
    }
}

//! Statements of one transaction.

use agentwrit_verify::{
    AppId, Level, TokenId, UnixTime,
    report::{InstanceId, VerifierName},
};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::write;
use crate::{
    domain::StoredKey,
    store::{
        StoreError,
        codec::{micros, signed},
        facts::{Facts, ReadFacts},
        launch_tokens::LaunchTokensOf,
        pending::Pending,
        prune::Pruned,
        rows::Rows,
        tokens::{EndedTokens, TokensOf},
        wants::Wants,
    },
};

/// Removes the oldest evidence of confirmations beyond so many bytes in all.
const PRUNE_EVIDENCE: &str = "DELETE FROM confirmation_evidence WHERE (epoch, cursor) IN (SELECT epoch, cursor FROM \
     (SELECT epoch, cursor, sum(length(document)) OVER (ORDER BY decided_at DESC, epoch, cursor) AS total \
     FROM confirmation_evidence) AS kept WHERE total > ?1)";

/// Access to one state of the database: of the writer, or of a read, which is given as a [`Reader`](crate::store::Reader) only.
#[derive(Debug)]
pub(in crate::store) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
}

impl ReadFacts for Transaction<'_> {
    fn with_facts(&self, wants: Wants, read: &mut dyn FnMut(&Facts)) -> Result<(), StoreError> {
        let mut facts = Facts::default();
        self.fetch(&wants, &mut facts)?;
        read(&facts);
        Ok(())
    }
}

impl Rows for Transaction<'_> {
    fn fetch(&self, wants: &Wants, facts: &mut Facts) -> Result<(), StoreError> {
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
        launch_digests.iter().try_for_each(|key| self.fetch_launch_token_by_digest(key, facts))?;
        launch_tokens.iter().try_for_each(|key| self.fetch_launch_token(*key, facts))?;
        apps.iter().try_for_each(|key| self.fetch_app(key, facts))?;
        agents.iter().try_for_each(|key| self.fetch_agent(key, facts))?;
        tokens.iter().try_for_each(|key| self.fetch_token(key, facts))?;
        nonces.iter().try_for_each(|(key, expires_at)| self.fetch_nonce(key, *expires_at, facts))?;
        trust_rules.iter().try_for_each(|key| self.fetch_trust_rule(key, facts))?;
        assertions.iter().try_for_each(|key| self.fetch_assertion(key, facts))?;
        marks.iter().try_for_each(|key| self.fetch_mark(key, facts))?;
        names.iter().try_for_each(|key| self.fetch_name(key, facts))
    }

    fn write(&self, rows: &Pending) -> Result<(), StoreError> {
        write::write(self.connection, rows)
    }

    fn set_savepoint(&self) -> Result<(), StoreError> {
        self.statement("SAVEPOINT job")
    }

    fn release_savepoint(&self) -> Result<(), StoreError> {
        self.statement("RELEASE job")
    }

    fn roll_back_to_savepoint(&self) -> Result<(), StoreError> {
        self.statement("ROLLBACK TO job")?;
        self.statement("RELEASE job")
    }

    fn lost(&self) -> Option<StoreError> {
        self.connection.is_autocommit().then(|| StoreError::internal("the transaction ended early"))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn put_signing_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        self.put_key(key)
    }

    fn note_confirmation(&self, epoch: &str, cursor: u64, at: UnixTime) -> Result<bool, StoreError> {
        let sql = "INSERT OR IGNORE INTO confirmed_cursors (epoch, cursor, confirmed_at) VALUES (?1, ?2, ?3)";
        Ok(self.execute(sql, (epoch, signed(cursor), micros(at)))? > 0)
    }

    fn put_evidence(
        &self,
        epoch: &str,
        cursor: u64,
        document: &[u8],
        at: UnixTime,
        longest: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO confirmation_evidence (epoch, cursor, decided_at, document) VALUES (?1, ?2, ?3, ?4)";
        self.execute(sql, (epoch, signed(cursor), micros(at), document))?;
        self.execute(PRUNE_EVIDENCE, [signed(longest)]).map(|_| ())
    }

    fn suspend_apps(&self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        self.suspend_active_apps(at)
    }

    fn bar_agents(&self, at: UnixTime) -> Result<u64, StoreError> {
        self.bar_all_agents(at)
    }

    fn end_tokens(&self, of: TokensOf, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        match of {
            TokensOf::Session(sid) => self.end(Level::Session, sid.as_bytes(), at, past),
            TokensOf::Named(level, name) => self.end(level, &name, at, past),
        }
    }

    fn end_all_tokens(&self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        self.end_all(at)
    }

    fn delete_unused_launch_tokens(&self, of: LaunchTokensOf<'_>) -> Result<u64, StoreError> {
        self.delete_unused(of)
    }

    fn delete_launch_tokens(&self) -> Result<u64, StoreError> {
        self.execute("DELETE FROM launch_tokens", [])
    }

    fn delete_not_before_marks_after(&self, at: UnixTime) -> Result<u64, StoreError> {
        self.delete_marks_after(at)
    }

    fn delete_instance(&self, name: &VerifierName, instance: InstanceId) -> Result<(), StoreError> {
        self.delete_one_instance(name, instance)
    }

    fn delete_instances_of(&self, name: &VerifierName) -> Result<(), StoreError> {
        self.delete_all_instances(name)
    }

    fn enrolments_changed(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn count_reports_as_lost(&self, _: UnixTime) -> Result<(), StoreError> {
        self.note_lost_reports()
    }

    fn delete_expired(&self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        self.prune(until, nonces_until)
    }

    #[cfg(test)]
    fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch(sql)?)
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// Returns the first row, if there is one.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// Returns the only row of a statement that always has one.
    pub(super) fn single<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read)?)
    }

    /// Visits all rows, for results that are too large to collect.
    pub(super) fn each(
        &self,
        sql: &str,
        params: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            visit(row)?;
        }
        Ok(())
    }

    /// Returns all rows.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    }

    /// Executes a statement that writes. Returns the number of rows that it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<u64, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)? as u64)
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        self.execute(sql, []).map(|_| ())
    }
}

//! Statements for the shared transaction. Rows of many keys are read by queries that are sent together.

use agentwrit_verify::{
    AppId, Level, TokenId, UnixTime,
    report::{InstanceId, VerifierName},
};
use tokio_postgres::Row;

use super::{
    agents, apps, audit, keys, launch_tokens, meta, names,
    query::Query,
    revocations, tokens,
    transaction::Transaction,
    trust_rules,
    value::{Value, values},
    verifiers::PRUNE_EVIDENCE,
    write,
};
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
        trail::OrdinalKey,
        wants::Wants,
    },
};

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
        let queries = queries(wants);
        let rows = self.session().pipeline(&queries)?;
        learn(&queries, &rows, facts)
    }

    fn last_ordinals(&self, keys: &[OrdinalKey]) -> Result<Vec<u64>, StoreError> {
        let queries = audit::ordinal_queries(keys);
        let rows = self.session().pipeline(&queries)?;
        audit::ordinals(keys.len(), &rows)
    }

    fn write(&self, rows: &Pending) -> Result<(), StoreError> {
        self.session().pipeline(&write::queries(rows)?).map(|_| ())
    }

    fn set_savepoint(&self) -> Result<(), StoreError> {
        self.session().batch("SAVEPOINT job")
    }

    fn release_savepoint(&self) -> Result<(), StoreError> {
        self.session().batch("RELEASE SAVEPOINT job")
    }

    fn roll_back_to_savepoint(&self) -> Result<(), StoreError> {
        self.session().batch("ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job")
    }

    fn lost(&self) -> Option<StoreError> {
        let cause = "the connection was lost".to_owned();
        self.session().is_closed().then_some(StoreError::Unavailable { cause })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn put_signing_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        keys::put(self.session(), key)
    }

    fn note_confirmation(&self, epoch: &str, cursor: u64, at: UnixTime) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO confirmed_cursors (epoch, cursor, confirmed_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, values![epoch, signed(cursor), micros(at)])? > 0)
    }

    fn put_evidence(
        &self,
        epoch: &str,
        cursor: u64,
        document: &[u8],
        at: UnixTime,
        longest: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO confirmation_evidence (epoch, cursor, decided_at, document) VALUES ($1, $2, $3, $4)";
        self.execute(sql, values![epoch, signed(cursor), micros(at), document])?;
        self.execute(PRUNE_EVIDENCE, values![signed(longest)]).map(|_| ())
    }

    fn suspend_apps(&self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        self.suspend_active_apps(at)
    }

    fn bar_agents(&self, at: UnixTime) -> Result<u64, StoreError> {
        self.bar_all_agents(at)
    }

    fn end_tokens(&self, of: TokensOf, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        match of {
            TokensOf::Session(sid) => self.end(Level::Session, &Value::from(sid.as_bytes()), at, past),
            TokensOf::Named(level, name) => self.end(level, &Value::from(name), at, past),
        }
    }

    fn end_all_tokens(&self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        self.end_all(at)
    }

    fn delete_unused_launch_tokens(&self, of: LaunchTokensOf<'_>) -> Result<u64, StoreError> {
        self.delete_unused(of)
    }

    fn delete_launch_tokens(&self) -> Result<u64, StoreError> {
        self.execute("DELETE FROM launch_tokens", &[])
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
        self.announce_enrolments()
    }

    fn count_reports_as_lost(&self, at: UnixTime) -> Result<(), StoreError> {
        self.reports_were_lost(at)
    }

    fn delete_expired(&self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        self.prune(until, nonces_until)
    }

    #[cfg(test)]
    fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        self.session().batch(sql)
    }

    #[cfg(test)]
    fn round_trips(&self) -> u64 {
        self.session().round_trips()
    }
}

/// Returns the queries for the rows of `wants`.
pub(super) fn queries(wants: &Wants) -> Vec<Query<'_>> {
    let [by_digest, by_id] = launch_tokens::queries(wants);
    let [tokens, delegators] = tokens::queries(wants);
    let apps = apps::query(wants);
    let agents = agents::query(wants);
    let nonces = meta::query(wants);
    let [trust_rules, assertions] = trust_rules::queries(wants);
    let marks = revocations::query(wants);
    let names = names::query(wants);
    let rows = [by_digest, by_id, apps, agents, tokens, delegators, nonces, trust_rules, assertions, marks, names];
    rows.into_iter().flatten().collect()
}

/// Notes the rows that the queries returned.
pub(super) fn learn(queries: &[Query<'_>], rows: &[Vec<Row>], facts: &mut Facts) -> Result<(), StoreError> {
    for (query, rows) in queries.iter().zip(rows) {
        rows.iter().try_for_each(|row| (query.learn)(row, facts))?;
    }
    Ok(())
}

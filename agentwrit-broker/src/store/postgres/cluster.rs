//! Settings on which brokers of one database must agree, and their keys.

use agentwrit_verify::UnixTime;

use super::{
    codec::{bytes, get, unsigned},
    connect::Server,
    keys, schema,
    session::Session,
    value::values,
};
use crate::{
    domain::{ClusterSettings, Disagreement, StoredKey},
    store::{OpenError, StoreError, codec::signed},
};

/// Locks the head row, and reads the cursor of the keys' latest change.
const LOCK: &str = "SELECT keys_cursor FROM head WHERE one = 1 FOR UPDATE";
const SELECT_CLUSTER: &str = "SELECT issuer, trust_domain, audience, max_ttl, admin_secret, sender_constrained, \
     key_rotation, key_prepare_for FROM cluster WHERE one = 1";
const INSERT_CLUSTER: &str = "INSERT INTO cluster (one, max_ttl, admin_secret, sender_constrained, key_rotation, \
     key_prepare_for, issuer, trust_domain, audience) VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8)";
const UPDATE_CLUSTER: &str = "UPDATE cluster SET max_ttl = $1, admin_secret = $2, sender_constrained = $3, \
     key_rotation = $4, key_prepare_for = $5 WHERE one = 1";

/// State that a broker finds when it joins the others.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    /// Keys of all brokers.
    pub(crate) keys: Vec<StoredKey>,
    /// Cursor of their latest change.
    pub(crate) keys_cursor: u64,
    /// True if the keys were made by this call.
    pub(crate) keys_made: bool,
    /// Settings that differ from those of the broker that started last.
    pub(crate) deviations: Vec<Disagreement>,
}

/// Joins the brokers of the database at `url`: creates the schema of an empty one, compares the settings, and makes keys
/// if there are none. Brokers that start at the same time take turns, and so end with the same keys. Blocks the thread.
pub(crate) fn join<E>(
    url: &str,
    settings: &ClusterSettings,
    make_keys: impl FnOnce(UnixTime) -> Result<Vec<StoredKey>, E>,
) -> Result<Joined, JoinError<E>> {
    let server = Server::parse(url)?;
    let session = Session::open(&server)?;
    session.check_server()?;
    schema::prepare(&session, &server.name())?;
    session.batch("BEGIN")?;
    let joined = join_in_transaction(&session, settings, make_keys);
    session.batch(if joined.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    joined
}

fn join_in_transaction<E>(
    session: &Session,
    settings: &ClusterSettings,
    make_keys: impl FnOnce(UnixTime) -> Result<Vec<StoredKey>, E>,
) -> Result<Joined, JoinError<E>> {
    let keys_cursor = session.rows(LOCK, values![])?.first().map_or(Ok(0), |row| unsigned(row, 0))?;
    let deviations = compare(session, settings)?;
    let stored = keys::read(session)?;
    if !stored.is_empty() {
        return Ok(Joined { keys: stored, keys_cursor, keys_made: false, deviations });
    }
    let made = make_keys(session.time()?).map_err(JoinError::Keys)?;
    made.iter().try_for_each(|key| keys::put(session, key))?;
    Ok(Joined { keys: made, keys_cursor, keys_made: true, deviations })
}

/// Compares the settings with the recorded ones, and records those that may change.
fn compare(session: &Session, settings: &ClusterSettings) -> Result<Vec<Disagreement>, OpenError> {
    let ClusterSettings { issuer, trust_domain, audience, max_ttl, admin_secret, sender_constrained, .. } = settings;
    let (rotation, prepare_for) = (settings.key_rotation.map(signed), signed(settings.key_prepare_for));
    let mut may_change = values![max_ttl.map(signed), admin_secret, sender_constrained, rotation, prepare_for].to_vec();
    let Some(recorded) = read_settings(session)? else {
        may_change.extend_from_slice(values![issuer, trust_domain, audience.as_deref()]);
        session.execute(INSERT_CLUSTER, &may_change)?;
        return Ok(Vec::new());
    };
    let conflicts = settings.conflicts_with(&recorded);
    if !conflicts.is_empty() {
        return Err(OpenError::Disagreement { conflicts });
    }
    let deviations = settings.deviates_from(&recorded);
    if !deviations.is_empty() {
        session.execute(UPDATE_CLUSTER, &may_change)?;
    }
    Ok(deviations)
}

/// Returns the recorded settings of the database at `url`, if a broker has joined it. Blocks the thread.
pub(crate) fn recorded_settings(url: &str) -> Result<Option<ClusterSettings>, OpenError> {
    Ok(read_settings(&Session::open(&Server::parse(url)?)?)?)
}

fn read_settings(session: &Session) -> Result<Option<ClusterSettings>, StoreError> {
    let rows = session.rows(SELECT_CLUSTER, values![])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
    Ok(Some(ClusterSettings {
        issuer: get(row, 0)?,
        trust_domain: get(row, 1)?,
        audience: get(row, 2)?,
        max_ttl: get::<Option<i64>>(row, 3)?.map(seconds),
        admin_secret: bytes(row, 4)?,
        sender_constrained: get(row, 5)?,
        key_rotation: get::<Option<i64>>(row, 6)?.map(seconds),
        key_prepare_for: seconds(get(row, 7)?),
    }))
}

/// Reason that a broker did not join.
#[derive(Debug)]
pub(crate) enum JoinError<E> {
    Open(OpenError),
    /// No keys could be made.
    Keys(E),
}

impl<E> From<OpenError> for JoinError<E> {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl<E> From<StoreError> for JoinError<E> {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}

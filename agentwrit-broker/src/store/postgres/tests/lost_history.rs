//! Commits that the database lost: a standby that is promoted without them.
//!
//! The broker reaches the primary, and after its end the standby, through a link: the address stays the same.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use ::postgres_server::{PostgresServer, Stop};
use agentwrit_verify::{Level, SystemClock};
use tempfile::TempDir;

use super::*;
use crate::{
    domain::{KeyPurpose, KeyState, StoredKey},
    feed::{BrokerMemory, LogReader},
    issuer::CurrentRing,
    keys::{Custody, SealedKeys, SeededEntropy, test_kek},
    maintenance::lost_history::{revoke_all, withdraw_keys_again},
    store::{KeysVersion, LogEnd, LostHistoryOptions, OnLoss, OpenError, Reaction},
};

/// A primary, a standby that lacks its last commits, and an address that leads to one of them.
pub(super) struct Pair {
    primary: PostgresServer,
    standby: PostgresServer,
    active: Arc<Mutex<PathBuf>>,
    pub(super) directory: TempDir,
}

impl Pair {
    /// The standby has replayed what was written until now.
    pub(super) fn start(prepare: impl FnOnce(&PostgresServer)) -> Self {
        let primary = PostgresServer::start();
        prepare(&primary);
        let standby = primary.standby();
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let active = Arc::new(Mutex::new(primary.socket()));
        let target = Arc::clone(&active);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&*target.lock().unwrap()) else { continue };
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    thread::spawn(move || {
                        std::io::copy(&mut from, &mut to).unwrap_or_default();
                        to.shutdown(std::net::Shutdown::Both).unwrap_or_default();
                    });
                }
            }
        });
        Self { primary, standby, active, directory }
    }

    pub(super) fn url(&self) -> String {
        let host = self.directory.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://agentwrit@{host}:5432/postgres?sslmode=disable")
    }

    /// Waits until the standby has received and replayed everything, then ends its connection to the primary.
    pub(super) fn disconnect_standby(&self) {
        let written = self.primary.query("postgres", "SELECT pg_current_wal_lsn()").remove(0);
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
        while self.standby.query("postgres", &replayed) != ["t"] {
            thread::yield_now();
        }
        self.standby.query("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.standby.query("postgres", "SELECT pg_reload_conf()");
        while self.primary.query("postgres", "SELECT count(*) FROM pg_stat_replication") != ["0"] {
            thread::yield_now();
        }
    }

    /// Ends the primary and makes the standby take its place.
    pub(super) fn fail_over(&self) {
        self.primary.stop(Stop::Immediate);
        self.standby.promote();
        self.lead_to(&self.standby);
    }

    /// Makes new connections lead to `server`.
    fn lead_to(&self, server: &PostgresServer) {
        *self.active.lock().unwrap() = server.socket();
    }

    /// Ends the primary's first (`ASC`) or last (`DESC`) connection.
    fn end_connection(&self, order: &str) {
        let process = format!(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
             ORDER BY backend_start {order} LIMIT 1"
        );
        let ended = self.primary.query("postgres", &format!("SELECT pg_terminate_backend(({process}), 10000)"));
        assert_eq!(ended, ["t"]);
    }

    /// Returns a store with a connection that writes, which is the primary's first, and one that reads.
    async fn connect_with_one_reader(&self) -> Store {
        let options = StoreOptions { readers: 1, ..self.options("a", OnLoss::Stop) };
        let store = connect_with(&self.url(), options);
        store.transact(|tx| register(tx, 1)).await.unwrap();
        assert_eq!(store.read(total).await, Ok::<_, StoreError>(2));
        store
    }

    pub(super) fn options(&self, state: &str, reaction: OnLoss) -> StoreOptions {
        let state_path = Some(self.directory.path().join(state));
        let lost_history = LostHistoryOptions { state_path, reaction, ..LostHistoryOptions::default() };
        StoreOptions { lost_history, ..StoreOptions::default() }
    }
}

/// Returns what `history_lost` events and issuer-wide marks the database holds, and the epoch.
pub(super) async fn losses(store: &Store) -> (u64, u64, String) {
    let read = store.read(|reader| {
        let query = AuditQuery { event_type: Some(EventType::HistoryLost), limit: 10, ..AuditQuery::default() };
        let mut marks = 0;
        reader.visit_revocations(0, at(0), u64::from(u32::MAX), &mut |row| {
            marks += u64::from(row.level == Level::Issuer);
        })?;
        Ok::<_, StoreError>((reader.audit_events(&query)?.total, marks, reader.epoch()?))
    });
    read.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_revokes_everything_once_when_standby_without_its_last_commit_is_promoted() {
    let pair = Pair::start(|_| {});
    let react = OnLoss::react(revoke_all);
    let store = connect_with(&pair.url(), pair.options("a", react.clone()));
    let other = connect_with(&pair.url(), pair.options("b", react.clone()));
    store.transact(|tx| tx.insert_launch_token(&launch_token(1))).await.unwrap();
    store.transact(|tx| register(tx, 1)).await.unwrap();
    other.transact(|tx| register(tx, 2)).await.unwrap();
    let before = losses(&store).await;
    assert_eq!((before.0, before.1), (0, 0));
    pair.disconnect_standby();
    store.transact(|tx| register(tx, 3)).await.unwrap();
    other.transact(|tx| register(tx, 4)).await.unwrap();
    pair.fail_over();

    let now = store.transact(|tx| {
        assert!(tx.agent(&agent_id(3))?.is_none() && tx.agent(&agent_id(4))?.is_none(), "the commits are lost");
        assert!(tx.agent(&agent_id(1))?.unwrap().revoked_at.is_some(), "agents are barred");
        assert!(tx.launch_token_by_digest(&launch_token(1).digest)?.is_none(), "it may have been used");
        register(tx, 5)
    });
    assert!(!now.await.unwrap(), "a nonce that was issued before counts as used");
    let (events, marks, epoch) = losses(&store).await;
    assert_eq!((events, marks), (1, 1));
    assert_ne!(epoch, before.2);
    // The reaction of the first broker covers what the second one lost.
    other.transact(|tx| register(tx, 6)).await.unwrap();
    assert!(
        other.transact(|tx| Ok::<_, StoreError>(tx.agent(&agent_id(5))?.unwrap().revoked_at.is_none())).await.unwrap()
    );
    assert_eq!(losses(&other).await, (1, 1, epoch.clone()));

    // So it is for a broker that starts later with an old state file.
    store.close().await;
    other.close().await;
    let third = connect_with(&pair.url(), pair.options("a", react.clone()));
    third.transact(|tx| register(tx, 7)).await.unwrap();
    assert_eq!(losses(&third).await, (1, 1, epoch));
    assert_eq!(third.read(whole_trail).await.unwrap(), 11);
}

const ISSUER: &str = "https://agentwrit.local";

/// A store that follows the log and keeps keys in memory, as a broker does.
pub(super) async fn connect_with_keys(pair: &Pair, state: &str, reaction: OnLoss) -> (Store, Arc<CurrentRing>) {
    let custody =
        Arc::new(Custody::of_sealed_keys(SealedKeys::new(test_kek(1), ISSUER), Arc::new(SeededEntropy::new(7))));
    let withdraw_again = {
        let custody = Arc::clone(&custody);
        Some(Reaction::new(move |tx, lost| withdraw_keys_again(tx, lost, &custody)))
    };
    let mut options = pair.options(state, reaction);
    options.lost_history.withdraw_again = withdraw_again;
    let store = connect_with(&pair.url(), options);
    let keys = follow_with(&store, custody).await;
    (store, keys)
}

/// Follows the log, and the keys, which are made if there are none.
pub(super) async fn follow_log(store: &Store) {
    let sealed = SealedKeys::new(test_kek(1), ISSUER);
    follow_with(store, Arc::new(Custody::of_sealed_keys(sealed, Arc::new(SeededEntropy::new(7))))).await;
}

async fn follow_with(store: &Store, custody: Arc<Custody>) -> Arc<CurrentRing> {
    let first = SealedKeys::new(test_kek(1), ISSUER).first_keys(at(0), &SeededEntropy::new(8)).unwrap();
    let joined = store.transact(move |tx| {
        if tx.signing_keys()?.is_empty() {
            first.iter().try_for_each(|row| tx.put_signing_key(row))?;
        }
        Ok::<_, StoreError>((tx.signing_keys()?, tx.epoch()?, tx.keys_cursor()?, tx.latest_cursor()?))
    });
    let (rows, epoch, keys_cursor, cursor) = joined.await.unwrap();
    let epoch: Arc<str> = epoch.into();
    let version = KeysVersion { epoch: Arc::clone(&epoch), cursor: keys_cursor };
    let keys =
        Arc::new(CurrentRing::open(custody, &rows, version, store.withdrawn_keys(), Arc::new(SystemClock)).unwrap());
    let log = LogReader::new(ISSUER).finish(LogEnd { epoch, cursor }, Arc::new(SystemClock));
    store.follow(Arc::new(BrokerMemory { log, keys: Arc::clone(&keys) }));
    keys
}

/// Withdraws the active key. A new one takes its place. Returns the ids of both.
pub(super) async fn withdraw_active_key(store: &Store, keys: &CurrentRing) -> [String; 2] {
    let first = keys.ring().active.id().as_str().to_owned();
    let (next, kid) = (keys.custody().new_key(&[], at(1)).unwrap(), first.clone());
    let (sealed, withdrawn) = {
        let rows = store.read(|reader| reader.signing_keys()).await.unwrap();
        let row = rows.into_iter().find(|row| row.kid == kid).unwrap();
        let active = StoredKey { state: KeyState::Active, activated_at: Some(at(2)), cursor: 1, ..next.clone() };
        let withdrawn = StoredKey { state: KeyState::Withdrawn, sealed: Vec::new(), cursor: 1, ..row };
        (keys.custody().with_state(&next, active).unwrap(), withdrawn)
    };
    let change = store.transact(move |tx| {
        tx.advance_cursor()?;
        tx.put_signing_key(&withdrawn)?;
        tx.put_signing_key(&sealed)?;
        tx.append(event("the key was withdrawn"))
    });
    change.await.unwrap();
    [first, next.kid]
}

pub(super) async fn states(store: &Store) -> Vec<(String, KeyState)> {
    let rows = store.transact(|tx| tx.signing_keys()).await.unwrap();
    let of_tokens = rows.into_iter().filter(|row| row.purpose == KeyPurpose::Token);
    of_tokens.map(|row| (row.kid, row.state)).collect()
}

/// Confirms until memory holds what the database has.
pub(super) async fn catch_up(store: &Store) {
    let caught_up = async { while store.confirm().await.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), caught_up).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawal_that_database_lost_is_made_again_also_after_reaction_of_broker_that_did_not_know_it() {
    let pair = Pair::start(|_| {});
    let (knowing, keys) = connect_with_keys(&pair, "a", OnLoss::react(revoke_all)).await;
    let unknowing = connect_with(&pair.url(), pair.options("b", OnLoss::react(revoke_all)));
    unknowing.transact(|tx| register(tx, 1)).await.unwrap();
    pair.disconnect_standby();
    let [first, next] = withdraw_active_key(&knowing, &keys).await;
    catch_up(&knowing).await;
    assert_eq!(keys.ring().active.id().as_str(), next);
    unknowing.transact(|tx| register(tx, 2)).await.unwrap();
    pair.fail_over();

    unknowing.transact(|tx| register(tx, 3)).await.unwrap();
    assert_eq!(states(&unknowing).await, [(first.clone(), KeyState::Active)], "it did not know of the withdrawal");
    let after = states(&knowing).await;
    assert_eq!(after[0], (first.clone(), KeyState::Withdrawn));
    assert!(after.len() == 2 && after[1].1 == KeyState::Active, "{after:?}");
    assert_eq!(losses(&knowing).await.0, 1, "everything was revoked once");
    catch_up(&knowing).await;
    assert_eq!(keys.ring().active.id().as_str(), after[1].0);
    assert!(keys.ring().published.iter().all(|key| key.id().as_str() != first));
    let again = knowing.transact(|tx| register(tx, 4)).await;
    assert!(again.is_ok());
    assert_eq!(states(&knowing).await, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_reacts_to_lost_history_and_follows_new_log_when_broker_writes_nothing() {
    let pair = Pair::start(|_| {});
    let (store, keys) = connect_with_keys(&pair, "a", OnLoss::react(revoke_all)).await;
    store.transact(|tx| register(tx, 1)).await.unwrap();
    pair.disconnect_standby();
    store.transact(|tx| register(tx, 2)).await.unwrap();
    catch_up(&store).await;
    let before = keys.ring().version.epoch.clone();
    pair.fail_over();

    // From here on this broker only reads.
    catch_up(&store).await;
    let epoch = keys.ring().version.epoch.clone();
    assert_ne!(epoch, before);
    assert_eq!(losses(&store).await, (1, 1, epoch.to_string()));
    for _ in 0..3 {
        store.confirm().await.unwrap();
    }
    assert_eq!(losses(&store).await.0, 1, "everything was revoked once");
    let agents = store.read(|reader| Ok::<_, StoreError>([1, 2].map(|number| reader.agent(&agent_id(number)))));
    let [kept, lost] = agents.await.unwrap().map(Result::unwrap);
    assert!(kept.unwrap().revoked_at.is_some() && lost.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_broker_notices_lost_commit_by_its_state_file() {
    let pair = Pair::start(|_| {});
    let store = connect_with(&pair.url(), pair.options("a", OnLoss::Stop));
    store.transact(|tx| register(tx, 1)).await.unwrap();
    pair.disconnect_standby();
    store.transact(|tx| register(tx, 2)).await.unwrap();
    store.close().await;
    pair.fail_over();
    let (url, options) = (pair.url(), pair.options("a", OnLoss::Stop));
    let refused = thread::spawn(move || Store::connect(&url, options).unwrap_err()).join().unwrap();
    let OpenError::HistoryLost(lost) = &refused else { panic!("{refused}") };
    assert_eq!((lost.seen.sequence, lost.found.sequence), (4, 2));
    assert!(refused.to_string().contains("mark-restored"), "{refused}");

    // A broker without a state file does not know of it; one with the file reacts, if it is to.
    let store = connect_with(&pair.url(), pair.options("none", OnLoss::Stop));
    assert_eq!(losses(&store).await.0, 0);
    let store = connect_with(&pair.url(), pair.options("a", OnLoss::react(revoke_all)));
    assert_eq!(losses(&store).await.0, 1);
    // The mark covers what was lost for a broker that stops too.
    store.close().await;
    connect_with(&pair.url(), pair.options("a", OnLoss::Stop)).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_is_to_stop_fails_transactions_and_says_why() {
    let pair = Pair::start(|_| {});
    let store = connect_with(&pair.url(), pair.options("a", OnLoss::Stop));
    store.transact(|tx| register(tx, 1)).await.unwrap();
    pair.disconnect_standby();
    store.transact(|tx| register(tx, 2)).await.unwrap();
    pair.fail_over();
    let lost = store.transact(|tx| register(tx, 3)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
    let lost = store.history_lost().await;
    assert_eq!((lost.seen.sequence, lost.found.sequence), (4, 2));
    let read = store.read(total).await;
    assert!(matches!(read, Err::<_, StoreError>(StoreError::Unavailable { .. })), "{read:?}");
    let without_state = connect_with(&pair.url(), pair.options("none", OnLoss::Stop));
    assert_eq!(without_state.read(total).await, Ok::<_, StoreError>(2), "nothing was recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_from_new_primary_when_idle_connection_still_leads_to_old_one() {
    let pair = Pair::start(|_| {});
    let store = pair.connect_with_one_reader().await;
    pair.disconnect_standby();
    pair.standby.promote();
    pair.lead_to(&pair.standby);
    pair.end_connection("ASC");
    store.transact(|tx| register(tx, 2)).await.unwrap();
    assert_eq!(store.read(total).await, Ok::<_, StoreError>(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_snapshot_of_standby_to_which_reader_reconnects() {
    let pair = Pair::start(|_| {});
    let store = pair.connect_with_one_reader().await;
    pair.disconnect_standby();
    pair.lead_to(&pair.standby);
    pair.end_connection("DESC");
    let Err(StoreError::Unavailable { cause }) = store.read(total).await else { panic!() };
    assert!(cause.contains("standby"), "{cause}");
    pair.lead_to(&pair.primary);
    assert_eq!(store.read(total).await, Ok::<_, StoreError>(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_and_restart_of_server_loses_nothing_and_is_no_lost_history() {
    let pair = Pair::start(|_| {});
    let store = connect_with(&pair.url(), pair.options("a", OnLoss::Stop));
    for number in 0..5 {
        store.transact(move |tx| register(tx, number)).await.unwrap();
        pair.primary.stop(Stop::Immediate);
        pair.primary.start_again();
    }
    assert_eq!(store.transact(|tx| register(tx, 9)).await, Ok::<_, StoreError>(true));
    assert_eq!(store.read(whole_trail).await, Ok::<_, StoreError>(12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_state_file_of_another_database() {
    let (fixture, directory) = (Fixture::new(), TempDir::new().unwrap());
    let options = || {
        let state_path = Some(directory.path().join("broker.state"));
        StoreOptions {
            lost_history: LostHistoryOptions { state_path, ..LostHistoryOptions::default() },
            ..StoreOptions::default()
        }
    };
    fixture.write(|tx| register(tx, 1)).await;
    fixture.directory.open(options()).close().await;
    let other = Fixture::new();
    let url = other.directory.url();
    let options = options();
    let refused = thread::spawn(move || Store::connect(&url, options).unwrap_err()).join().unwrap();
    let OpenError::StateFile { cause, .. } = refused else { panic!("{refused}") };
    assert!(cause.contains("another database") && cause.contains("AA_STATE_PATH"), "{cause}");
}

//! Follows what other brokers of the database commit.
//!
//! 1. A task reads the head row on a connection of its own: when a caller wants the present state, when a notification
//!    says that the log has grown, and every [`POLL_INTERVAL`] in any case. Readings begin [`LEAST_INTERVAL`] apart at least,
//!    so that clients that are not authenticated can't make the database do more than that.
//! 2. A reading answers all callers that waited when it began. It is one statement, with the time at which its transaction
//!    began, before the server took the state: the state is never older than the time that is returned with it.
//!    Revocations and keys are read by further statements if the head row shows that there are new ones.
//! 3. A reading that fails or gets no response for [`READ_TIMEOUT`] fails its callers and ends the connection.
//! 4. A log that is shorter than what memory holds, and one that memory has left, are rejected: the server has lost
//!    commits, or is not the primary any more.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentwrit_verify::{
    UnixTime,
    http_client::{Backoff, random_fraction},
};
use futures_util::{TryStreamExt, future::try_join};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_postgres::{Client, Row, Statement};

use super::{
    codec::{get, time, unsigned},
    connect::{RECONNECT_LIMIT, Server},
    history::History,
    keys::{self, ChangedKeys},
    revocations::{self, feed_row},
    seen_commit,
};
use crate::{
    clock::{DatabaseClock, ExpiryClock, LEEWAY},
    domain::StoredKey,
    store::{
        LostHistory, StoreError,
        codec::signed,
        follow::{Confirmed, KeysVersion, LogEnd, Mirror, When},
        revocations::FeedRow,
    },
};

/// Interval between two readings of the head row.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Shortest interval between the beginnings of two readings. After a longer pause, a reading begins as soon as it is wanted.
const LEAST_INTERVAL: Duration = Duration::from_millis(2);
/// Shortest interval before a reading that a notification causes.
const NOTIFIED_INTERVAL: Duration = Duration::from_millis(5);
/// Time limit for each response of the database.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Delays between attempts to reach a database that is away.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1)).least_share(0.5);
/// Number of callers that may wait for a reading.
const MAX_WAITING: usize = 1 << 16;
/// Reads the columns of [`seen_commit::CHECK`], a time before that state, the end of the log, the cursor of the keys' latest change,
/// and the last revocation that there is.
const READ: &str = seen_commit::check!(
    ", (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint, head.cursor, head.keys_cursor, \
     (SELECT coalesce(max(cursor), 0) FROM revocations)"
);
/// Tells the other brokers that the log has grown. Nothing is lost if it is: the transaction needs no `fsync`.
const NOTIFY: &str = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY agentwrit; COMMIT";

/// Age of the last commit from which on a time that was confirmed is recorded by another one.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// State that the writer and the task share.
#[derive(Debug)]
pub(super) struct LogFollower {
    clock: Arc<DatabaseClock>,
    mirror: OnceLock<Arc<dyn Mirror>>,
    left_logs: Mutex<LeftLogs>,
    /// Commits that the database must hold.
    history: Arc<History>,
    /// Number of readings begun.
    readings: AtomicU64,
    wake: Notify,
    /// Cursor of this broker's latest commit.
    committed: AtomicI64,
    /// Set when other brokers are to be told of a commit.
    announce: AtomicBool,
    /// Moment from which on no other broker can have confirmed a later time before.
    in_order_from: Instant,
}

/// Logs that memory has left, and the reading that found the present one.
#[derive(Debug, Default)]
struct LeftLogs {
    left: Vec<Arc<str>>,
    reading: u64,
}

/// Head row as a reading found it.
#[derive(Debug)]
struct Reading {
    number: u64,
    /// End of the log that memory held when the reading began.
    before: LogEnd,
    end: LogEnd,
    /// Keys, if they are not those that memory held.
    keys: Option<ChangedKeys>,
}

/// Result of delivering a reading to memory.
#[derive(Debug, PartialEq, Eq)]
enum Delivery {
    Done,
    /// Memory holds another log, which has ended.
    OtherLog,
    /// A later reading found another log.
    Outdated,
}

impl LogFollower {
    /// `unrecorded` is how long other brokers may be ahead of the server's time, which was read just now.
    pub(super) fn new(clock: Arc<DatabaseClock>, history: Arc<History>, unrecorded: Duration) -> Arc<Self> {
        Arc::new(Self {
            clock,
            mirror: OnceLock::new(),
            left_logs: Mutex::default(),
            history,
            readings: AtomicU64::new(0),
            wake: Notify::new(),
            committed: AtomicI64::new(0),
            announce: AtomicBool::new(false),
            in_order_from: Instant::now() + unrecorded,
        })
    }

    /// Returns how long other brokers may be ahead of the server's time `now`, at which the last commit had `last_commit`: they
    /// record the time that they confirm if that is older than [`RECORD_INTERVAL`].
    pub(super) fn unrecorded(now: UnixTime, last_commit: UnixTime) -> Duration {
        let ahead = last_commit.saturating_add(RECORD_INTERVAL).saturating_since(now);
        // A clock that was set back by more is followed.
        if ahead <= LEEWAY + RECORD_INTERVAL { ahead } else { Duration::ZERO }
    }

    /// Returns the end of the log that memory holds, if there is such memory.
    pub(super) fn end(&self) -> Option<LogEnd> {
        self.mirror.get().map(|mirror| mirror.end())
    }

    /// Returns the latest change of the keys that memory holds, as parameters of [`keys::CHANGED`].
    pub(super) fn known_keys(&self) -> (Option<String>, Option<i64>) {
        let known = self.mirror.get().map(|mirror| mirror.keys_version());
        known.map(|KeysVersion { epoch, cursor }| (epoch.to_string(), signed(cursor))).unzip()
    }

    /// Puts keys in the place of those in memory. What is withdrawn reaches the state file.
    fn replace_keys(&self, mirror: &dyn Mirror, keys: &[StoredKey], version: KeysVersion) -> Result<(), StoreError> {
        mirror.replace_keys(keys, version)?;
        self.history.learn_withdrawals(mirror.withdrawn_keys());
        Ok(())
    }

    /// Rejects a snapshot of a log that memory has left, and one that is shorter than the log was before it was taken.
    pub(super) fn check_snapshot(&self, before: Option<&LogEnd>, end: &LogEnd) -> Result<(), StoreError> {
        let shorter = before.is_some_and(|before| before.epoch == end.epoch && end.cursor < before.cursor);
        if shorter || self.left_logs().left.contains(&end.epoch) {
            return Err(unavailable("the server does not hold the present revocation log"));
        }
        Ok(())
    }

    /// Delivers the rows behind `before`, and the keys, which other brokers committed. The caller holds the lock of the head
    /// row, so that nothing is later.
    pub(super) fn deliver_locked(
        &self,
        before: Option<LogEnd>,
        end: LogEnd,
        rows: &[Row],
        keys: &[Row],
    ) -> Result<(), StoreError> {
        let (Some(mirror), Some(before)) = (self.mirror.get(), before) else { return Ok(()) };
        let reading = Reading { number: self.next_reading(), before, end, keys: ChangedKeys::read(keys)? };
        match self.deliver(mirror.as_ref(), &reading, rows)? {
            Delivery::Done => Ok(()),
            Delivery::OtherLog | Delivery::Outdated => {
                self.wake.notify_one();
                Err(unavailable("another revocation log was begun, which is being read"))
            }
        }
    }

    /// Tells the other brokers of a commit, if it made the log grow.
    pub(super) fn committed(&self, cursor: i64) {
        if self.committed.swap(cursor, Ordering::Relaxed) != cursor {
            self.announce.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    fn next_reading(&self) -> u64 {
        self.readings.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    fn deliver(&self, mirror: &dyn Mirror, reading: &Reading, rows: &[Row]) -> Result<Delivery, StoreError> {
        let left_logs = self.left_logs();
        let (Reading { number, before, end, keys }, known) = (reading, mirror.end());
        if known.epoch != end.epoch {
            if left_logs.left.contains(&end.epoch) {
                return Err(unavailable("the database holds a revocation log that has ended"));
            }
            return Ok(if *number < left_logs.reading { Delivery::Outdated } else { Delivery::OtherLog });
        }
        if before.epoch != end.epoch {
            // The rows behind the cursor of another log may not be all.
            return Ok(Delivery::Outdated);
        }
        if end.cursor < before.cursor {
            return Err(unavailable("the database has lost revocations that were committed"));
        }
        let rows = rows.iter().map(feed_row).collect::<Result<Vec<FeedRow<'_>>, StoreError>>()?;
        if let Some(ChangedKeys { rows, version }) = keys
            && version.epoch == end.epoch
        {
            // Before the end of the log moves: what names its cursor announces these keys.
            self.replace_keys(mirror, rows, version.clone())?;
        }
        mirror.extend(&rows, end);
        Ok(Delivery::Done)
    }

    fn left_logs(&self) -> MutexGuard<'_, LeftLogs> {
        self.left_logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { cause: cause.to_owned() }
}

/// Limits the time for one response of the database.
async fn in_time<T, E>(response: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
where
    StoreError: From<E>,
{
    let response = timeout(READ_TIMEOUT, response).await;
    Ok(response.map_err(|_| unavailable("the database does not respond"))??)
}

/// Has the writer do something that a reading gives reason to.
pub(in crate::store) type Reaction = Box<dyn Fn() + Send + Sync>;

type Waiting = oneshot::Sender<Result<Confirmed, StoreError>>;

/// The task, and the callers that wait for it.
#[derive(Debug)]
struct Running {
    /// Callers for whom a reading begins at once.
    urgent: mpsc::Sender<Waiting>,
    /// Callers that wait for the next one.
    patient: mpsc::Sender<Waiting>,
    task: JoinHandle<()>,
}

/// Handle of the task that follows the log.
#[derive(Debug)]
pub(in crate::store) struct Follower {
    server: Server,
    shared: Arc<LogFollower>,
    running: OnceLock<Running>,
}

impl Follower {
    pub(super) fn new(server: Server, shared: Arc<LogFollower>) -> Self {
        Self { server, shared, running: OnceLock::new() }
    }

    /// Begins to follow the log, in a task of the current runtime. `react` is called when the database lost commits,
    /// `record_time` when a confirmed time is to be recorded by a commit.
    pub(in crate::store) fn start(&self, mirror: Arc<dyn Mirror>, react: Reaction, record_time: Reaction) {
        self.running.get_or_init(|| {
            self.shared.mirror.get_or_init(|| Arc::clone(&mirror));
            self.shared.history.learn_withdrawals(mirror.withdrawn_keys());
            let (urgent, requests) = mpsc::channel(MAX_WAITING);
            let (patient, others) = mpsc::channel(MAX_WAITING);
            let shared = Arc::clone(&self.shared);
            let server = self.server.clone();
            let task = Task { server, shared, mirror, react, record_time, requests, others, connection: None };
            Running { urgent, patient, task: tokio::spawn(task.run()) }
        });
    }

    /// See [`Store::confirm`](crate::store::Store::confirm).
    pub(in crate::store) async fn confirm(&self, when: When) -> Result<Confirmed, StoreError> {
        let running = self.running.get().ok_or_else(|| StoreError::internal("nothing follows the log"))?;
        let requests = if when == When::Now { &running.urgent } else { &running.patient };
        let (reply, response) = oneshot::channel();
        requests.try_send(reply).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::closed(),
        })?;
        response.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    /// Waits until no other broker can have confirmed a later time, also if the server's clock was set back before the start.
    pub(in crate::store) async fn confirms_in_order(&self) {
        sleep_until(self.shared.in_order_from).await;
    }

    /// Returns the number of readings that were begun.
    #[cfg(test)]
    pub(in crate::store) fn readings(&self) -> u64 {
        self.shared.readings.load(Ordering::SeqCst)
    }

    /// Returns the ids of the keys that this broker knows as withdrawn.
    pub(in crate::store) fn withdrawn_keys(&self) -> Vec<String> {
        self.shared.history.withdrawn_keys()
    }

    /// Returns true if the state file could not be written, or is not written in time.
    pub(in crate::store) fn is_state_file_behind(&self) -> bool {
        self.shared.history.is_file_behind()
    }

    pub(in crate::store) fn expiry_clock(&self) -> ExpiryClock {
        ExpiryClock(Arc::clone(&self.shared.clock))
    }

    /// Returns the seconds by which this machine's clock is ahead of the server's.
    pub(in crate::store) fn clock_offset(&self) -> f64 {
        self.shared.clock.offset()
    }

    pub(in crate::store) fn stop(&self) {
        if let Some(running) = self.running.get() {
            running.task.abort();
        }
    }
}

struct Task {
    server: Server,
    shared: Arc<LogFollower>,
    mirror: Arc<dyn Mirror>,
    react: Reaction,
    record_time: Reaction,
    requests: mpsc::Receiver<Waiting>,
    /// Callers for whom no reading begins.
    others: mpsc::Receiver<Waiting>,
    /// None before the first reading, and after one failed.
    connection: Option<Connection>,
}

impl Task {
    async fn run(mut self) {
        let (mut failures, mut last) = (0_u32, Instant::now());
        loop {
            let Some(mut waiting) = self.next(last, failures == 0).await else { return };
            while let Ok(another) = self.requests.try_recv().or_else(|_| self.others.try_recv()) {
                waiting.push(another);
            }
            last = Instant::now();
            let outcome = self.read().await;
            match &outcome {
                Ok(_) if failures > 0 => tracing::info!(component = "store", "the revocation log is followed again"),
                Err(error) if failures == 0 => {
                    tracing::error!(component = "store", %error, "the revocation log cannot be followed");
                }
                Ok(_) | Err(_) => {}
            }
            if let Ok(confirmed) = &outcome
                && !waiting.is_empty()
                && confirmed.at.saturating_since(confirmed.last_commit) >= RECORD_INTERVAL
            {
                (self.record_time)();
            }
            failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
            for waiting in waiting {
                // An error means that the caller no longer waits.
                waiting.send(outcome.clone()).unwrap_or_default();
            }
            if let Some(failed) = failures.checked_sub(1) {
                self.connection = None;
                sleep(BACKOFF.delay(failed, random_fraction())).await;
            }
        }
    }

    /// Waits for a reason to read. Returns the first caller, `None` when the store is closed.
    async fn next(&mut self, last: Instant, works: bool) -> Option<Vec<Waiting>> {
        let shared = Arc::clone(&self.shared);
        let notified = async {
            if !works {
                std::future::pending::<()>().await;
            }
            shared.wake.notified().await;
            sleep_until(last + NOTIFIED_INTERVAL).await;
        };
        let first = tokio::select! {
            request = self.requests.recv() => Some(request?),
            () = notified => None,
            () = sleep_until(last + POLL_INTERVAL) => None,
        };
        // Callers that arrive in the meantime share the reading.
        sleep_until(last + LEAST_INTERVAL).await;
        Some(first.into_iter().collect())
    }

    /// Brings memory up to date. Returns the time at which it was at the latest.
    async fn read(&mut self) -> Result<Confirmed, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.client.is_closed() => connection,
            Some(_) | None => in_time(Connection::open(&self.server, &self.shared)).await?,
        };
        let connection = self.connection.insert(connection);
        loop {
            let (number, before) = (self.shared.next_reading(), self.mirror.end());
            let (confirmed, end, rows, keys) = match in_time(connection.read_head(&self.shared, &before)).await? {
                HeadReading::Of { confirmed, end, rows, keys } => (confirmed, end, rows, keys),
                HeadReading::Lost(lost) => {
                    (self.react)();
                    return Err(unavailable(&lost.to_string()));
                }
            };
            let reading = Reading { number, before, end, keys };
            match self.shared.deliver(self.mirror.as_ref(), &reading, &rows)? {
                Delivery::Done => return Ok(confirmed),
                Delivery::Outdated => {}
                Delivery::OtherLog => {
                    connection.read_log(&self.shared, self.mirror.as_ref(), reading).await?;
                    return Ok(confirmed);
                }
            }
        }
    }
}

/// State of the database that a reading found.
enum HeadReading {
    Of {
        confirmed: Confirmed,
        end: LogEnd,
        rows: Vec<Row>,
        keys: Option<ChangedKeys>,
    },
    /// The database lost commits: nothing that it holds counts until the writer has reacted.
    Lost(LostHistory),
}

/// Connection of the task.
#[derive(Debug)]
struct Connection {
    client: Client,
    read: Statement,
    after: Statement,
    keys: Statement,
    all: Statement,
}

impl Connection {
    async fn open(server: &Server, shared: &Arc<LogFollower>) -> Result<Self, StoreError> {
        let notified = Arc::clone(shared);
        let (client, _) = server.connect_notified(RECONNECT_LIMIT, move || notified.wake.notify_one()).await?;
        let standby: bool = client.query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?;
        if standby {
            return Err(unavailable("the server is a standby"));
        }
        // Through a pooler, and on databases without notifications, the poll alone must do.
        if let Err(error) = client.batch_execute("LISTEN agentwrit").await {
            tracing::debug!(component = "store", %error, "no notifications from the database");
        }
        Ok(Self {
            read: client.prepare(READ).await?,
            after: client.prepare(revocations::AFTER).await?,
            keys: client.prepare(keys::CHANGED).await?,
            all: client.prepare(revocations::UP_TO).await?,
            client,
        })
    }

    /// Reads time and end of the log; and the revocations behind `before` and the keys, if there are others than known.
    async fn read_head(&self, shared: &LogFollower, before: &LogEnd) -> Result<HeadReading, StoreError> {
        let sent = shared.clock.local().monotonic();
        let announce = shared.announce.swap(false, Ordering::Relaxed);
        let notify = async {
            if announce && let Err(error) = self.client.batch_execute(NOTIFY).await {
                tracing::debug!(component = "store", %error, "other brokers were not notified");
            }
            Ok(())
        };
        let question = shared.history.question();
        let sequence = question.sequence();
        let (head, ()) = try_join(self.client.query_one(&self.read, &[&sequence]), notify).await?;
        if let Some(lost) = shared.history.judge(&question, &head)? {
            return Ok(HeadReading::Lost(lost));
        }
        let end = LogEnd { epoch: get::<&str>(&head, 1)?.into(), cursor: unsigned(&head, 9)? };
        if unsigned(&head, 11)? > end.cursor {
            // Without this, a changed head row would take revocations out of the log.
            return Err(unavailable("the head row was changed: it is behind the last revocation"));
        }
        let last_commit = time(&head, 4)?;
        let at = shared.clock.note(sent, time(&head, 8)?, last_commit).earliest();
        let (rows, keys) = self.read_news(shared, before, &end, get(&head, 10)?).await?;
        Ok(HeadReading::Of { confirmed: Confirmed { at, last_commit }, end, rows, keys })
    }

    /// Reads the revocations between `before` and `end`, and the keys if their cursor is another than memory's.
    async fn read_news(
        &self,
        shared: &LogFollower,
        before: &LogEnd,
        end: &LogEnd,
        keys_cursor: i64,
    ) -> Result<(Vec<Row>, Option<ChangedKeys>), StoreError> {
        let (known_epoch, known_cursor) = shared.known_keys();
        let knows_keys = known_epoch.as_deref().is_none_or(|epoch| epoch == &*end.epoch)
            && known_cursor.is_none_or(|cursor| cursor == keys_cursor);
        if before == end && knows_keys {
            return Ok((Vec::new(), None));
        }
        let cursor = signed(before.cursor);
        let (rows, changed) = try_join(
            self.client.query(&self.after, &[&cursor]),
            // In one statement with their cursor: they may be newer than the head row, never older.
            self.client.query(&self.keys, &[&known_epoch, &known_cursor]),
        )
        .await?;
        // Rows that were committed after the head was read belong to the next reading.
        let mut known = Vec::with_capacity(rows.len());
        for row in rows {
            if unsigned(&row, 0)? <= end.cursor {
                known.push(row);
            }
        }
        Ok((known, ChangedKeys::read(&changed)?))
    }

    /// Reads another log, and puts it in the place of the one in memory.
    async fn read_log(&self, shared: &LogFollower, mirror: &dyn Mirror, reading: Reading) -> Result<(), StoreError> {
        let Reading { number, end, keys, .. } = reading;
        let keys = keys.ok_or_else(|| unavailable("the database holds no signing keys"))?;
        let ChangedKeys { rows: keys, version } = keys;
        if version.epoch != end.epoch {
            return Err(unavailable("the log changed while it was read"));
        }
        tracing::warn!(component = "store", epoch = &*end.epoch, "another revocation log was begun and is read");
        let mut log = mirror.restart();
        let mut rows = Box::pin(in_time(self.client.query_raw(&self.all, [signed(end.cursor)])).await?);
        while let Some(row) = in_time(rows.try_next()).await? {
            log.push(feed_row(&row)?);
        }
        let mut left_logs = shared.left_logs();
        shared.replace_keys(mirror, &keys, version)?;
        left_logs.left.push(mirror.end().epoch);
        left_logs.reading = number;
        log.finish(end);
        Ok(())
    }
}

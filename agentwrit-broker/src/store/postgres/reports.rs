//! Stores reports of verifiers for all brokers of the database, and follows those that other brokers store.
//!
//! 1. A task with a connection of its own writes all reports that wait in one statement, which is durable. They do not take
//!    the lock of the head row: their order among tokens and revocations does not matter.
//! 2. Each statement takes the next number of `report_log`, whose row it locks: the numbers are in the order of commits. A
//!    reading takes the rows behind the number that memory has.
//! 3. Every statement is followed by a reading. The caller learns the end of the revocation log from after its report was
//!    stored: what is revoked later is confirmed by brokers that count the report.
//! 4. Other brokers read when they need the present state, when they are notified while a caller waits for reports, and at
//!    intervals in any case.
//! 5. A server that was started or promoted since the last connection may have lost reports: `kept_since` begins again. Every
//!    instance is known once a broker has followed reports for a lease since, on its own monotonic clock, and has noted that. The
//!    server's clock may be behind that of the former one: no times of the two are compared.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use agentwrit_verify::{
    FeedCursor,
    http_client::{Backoff, random_fraction},
    report::{InstanceId, VerifierName},
};
use futures_util::future::{try_join, try_join3};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_postgres::{Client, Row, Statement};

use super::{
    codec::{get, parsed, time, unsigned},
    connect::{RECONNECT_LIMIT, Server},
    head, verifiers,
};
use crate::{
    domain::InstanceState,
    store::{
        StoreError,
        codec::{micros, signed},
        pending::stored_bound,
        verifiers::{FleetMirror, KeptReports, StoredFleet, StoredReport},
    },
};

/// Interval between two readings while a caller waits for reports.
const BUSY_INTERVAL: Duration = Duration::from_millis(20);
/// Interval between two readings otherwise.
const IDLE_INTERVAL: Duration = Duration::from_millis(250);
/// Shortest interval between two statements while no caller waits for reports.
const GATHERING: Duration = Duration::from_millis(20);
/// Shortest interval before a reading that a notification causes.
const NOTIFIED_INTERVAL: Duration = Duration::from_millis(5);
/// Time limit for each response of the database.
const READ_LIMIT: Duration = Duration::from_secs(2);
/// Time limit for a statement that writes, which may wait for a synchronous standby.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1)).least_share(0.5);
/// Number of reports and readings that may wait.
const MAX_WAITING: usize = 1 << 14;
/// Largest number of reports in a statement.
const BATCH: usize = 1024;

/// Takes the next number, and writes reports that are later than the stored ones. One of another database changes nothing but
/// that its instance is known to follow it, for the lease of 602 s that the instance may have: of an accepted report, or of
/// one that was lost.
const WRITE: &str = "WITH given AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], \
     $6::bigint[], $7::text[], $8::bigint[], $9::boolean[], $10::bigint[], $11::text[], $12::bytea[], $13::boolean[]) \
     AS given (verifier, instance, seq, epoch, cursor, bound, kids, drained, leaving, heard_at, signed, public_key, is_ahead)), \
     moved AS (UPDATE report_log SET change = change + 1 WHERE one = 1 RETURNING change, is_complete) \
     INSERT INTO verifier_instances AS known (verifier, instance, seq, epoch, cursor, bound, kids, drained, leaving, \
     heard_at, signed, public_key, is_ahead, change) \
     SELECT given.verifier, given.instance, given.seq, given.epoch, given.cursor, given.bound, given.kids, given.drained, \
     given.leaving, given.heard_at, given.signed, given.public_key, \
     given.is_ahead OR (given.epoch = head.epoch AND given.cursor > head.cursor), moved.change \
     FROM given JOIN verifiers ON verifiers.name = given.verifier AND verifiers.removed_at IS NULL, head, moved \
     WHERE (NOT given.is_ahead AND (given.epoch <> head.epoch OR given.cursor <= head.cursor)) OR NOT moved.is_complete \
     OR EXISTS (SELECT 1 FROM verifier_instances AS earlier \
     WHERE earlier.verifier = given.verifier AND earlier.instance = given.instance \
     AND ((earlier.bound IS NULL AND NOT earlier.leaving) OR given.heard_at < earlier.heard_at + 602000000)) \
     ON CONFLICT (verifier, instance) DO UPDATE SET seq = excluded.seq, change = excluded.change, \
     is_ahead = excluded.is_ahead, \
     epoch = CASE WHEN excluded.is_ahead THEN known.epoch ELSE excluded.epoch END, \
     cursor = CASE WHEN excluded.is_ahead THEN known.cursor ELSE excluded.cursor END, \
     bound = CASE WHEN excluded.is_ahead THEN known.bound ELSE excluded.bound END, \
     kids = CASE WHEN excluded.is_ahead THEN known.kids ELSE excluded.kids END, \
     drained = CASE WHEN excluded.is_ahead THEN known.drained ELSE excluded.drained END, \
     leaving = CASE WHEN excluded.is_ahead THEN known.leaving ELSE excluded.leaving END, \
     heard_at = CASE WHEN excluded.is_ahead THEN known.heard_at ELSE excluded.heard_at END, \
     signed = CASE WHEN excluded.is_ahead THEN known.signed ELSE excluded.signed END, \
     public_key = CASE WHEN excluded.is_ahead THEN known.public_key ELSE excluded.public_key END \
     WHERE known.seq < excluded.seq RETURNING known.verifier, known.instance, known.seq, known.is_ahead";
/// Reads the numbers and the rows behind one: one statement, hence one state.
const CHANGES: &str = "SELECT log.change, log.enrolments, known.verifier, known.instance, known.seq, \
     known.epoch, known.cursor, known.bound, known.kids, known.drained, known.leaving, known.heard_at, known.signed, known.is_ahead, \
     known.public_key \
     FROM report_log AS log LEFT JOIN verifier_instances AS known ON known.change > $1 WHERE log.one = 1";
const NUMBERS: &str = "SELECT change, enrolments, kept_since, is_complete FROM report_log WHERE one = 1";
/// Reads the timeline of a PostgreSQL server. A promotion, or a recovery from a backup, begins another one.
const TIMELINE: &str = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)";
/// Notes a server that was started or promoted since, whose timeline is `$1`. After a restart on the same timeline it has
/// every committed report. Otherwise verifiers that were permitted instances without a bound may have lost some.
const NOTE_SERVER: &str = "WITH before AS (SELECT timeline, server_started FROM report_log WHERE one = 1 FOR UPDATE), \
     started AS (SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS at), \
     noted AS (UPDATE report_log SET enrolments = enrolments + 1, server_started = started.at, timeline = $1, \
     kept_since = greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
     (SELECT max(instances_since) + 1 FROM verifiers)), is_complete = false FROM started, before \
     WHERE one = 1 AND (before.server_started <> started.at OR before.timeline IS DISTINCT FROM $1::text) \
     RETURNING before.server_started <> 0 AND (before.timeline = $1::text) IS NOT TRUE AS lost), \
     marked AS (UPDATE verifiers SET may_have_unbounded = true FROM noted \
     WHERE noted.lost AND (max_bound IS NULL OR (former_ended_at IS NOT NULL AND former_bound IS NULL))) \
     SELECT lost FROM noted";
/// Notes that every instance is known which reports that were kept since `$1` do not tell. Brokers read everything anew.
const NOTE_COMPLETE: &str = "UPDATE report_log SET is_complete = true, enrolments = enrolments + 1 \
     WHERE one = 1 AND kept_since = $1 AND NOT is_complete";
/// Nothing is lost if a notification is: the transaction needs no `fsync`.
const NOTIFY: &str = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY agentwrit_reports; COMMIT";
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Numbers of the reading that memory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    change: i64,
    /// Changes with each enrolment, removal and loss of reports: memory is read anew then.
    enrolments: i64,
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Report, or reading, that a caller waits for.
enum Waiting {
    Report(Box<InstanceState>, Reply<StoredReport>),
    Reading(Reply<()>),
}

/// Handle of the task that stores and follows reports.
#[derive(Debug)]
pub(in crate::store) struct Reports {
    server: Server,
    wake: Arc<Notify>,
    running: OnceLock<(mpsc::Sender<Waiting>, JoinHandle<()>)>,
}

impl Reports {
    pub(super) fn new(server: Server) -> Self {
        Self { server, wake: Arc::default(), running: OnceLock::new() }
    }

    /// Begins to follow reports, in a task of the current runtime.
    pub(in crate::store) fn start(&self, mirror: Arc<dyn FleetMirror>) {
        self.running.get_or_init(|| {
            let (requests, queue) = mpsc::channel(MAX_WAITING);
            let task = Task {
                server: self.server.clone(),
                wake: Arc::clone(&self.wake),
                mirror,
                requests: queue,
                connection: None,
                known: None,
            };
            (requests, tokio::spawn(task.run()))
        });
    }

    /// Stores a report.
    pub(in crate::store) async fn put(&self, state: InstanceState) -> Result<StoredReport, StoreError> {
        let (reply, response) = oneshot::channel();
        self.send(Waiting::Report(Box::new(state), reply))?;
        response.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    /// Returns when what any broker stored before the call is in memory.
    pub(in crate::store) async fn confirm(&self) -> Result<(), StoreError> {
        let (reply, response) = oneshot::channel();
        self.send(Waiting::Reading(reply))?;
        response.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    fn send(&self, waiting: Waiting) -> Result<(), StoreError> {
        let (requests, _) = self.running.get().ok_or_else(|| StoreError::internal("nothing follows the reports"))?;
        requests.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::closed(),
        })
    }

    pub(in crate::store) fn stop(&self) {
        if let Some((_, task)) = self.running.get() {
            task.abort();
        }
    }
}

struct Task {
    server: Server,
    wake: Arc<Notify>,
    mirror: Arc<dyn FleetMirror>,
    requests: mpsc::Receiver<Waiting>,
    /// None before the first reading, and after one failed.
    connection: Option<Connection>,
    /// None before the first reading of a connection.
    known: Option<Numbers>,
}

/// Reports that one statement writes, and the callers that wait for them and for a reading.
#[derive(Default)]
struct Batch {
    reports: Vec<(Box<InstanceState>, Reply<StoredReport>)>,
    readings: Vec<Reply<()>>,
}

impl Batch {
    fn push(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Report(state, reply) => self.reports.push((state, reply)),
            Waiting::Reading(reply) => self.readings.push(reply),
        }
    }

    /// Answers all callers. An error means that one does not wait any more.
    fn reply(self, outcome: &Result<Written, StoreError>) {
        for reply in self.readings {
            reply.send(outcome.as_ref().map(|_| ()).map_err(Clone::clone)).unwrap_or_default();
        }
        for (state, reply) in self.reports {
            reply.send(outcome.as_ref().map(|written| written.of(&state)).map_err(Clone::clone)).unwrap_or_default();
        }
    }
}

/// Key and number of a report.
type ReportKey = (VerifierName, InstanceId, u64);

/// Result of one statement.
struct Written {
    /// True for those of another database.
    rows: HashMap<ReportKey, bool>,
    /// End of the revocation log afterwards.
    end: FeedCursor,
}

impl Written {
    fn of(&self, state: &InstanceState) -> StoredReport {
        match self.rows.get(&(state.verifier.clone(), state.instance, state.sequence)) {
            Some(true) => StoredReport::Ahead,
            Some(false) => StoredReport::Accepted { end: self.end.clone() },
            // It was not written.
            None if state.is_ahead => StoredReport::Ahead,
            None if state.applied.epoch() == self.end.epoch() && !self.end.has_reached(&state.applied) => {
                StoredReport::Ahead
            }
            None => StoredReport::Superseded,
        }
    }
}

impl Task {
    async fn run(mut self) {
        let (mut failures, mut last) = (0_u32, Instant::now());
        loop {
            let Some(batch) = self.next(last, failures == 0).await else { return };
            last = Instant::now();
            let outcome = self.work(&batch).await;
            match &outcome {
                Ok(_) if failures > 0 => tracing::info!(component = "store", "reports of verifiers are followed again"),
                Err(error) if failures == 0 => {
                    tracing::error!(component = "store", %error, "reports of verifiers cannot be followed");
                }
                Ok(_) | Err(_) => {}
            }
            failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
            batch.reply(&outcome);
            if let Some(failed) = failures.checked_sub(1) {
                self.connection = None;
                sleep(BACKOFF.delay(failed, random_fraction())).await;
            }
        }
    }

    /// Waits for a reason to read, and takes what waits. Returns `None` when the store is closed.
    async fn next(&mut self, last: Instant, works: bool) -> Option<Batch> {
        let wake = Arc::clone(&self.wake);
        let is_awaited = self.mirror.is_awaited();
        let notified = async {
            if !works || !is_awaited {
                std::future::pending::<()>().await;
            }
            wake.notified().await;
            sleep_until(last + NOTIFIED_INTERVAL).await;
        };
        let interval = if is_awaited { BUSY_INTERVAL } else { IDLE_INTERVAL };
        let mut batch = Batch::default();
        tokio::select! {
            request = self.requests.recv() => batch.push(request?),
            () = notified => {}
            () = sleep_until(last + interval) => {}
        }
        if !is_awaited && batch.readings.is_empty() {
            // Nothing waits for these reports: more of them share a statement.
            sleep_until(last + GATHERING).await;
        }
        while batch.reports.len() < BATCH
            && let Ok(another) = self.requests.try_recv()
        {
            batch.push(another);
        }
        Some(batch)
    }

    /// Writes the reports of a batch, then brings memory up to date.
    async fn work(&mut self, batch: &Batch) -> Result<Written, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.client.is_closed() => connection,
            Some(_) | None => {
                // The numbers of another server do not count.
                self.known = None;
                in_time(READ_LIMIT, Connection::open(&self.server, &self.wake)).await?
            }
        };
        let connection = self.connection.insert(connection);
        let rows = connection.write(batch).await?;
        let (end, changes) = in_time(READ_LIMIT, connection.read_changes(self.known, !rows.is_empty())).await?;
        let numbers = numbers(changes.first())?;
        match self.known {
            Some(known) if known.enrolments == numbers.enrolments => {
                let written =
                    changes.iter().filter(|row| row.try_get::<_, Option<&str>>(2).is_ok_and(|name| name.is_some()));
                let instances = written.map(|row| verifiers::instance(row, 2)).collect::<Result<Vec<_>, _>>()?;
                if !instances.is_empty() {
                    self.mirror.extend(instances);
                }
                self.known = Some(numbers);
            }
            Some(_) | None => {
                let (numbers, fleet) = in_time(READ_LIMIT, connection.read_all()).await?;
                self.mirror.replace(fleet);
                self.known = Some(numbers);
            }
        }
        if let Some(since) = self.mirror.complete_since() {
            in_time(WRITE_LIMIT, connection.client.execute(NOTE_COMPLETE, &[&micros(since)])).await?;
        }
        Ok(Written { rows, end })
    }
}

/// Reads the first two columns.
fn numbers(row: Option<&Row>) -> Result<Numbers, StoreError> {
    let row = row.ok_or_else(|| StoreError::corrupt("the table `report_log` is empty"))?;
    Ok(Numbers { change: get(row, 0)?, enrolments: get(row, 1)? })
}

/// Limits the time for one response of the database.
async fn in_time<T, E>(limit: Duration, response: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
where
    StoreError: From<E>,
{
    let silent = |_| StoreError::Unavailable { cause: "the database does not respond".to_owned() };
    Ok(timeout(limit, response).await.map_err(silent)??)
}

#[derive(Debug)]
struct Connection {
    client: Client,
    write: Statement,
    changes: Statement,
    log_end: Statement,
}

impl Connection {
    async fn open(server: &Server, wake: &Arc<Notify>) -> Result<Self, StoreError> {
        let wake = Arc::clone(wake);
        let (client, _) = server.connect_notified(RECONNECT_LIMIT, move || wake.notify_one()).await?;
        let standby: bool = client.query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?;
        if standby {
            return Err(StoreError::Unavailable { cause: "the server is a standby".to_owned() });
        }
        // Through a pooler, and on databases without notifications, the interval alone must do.
        if let Err(error) = client.batch_execute("LISTEN agentwrit_reports").await {
            tracing::debug!(component = "store", %error, "no notifications from the database");
        }
        note_server(&client).await?;
        let write = client.prepare(WRITE).await?;
        let changes = client.prepare(CHANGES).await?;
        let log_end = client.prepare(head::LOG_END).await?;
        Ok(Self { client, write, changes, log_end })
    }

    /// Writes the latest report of each instance. Returns the keys of those that are stored.
    async fn write(&self, batch: &Batch) -> Result<HashMap<ReportKey, bool>, StoreError> {
        if batch.reports.is_empty() {
            return Ok(HashMap::new());
        }
        let mut latest: Vec<&InstanceState> = batch.reports.iter().map(|(state, _)| state.as_ref()).collect();
        latest.sort_by_key(|state| std::cmp::Reverse(state.sequence));
        let mut seen = HashSet::new();
        latest.retain(|state| seen.insert((&state.verifier, state.instance)));
        let columns = Columns::of(&latest);
        let rows = in_time(WRITE_LIMIT, self.client.query(&self.write, &columns.parameters())).await?;
        let key = |row: &Row| -> Result<_, StoreError> {
            let (name, id) = (parsed(row, 0, VerifierName::parse)?, parsed(row, 1, InstanceId::parse)?);
            Ok(((name, id, unsigned(row, 2)?), get(row, 3)?))
        };
        rows.iter().map(key).collect()
    }

    /// Reads the end of the revocation log, and the rows behind what memory has. `announces` tells the other brokers.
    async fn read_changes(
        &self,
        known: Option<Numbers>,
        announces: bool,
    ) -> Result<(FeedCursor, Vec<Row>), StoreError> {
        let notify = async {
            if announces && let Err(error) = self.client.batch_execute(NOTIFY).await {
                tracing::debug!(component = "store", %error, "other brokers were not notified");
            }
            Ok(())
        };
        // All rows are read by `read_all`.
        let change = known.map_or(i64::MAX, |known| known.change);
        let (end, changes, ()) =
            try_join3(self.client.query_one(&self.log_end, &[]), self.client.query(&self.changes, &[&change]), notify)
                .await?;
        let position = unsigned(&end, 1)?;
        Ok((parsed(&end, 0, |epoch| FeedCursor::new(epoch, position))?, changes))
    }

    /// Reads one state of verifiers and instances.
    async fn read_all(&self) -> Result<(Numbers, StoredFleet), StoreError> {
        self.client.batch_execute(BEGIN).await?;
        let (log, (enrolments, instances)) = try_join(
            self.client.query_one(NUMBERS, &[]),
            try_join(self.client.query(verifiers::ENROLMENTS, &[]), self.client.query(verifiers::INSTANCES, &[])),
        )
        .await?;
        self.client.batch_execute("COMMIT").await?;
        let fleet = StoredFleet {
            enrolments: enrolments.iter().map(verifiers::enrolment).collect::<Result<_, _>>()?,
            instances: instances.iter().map(|row| verifiers::instance(row, 0)).collect::<Result<_, _>>()?,
            kept: Some(KeptReports { since: time(&log, 2)?, is_complete: get(&log, 3)? }),
        };
        Ok((numbers(Some(&log))?, fleet))
    }
}

/// Notes a server that was started or promoted since the latest connection of any broker.
async fn note_server(client: &Client) -> Result<(), StoreError> {
    // A database that has no timelines may have been promoted whenever it was started.
    let timeline: Option<String> = match client.query_one(TIMELINE, &[]).await {
        Ok(row) => row.try_get(0)?,
        Err(error) if error.as_db_error().is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let noted = client.query_opt(NOTE_SERVER, &[&timeline]).await?;
    let Some(row) = noted else { return Ok(()) };
    if row.try_get(0)? {
        tracing::warn!(
            component = "store",
            "the database server was promoted or restored since: reports of verifiers without a bound may be lost; check \
             them with `awrit verifier list`, then acknowledge with `awrit verifier forget NAME --unknown`"
        );
    } else {
        tracing::info!(component = "store", "the database server was started since: reports count from now on");
    }
    Ok(())
}

/// Columns of the rows to write.
#[derive(Default)]
struct Columns<'s> {
    verifiers: Vec<&'s str>,
    instances: Vec<String>,
    sequences: Vec<i64>,
    epochs: Vec<&'s str>,
    cursors: Vec<i64>,
    bounds: Vec<Option<i64>>,
    key_sets: Vec<Option<String>>,
    drained: Vec<Option<i64>>,
    leaving: Vec<bool>,
    heard_at: Vec<i64>,
    signed: Vec<&'s str>,
    public_keys: Vec<&'s [u8]>,
    ahead: Vec<bool>,
}

impl<'s> Columns<'s> {
    fn of(states: &[&'s InstanceState]) -> Self {
        let mut columns = Self::default();
        for state in states {
            columns.verifiers.push(state.verifier.as_str());
            columns.instances.push(state.instance.to_string());
            columns.sequences.push(signed(state.sequence));
            columns.epochs.push(state.applied.epoch());
            columns.cursors.push(signed(state.applied.position()));
            columns.bounds.push(stored_bound(state.bound));
            columns.key_sets.push(state.key_set.map(|digest| digest.to_string()));
            columns.drained.push(state.drained.map(signed));
            columns.leaving.push(state.leaving);
            columns.heard_at.push(micros(state.heard_at));
            columns.signed.push(&state.signed);
            columns.public_keys.push(&state.public_key);
            columns.ahead.push(state.is_ahead);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 13] {
        [
            &self.verifiers,
            &self.instances,
            &self.sequences,
            &self.epochs,
            &self.cursors,
            &self.bounds,
            &self.key_sets,
            &self.drained,
            &self.leaving,
            &self.heard_at,
            &self.signed,
            &self.public_keys,
            &self.ahead,
        ]
    }
}

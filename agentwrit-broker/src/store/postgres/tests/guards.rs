//! Settings of the server on which it depends whether commits can be lost, and TLS.

use std::{fs, path::Path, sync::mpsc};

use ::postgres_server::PostgresServer;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::store::{
    OpenError,
    postgres::{
        connect::Server,
        session::{POOLED, Session},
    },
};

/// Connects, on a thread without a runtime. Returns the first column of the first row, or the error's message.
fn query(url: &str, sql: &'static str) -> Result<String, String> {
    let url = url.to_owned();
    let connected = thread::spawn(move || {
        let session = Session::open(&Server::parse(&url)?)?;
        session.check_server()?;
        Ok::<_, OpenError>(session.rows(sql, &[])?.first().map_or_else(String::new, |row| row.get(0)))
    });
    connected.join().unwrap().map_err(|error| error.to_string())
}

fn refused(url: &str) -> String {
    let url = url.to_owned();
    thread::spawn(move || Store::connect(&url, StoreOptions::default()).unwrap_err()).join().unwrap().to_string()
}

#[tokio::test]
async fn raises_weaker_synchronous_commit_and_keeps_stronger_one() {
    let fixture = Fixture::new();
    for (configured, used) in [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
        let store = connect(&format!("{}%20-csynchronous_commit%3D{configured}", fixture.directory.url()));
        let check = format!("SELECT 1 / (current_setting('synchronous_commit') = '{used}')::int");
        store.transact(move |tx| tx.execute_batch(&check)).await.unwrap();
    }
}

#[tokio::test]
async fn rejects_database_in_which_nothing_can_be_written() {
    let fixture = Fixture::new();
    let error = refused(&format!("{}%20-cdefault_transaction_read_only%3Don", fixture.directory.url()));
    assert!(error.contains("default_transaction_read_only"), "{error}");
}

#[tokio::test]
async fn rejects_database_with_table_of_another_program() {
    let schema = Schema::create();
    let url = schema.url();
    let number: String = url.split("test_").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    Schema::query(&format!("CREATE TABLE test_{number}.head (id int)"));
    let error = refused(&url);
    assert!(error.contains("another program"), "{error}");
}

#[tokio::test]
async fn rejects_standby_and_server_without_fsync() {
    let server = PostgresServer::start_with(&["fsync=off"]);
    let error = refused(&server.url("postgres"));
    assert!(error.contains("fsync=off"), "{error}");
    let server = PostgresServer::start();
    let error = refused(&server.standby().url("postgres"));
    assert!(error.contains("standby"), "{error}");
}

#[tokio::test]
async fn rejects_database_that_cannot_hold_every_text() {
    let server = PostgresServer::start();
    server.query("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let error = refused(&server.url("latin"));
    assert!(error.contains("ENCODING 'UTF8'"), "{error}");
}

/// The server reports success for a commit that is cancelled while it waits for a synchronous standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_that_was_cancelled_in_its_wait_for_standby_is_acknowledged_when_it_is_replicated() {
    let server = PostgresServer::start();
    let store = connect(&server.url("postgres"));
    store.transact(|tx| register(tx, 1)).await.unwrap();
    let set = |standbys: &str| {
        server.query("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'"));
        server.query("postgres", "SELECT pg_reload_conf()");
    };
    let waiting = || server.query("postgres", "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    set("missing");
    // The processes of the server read their configuration anew some time after it was set.
    let mut registered = 1;
    let (job, first) = loop {
        registered += 1;
        let writer = store.clone();
        let job = tokio::spawn(async move { writer.transact(move |tx| register(tx, registered)).await });
        let process = loop {
            let finished = job.is_finished();
            match waiting().pop() {
                Some(process) => break Some(process),
                None if finished => break None,
                None => {}
            }
        };
        if let Some(process) = process {
            break (job, process);
        }
    };
    server.query("postgres", &format!("SELECT pg_cancel_backend({first})"));
    // The look-up commits after it, and waits as well.
    while waiting().iter().all(|process| *process == first) {}
    assert!(!job.is_finished(), "the commit is not replicated");
    set("");
    assert_eq!(job.await.unwrap(), Ok::<_, StoreError>(true));
    assert_eq!(server.query("postgres", "SELECT count(*) FROM audit_events"), [(2 * registered).to_string()]);
}

/// Errors that a broker gets which was paused for longer than the server waits for its transaction, among others.
#[tokio::test]
async fn errors_of_outages_are_unavailable_and_conflicts_busy() {
    let fixture = Fixture::new();
    let raised = async |code: &str| {
        let statement = format!("DO $$ BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = '{code}'; END $$");
        fixture.store.transact(move |tx| tx.execute_batch(&statement)).await.unwrap_err()
    };
    for code in ["08006", "25006", "25P03", "25P04", "28000", "3D000", "53100", "57P01", "58030"] {
        let error = raised(code).await;
        assert!(matches!(error, StoreError::Unavailable { .. }), "{code}: {error:?}");
    }
    for code in ["40001", "40P01", "55P03"] {
        assert_eq!(raised(code).await, StoreError::Busy, "{code}");
    }
    for code in ["22P05", "42601"] {
        let error = raised(code).await;
        assert!(matches!(error, StoreError::Internal { .. }), "{code}: {error:?}");
    }
}

/// A pooler in transaction mode may give the connection to another process of the server at any transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_in_another_process_than_before_runs_no_job_and_no_read() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    assert_eq!(fixture.read(total).await, 2);
    let process = |query: &str| {
        fixture.directory.execute(&format!(
            "CREATE OR REPLACE FUNCTION pg_backend_pid() RETURNS int LANGUAGE sql VOLATILE AS '{query}'"
        ));
    };
    process("SELECT (random() * 1000000000)::int");
    let written = fixture.store.transact(|tx| register(tx, 2)).await;
    let read = fixture.store.read(total).await;
    let mixed = StoreError::Unavailable { cause: POOLED.to_owned() };
    assert_eq!((written, read), (Err(mixed.clone()), Err(mixed)));
    process("SELECT pg_catalog.pg_backend_pid()");
    assert!(fixture.write(|tx| register(tx, 2)).await);
    assert_eq!(fixture.read(whole_trail).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_that_waits_too_long_for_head_row_is_busy_and_next_one_succeeds() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let (url, (release, released)) = (fixture.directory.url(), mpsc::channel::<()>());
    let (lock, mut locked) = tokio::sync::mpsc::channel(1);
    let holder = thread::spawn(move || {
        let session = Session::open(&Server::parse(&url).unwrap()).unwrap();
        session.batch("BEGIN; SELECT 1 FROM head FOR UPDATE").unwrap();
        lock.blocking_send(()).unwrap();
        released.recv().unwrap_err();
        session.batch("ROLLBACK").unwrap();
    });
    locked.recv().await.unwrap();
    assert_eq!(fixture.store.transact(|tx| register(tx, 2)).await, Err(StoreError::Busy));
    drop(release);
    holder.join().unwrap();
    assert!(fixture.write(|tx| register(tx, 2)).await);
    assert_eq!(fixture.read(whole_trail).await, 4);
}

/// A certificate authority.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Returns a certificate for a name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, path: &Path) -> String {
        fs::write(path, &self.1).unwrap();
        path.to_str().unwrap().replace('/', "%2F")
    }
}

/// Has the server serve TLS. Its user owns the files, so it writes them itself.
fn serve_tls(server: &PostgresServer, certificate: &str, key: &str) {
    for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
        let lines = format!("SELECT unnest(string_to_array('{}', E'\\n'))", pem.trim());
        let program = format!("umask 077; cat > {}/{name}", server.directory().join("data").display());
        server.query("postgres", &format!("COPY ({lines}) TO PROGRAM '{program}'"));
    }
    server.query("postgres", "ALTER SYSTEM SET ssl = 'on'");
    server.query("postgres", "SELECT pg_reload_conf()");
    while server.query("postgres", "SHOW ssl") != ["on"] {}
}

#[test]
fn verifies_server_as_far_as_sslmode_requires() {
    let server = PostgresServer::start();
    let directory = TempDir::new().unwrap();
    let (authority, another) = (Authority::new(), Authority::new());
    let right = authority.write(&directory.path().join("right.pem"));
    let wrong = another.write(&directory.path().join("wrong.pem"));
    let url = |host: &str, options: &str| {
        format!("postgres://agentwrit@{host}:{}/postgres?connect_timeout=5&{options}", server.port())
    };
    let encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let without = query(&url("localhost", "sslmode=require"), encrypted).unwrap_err();
    assert!(without.contains("TLS"), "{without}");
    assert_eq!(query(&url("localhost", "sslmode=prefer"), encrypted).as_deref(), Ok("false"));

    let (certificate, key) = authority.issue("localhost");
    serve_tls(&server, &certificate, &key);
    for (host, options, result) in [
        ("localhost", "sslmode=disable".to_owned(), Ok("false")),
        ("localhost", "sslmode=prefer".to_owned(), Ok("true")),
        ("127.0.0.1", "sslmode=require".to_owned(), Ok("true")),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={right}"), Ok("true")),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={wrong}"), Err("invalid peer certificate")),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={right}"), Ok("true")),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={wrong}"), Err("invalid peer certificate")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={right}"), Ok("true")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={wrong}"), Err("invalid peer certificate")),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={right}"), Err("not valid for name")),
    ] {
        let found = query(&url(host, &options), encrypted);
        match result {
            Ok(tls) => assert_eq!(found.as_deref(), Ok(tls), "{host} {options}"),
            Err(reason) => {
                assert!(found.as_ref().is_err_and(|error| error.contains(reason)), "{host} {options}: {found:?}");
            }
        }
    }
}

//! A PostgreSQL server of the test process: started by the first test that needs it. Each test has a schema of its own.

use std::{
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ::postgres_server::PostgresServer;

use super::*;
use crate::store::apply_schema;

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);
static SCHEMAS: AtomicU64 = AtomicU64::new(0);

/// A schema of the server.
pub(crate) struct Schema {
    pub(in crate::store) number: u64,
    /// Role that brokers connect as: the owner, until [`restrict`](Self::restrict).
    role: String,
}

impl Schema {
    pub(in crate::store) fn url(&self) -> String {
        self.url_through(SERVER.directory())
    }

    /// Returns the URL by a socket in another directory, of the same name as the server's.
    pub(crate) fn url_through(&self, directory: &Path) -> String {
        let Self { number, role } = self;
        let port = SERVER.port();
        let host = directory.to_str().unwrap().replace('/', "%2F");
        format!(
            "postgres://{role}@{host}:{port}/postgres?sslmode=disable&options=-csearch_path%3Dtest_{number}%2Cpg_catalog"
        )
    }

    /// Returns the path of the server's socket.
    pub(crate) fn socket() -> PathBuf {
        SERVER.socket()
    }

    /// Creates the tables. Brokers connect as a role that has the rights of a broker from now on.
    pub(crate) fn restrict(&mut self) {
        let (number, role) = (self.number, format!("broker_{}", self.number));
        Self::query(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA test_{number} TO {role}; \
             GRANT SELECT ON ALL TABLES IN SCHEMA test_{number} TO {role}"
        ));
        let (url, of_thread) = (self.url(), role.clone());
        thread::spawn(move || apply_schema(&url, Some(&of_thread)).unwrap()).join().unwrap();
        self.role = role;
    }

    /// Executes statements in the schema, as its owner.
    pub(crate) fn execute(&self, sql: &str) {
        self.rows(sql);
    }

    /// Executes statements in the schema, as its owner. Returns the rows.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        SERVER.query("postgres", &format!("SET search_path = test_{}; {sql}", self.number))
    }

    /// Executes a statement on the server.
    pub(crate) fn query(sql: &str) {
        SERVER.query("postgres", sql);
    }
}

impl Home for Schema {
    fn create() -> Self {
        let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
        SERVER.query("postgres", &format!("CREATE SCHEMA test_{number}"));
        Self { number, role: "agentwrit".to_owned() }
    }

    fn open(&self, options: StoreOptions) -> Store {
        let url = self.url();
        thread::spawn(move || Store::connect(&url, options).unwrap()).join().unwrap()
    }
}

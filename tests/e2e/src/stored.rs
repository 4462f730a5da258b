//! Counts of the rows that a broker has stored; the tests know no table by name.

use std::{collections::BTreeMap, path::Path};

use rusqlite::OpenFlags;

use crate::Broker;

impl Broker {
    /// The number of rows of each table but the audit trail's: a refusal may be recorded there, and nowhere else.
    #[must_use]
    pub fn stored_rows(&self) -> BTreeMap<String, i64> {
        let mut rows = rows_of_tables(self.directory());
        rows.retain(|name, _| !name.contains("audit") && !name.contains("event"));
        rows
    }

    /// Returns true if any file of the broker contains these bytes.
    #[must_use]
    pub fn files_hold(&self, secret: &[u8]) -> bool {
        let files = std::fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.is_file())
            .any(|path| std::fs::read(path).unwrap().windows(secret.len()).any(|window| window == secret))
    }
}

/// The number of rows of each table in the database in `directory`.
#[must_use]
#[expect(clippy::disallowed_types, reason = "the tests read the store from outside, as an attacker would")]
pub fn rows_of_tables(directory: &Path) -> BTreeMap<String, i64> {
    let path = directory.join("data.db");
    let database = rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables =
        database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(!names.is_empty(), "the broker keeps its store in `data.db`");
    names
        .into_iter()
        .map(|name| {
            let count = format!("SELECT count(*) FROM \"{name}\"");
            let rows = database.query_row(&count, [], |row| row.get(0)).unwrap();
            (name, rows)
        })
        .collect()
}

/// Alters the database of a broker that has stopped, as an attacker with access to the disk could.
#[expect(clippy::disallowed_types, reason = "the tests reach into the store from outside, as an attacker would")]
pub fn alter_database(directory: &Path, sql: &str) {
    rusqlite::Connection::open(directory.join("data.db")).unwrap().execute_batch(sql).unwrap();
}

/// Keeps a running broker from writing, until it is dropped: as a full disk would.
#[must_use]
#[expect(clippy::disallowed_types, reason = "the tests reach into the store from outside, as an attacker would")]
pub fn hold_write_lock(directory: &Path) -> impl Drop + use<> {
    struct Lock(rusqlite::Connection);
    impl Drop for Lock {
        fn drop(&mut self) {
            self.0.execute_batch("ROLLBACK").unwrap();
        }
    }
    let connection = rusqlite::Connection::open(directory.join("data.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    Lock(connection)
}

//! Query plans: the cost of a statement does not grow with the trail, and each statement is prepared once.

use rusqlite::{Connection, StatementStatus, params_from_iter, types::Null};

use super::*;
use crate::store::{
    audit_lists::List,
    job_state::JobState,
    sqlite::{
        audit::{INSERT, statements},
        schema,
    },
};

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

/// Returns SQLite's query plan: `SEARCH` uses an index, `SCAN` reads all rows.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = params_from_iter((0..statement.parameter_count()).map(|_| Null));
    statement.query_map(parameters, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn searches_every_list_by_its_index_only() {
    let connection = database();
    for list in [List::All, List::Agent(1), List::Task(1), List::App(1), List::AgentTask(1, 1), List::TaskApp(1, 1)] {
        let (statements, _) = statements(list);
        for sql in [statements.rank, statements.sequences, statements.next_kind] {
            let plan = plan(&connection, sql);
            assert!(plan.iter().all(|step| step.starts_with("SEARCH audit_events USING")), "{sql}: {plan:?}");
        }
    }
}

#[test]
fn binding_other_values_does_not_prepare_statement_again() {
    let connection = database();
    let mut tx = Transaction::new(&connection, JobState::default());
    (0..10).try_for_each(|number| register(&mut tx, number).map(|_| ())).unwrap();
    let statement = connection.prepare_cached(INSERT).unwrap();
    assert_eq!((statement.get_status(StatementStatus::Run), statement.get_status(StatementStatus::RePrepare)), (20, 0));
}

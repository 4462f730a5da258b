//! Query plans: the cost of a statement does not grow with the trail, and each statement is prepared once.

use rusqlite::{Connection, StatementStatus, params_from_iter, types::Null};

use super::*;
use crate::{
    audit::{ChainHead, Timestamp},
    store::{
        audit_lists::List,
        filter::{AGENTS, TOKENS},
        pending::{EventRow, Ordinals, Pending, Record},
        rows::Rows,
        sqlite::{audit::statements, schema, write::sql},
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
fn inserting_rows_prepares_their_statement_once() {
    let connection = database();
    let events = |count: u64| Pending {
        events: (0..count).map(|number| event_row(count * 100 + number)).collect(),
        ..Pending::default()
    };
    for count in [1, 4, 16] {
        Transaction::new(&connection).write(&events(count)).unwrap();
    }
    let statement = connection.prepare_cached(&sql(EventRow::WRITE)).unwrap();
    let status = [StatementStatus::Run, StatementStatus::RePrepare].map(|status| statement.get_status(status));
    assert_eq!(status, [21, 0]);
}

#[test]
fn reads_pages_of_agents_and_tokens_by_their_order() {
    let connection = database();
    for (list, table) in [(AGENTS, "SEARCH agents USING"), (TOKENS, "SEARCH tokens USING INDEX tokens_by_issue")] {
        let plan = plan(&connection, &list.replace("{conditions}", "1 = 1").replace('#', "?"));
        assert!(plan.first().is_some_and(|step| step.starts_with(table)), "{plan:?}");
        assert!(plan.iter().all(|step| step.starts_with("SEARCH")), "{plan:?}");
    }
}

fn event_row(sequence: u64) -> EventRow {
    let chain = ChainHead { sequence: sequence - 1, ..ChainHead::GENESIS };
    let at = Timestamp::from(at(0));
    let ordinals = Ordinals { all: 1, agent: None, task: None, app: None, agent_task: None, task_app: None };
    EventRow { event: event("any").sealed(&chain, at), at, kind: 0, agent: None, task: None, app: None, ordinals }
}

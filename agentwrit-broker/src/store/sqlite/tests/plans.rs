//! Query plans: the cost of a statement does not grow with the trail, and each statement is prepared once.

use agentwrit_verify::{Scope, Subject, TrustDomain};
use rusqlite::{Connection, StatementStatus, params_from_iter, types::Null};

use super::*;
use crate::{
    audit::{ChainHead, Timestamp},
    store::{
        AgentFilter, Work,
        audit_lists::List,
        filter::{AGENTS, Conditions, page_of_tokens},
        pending::{EventRow, Ordinals, Pending, Record},
        rows::Rows,
        sqlite::{agents::DIALECT, audit::statements, schema, write::sql},
        value::Value,
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
    let plan = |list: &str| plan(&connection, &list.replace("{conditions}", "1 = 1").replace('#', "?"));
    let agents = plan(AGENTS);
    assert!(agents.first().is_some_and(|step| step.starts_with("SEARCH agents USING")), "{agents:?}");
    assert!(agents.iter().all(|step| step.starts_with("SEARCH")), "{agents:?}");
    let by_issue = "SEARCH tokens USING INDEX tokens_by_issue";
    for (total, is_in_order) in [(u64::MAX, true), (1001, true), (1000, false), (0, false)] {
        let tokens = plan(page_of_tokens(total));
        assert_eq!(tokens.iter().any(|step| step.starts_with(by_issue)), is_in_order, "{total}: {tokens:?}");
        // Names are looked up for the rows of the page.
        assert!(tokens.iter().all(|step| !step.starts_with("SCAN") || step == "SCAN tokens"), "{tokens:?}");
    }
}

#[test]
fn finds_agents_of_app_task_and_orchestration_by_indexes() {
    let connection = database();
    let rows = Transaction::new(&connection);
    let names = [Subject::App(app_id("web")).to_string(), "task".to_owned()];
    for name in names {
        connection.execute("INSERT INTO names (name) VALUES (?1)", [name]).unwrap();
    }
    let trust_domain = TrustDomain::parse("agentwrit.local").unwrap();
    let (orch, task) = (segment("orch"), segment("task"));
    let (of_task, of_orch) = (Work::of(&trust_domain, None, Some(&task)), Work::of(&trust_domain, Some(&orch), None));
    for (filter, index) in [
        (AgentFilter { work: of_task, ..AgentFilter::default() }, "INDEX agents_by_task (task=? AND rowid>?)"),
        (
            AgentFilter { app_id: Some(app_id("web")), ..AgentFilter::default() },
            "INDEX agents_by_app (app=? AND rowid>?)",
        ),
        (AgentFilter { work: of_orch, ..AgentFilter::default() }, "INTEGER PRIMARY KEY (rowid=?"),
    ] {
        let filter = AgentFilter { live_at: Some(at(1)), scope: Scope::parse("read:data:x").ok(), ..filter };
        let conditions = Conditions::of_agents(DIALECT, &rows, &filter).unwrap().unwrap();
        let count = plan(&connection, &conditions.count_of_agents());
        let (page, _) = conditions.numbered(AGENTS, [1, 2, 3].map(Value::Integer));
        for plan in [count, plan(&connection, &page)] {
            assert!(plan.iter().all(|step| !step.starts_with("SCAN") && !step.contains("TEMP")), "{plan:?}");
        }
        let page = plan(&connection, &page);
        assert!(page[0].contains(index), "{page:?}");
    }
}

fn event_row(sequence: u64) -> EventRow {
    let chain = ChainHead { sequence: sequence - 1, ..ChainHead::GENESIS };
    let at = Timestamp::from(at(0));
    let ordinals = Ordinals { all: 1, agent: None, task: None, app: None, agent_task: None, task_app: None };
    EventRow { event: event("any").sealed(&chain, at), at, kind: 0, agent: None, task: None, app: None, ordinals }
}

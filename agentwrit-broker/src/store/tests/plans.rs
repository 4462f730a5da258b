//! Query plans: the cost of a statement does not grow with the trail, and each statement is prepared once.

use rusqlite::{StatementStatus, params_from_iter, types::Null};

use super::*;
use crate::store::{
    audit_lists::{List, Selection},
    audit_log::INSERT,
};

/// Returns SQLite's query plan: `SEARCH` uses an index, `SCAN` reads all rows.
fn plan(tx: &Tx<'_>, sql: &str) -> Vec<String> {
    let mut statement = tx.connection().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = params_from_iter((0..statement.parameter_count()).map(|_| Null));
    statement.query_map(parameters, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn searches_every_list_by_its_index_only() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            let lists =
                [List::All, List::Agent(1), List::Task(1), List::App(1), List::AgentTask(1, 1), List::TaskApp(1, 1)];
            for list in lists {
                let selection = Selection::new(tx, list, Some(EventType::AdminAuth), None)?;
                let Selection::Kinds { rank, sequences, .. } = selection else { panic!("{list:?}") };
                for sql in [rank, sequences] {
                    let plan = plan(tx, &sql);
                    assert!(plan.iter().all(|step| step.starts_with("SEARCH audit_events USING")), "{sql}: {plan:?}");
                }
            }
            let plan = plan(tx, INSERT);
            assert!(!plan.iter().any(|step| step.contains("SCAN") || step.contains("B-TREE")), "{plan:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn binding_other_values_does_not_prepare_statement_again() {
    let fixture = Fixture::new();
    let prepared = fixture
        .write(|tx| {
            (0..10).try_for_each(|number| register(tx, number).map(|_| ()))?;
            let statement = tx.connection().prepare_cached(INSERT)?;
            assert_eq!(statement.get_status(StatementStatus::Run), 20);
            Ok(statement.get_status(StatementStatus::RePrepare))
        })
        .await;
    assert_eq!(prepared, 0);
}

//! Query plans: the cost of a statement does not grow with the trail.

use super::*;
use crate::store::{audit_lists::List, postgres::audit::statements};

#[tokio::test]
async fn searches_every_list_by_its_own_index() {
    let fixture = Fixture::new();
    // Most events are of one kind, and of all others there are none.
    fixture.directory.execute(
        "INSERT INTO audit_events (seq, at, kind, agent, task, app, n_all, detail, hash, prev_hash) \
         SELECT number, number, 10, number % 50, number % 50, number % 50, number, 'event', '\\x00', '\\x00' \
         FROM generate_series(1, 20000) AS number; ANALYZE audit_events",
    );
    for list in [List::All, List::Agent(1), List::Task(1), List::App(1), List::AgentTask(1, 1), List::TaskApp(1, 1)] {
        let (statements, [first, second]) = statements(list);
        for (sql, types, values) in [
            (statements.rank, "bigint, bigint, bigint[], bigint", format!("{first}, {second}, '{{10,11}}', 15000")),
            (
                statements.sequences,
                "bigint, bigint, bigint[], bigint, bigint, bigint",
                format!("{first}, {second}, '{{10,11}}', 100, 15000, 10"),
            ),
            (statements.kinds, "bigint, bigint", format!("{first}, {second}")),
            (
                statements.last,
                "bigint[], bigint[], bigint[], bigint[]",
                format!("'{{1,2}}', '{{{first},{first}}}', '{{{second},{second}}}', '{{10,11}}'"),
            ),
        ] {
            for mode in ["force_custom_plan", "force_generic_plan"] {
                let plan = fixture.directory.rows(&format!(
                    "SET plan_cache_mode = {mode}; PREPARE planned ({types}) AS {sql}; EXPLAIN EXECUTE planned ({values})"
                ));
                let plan = plan.join("\n");
                let is_searched = plan.contains(" using audit_by_") && !plan.contains("audit_events_pkey");
                assert!(is_searched && !plan.contains("Seq Scan"), "{list:?} {mode} {sql}\n{plan}");
            }
        }
    }
}

//! Rows that the database rejects.

use super::*;
use crate::store::tests::on_sqlite::writer::enqueue;

/// Has the database reject the row of a task's name, with a SQLSTATE.
fn reject_name(fixture: &Fixture, task: u64, state: &str) {
    fixture.directory.execute(&format!(
        "CREATE OR REPLACE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.name = 'task-{task}' THEN RAISE EXCEPTION 'no such task' USING ERRCODE = '{state}'; END IF; RETURN NEW; \
         END $$; CREATE OR REPLACE TRIGGER reject BEFORE INSERT ON names FOR EACH ROW EXECUTE FUNCTION reject()"
    ));
}

fn rejected<T: std::fmt::Debug>(outcome: &Result<T, StoreError>, state: &str) -> bool {
    matches!(outcome, Err(StoreError::Internal { cause }) if cause.contains(state))
}

#[tokio::test]
async fn row_that_database_rejects_fails_its_own_job_only() {
    let fixture = Fixture::new();
    for (task, state) in [(40, "23514"), (140, "22P05"), (240, "P0001")] {
        reject_name(&fixture, task, state);
        let (release, running) = occupy(&fixture.store).await;
        let mut jobs = Vec::new();
        // More than the jobs of one repeated transaction.
        for number in task - 30..task + 40 {
            jobs.push((number, enqueue(&fixture.store, move |tx| register(tx, number)).await));
        }
        drop(release);
        running.await.unwrap().unwrap();
        for (number, job) in jobs {
            let outcome = job.await.unwrap();
            assert!(
                if number == task { rejected(&outcome, state) } else { outcome == Ok(true) },
                "{number} {outcome:?}"
            );
        }
        assert!(fixture.store.is_writable(), "the store is healthy");
        let alone = fixture.store.transact(move |tx| register(tx, task)).await;
        assert!(rejected(&alone, state), "{alone:?}");
        assert!(fixture.store.is_writable());
    }
    assert_eq!(fixture.read(whole_trail).await, 2 * 3 * 69);
}

#[tokio::test]
async fn job_that_reads_after_another_with_rejected_row_is_done() {
    let fixture = Fixture::new();
    reject_name(&fixture, 2, "23514");
    let (release, running) = occupy(&fixture.store).await;
    let first = enqueue(&fixture.store, |tx| register(tx, 1)).await;
    let bad = enqueue(&fixture.store, |tx| register(tx, 2)).await;
    // The list is read from the database, which the rows of earlier jobs are written to before.
    let reading = enqueue(&fixture.store, |tx| {
        register(tx, 3)?;
        Ok(tx.audit_events_after(0, 10)?.len())
    })
    .await;
    drop(release);
    running.await.unwrap().unwrap();
    assert_eq!(first.await.unwrap(), Ok(true));
    let bad = bad.await.unwrap();
    assert!(rejected(&bad, "23514"), "{bad:?}");
    assert_eq!(reading.await.unwrap(), Ok(4));
    assert_eq!(fixture.read(whole_trail).await, 4);
}

//! The trail is one chain, through rollbacks, restarts and clocks.

use super::*;
use crate::audit::{ChainHead, Event, EventId};

async fn events_after(fixture: &Fixture, after: u64) -> Vec<Event> {
    fixture.read(move |reader| reader.audit_events_after(after, 10_000)).await
}

#[tokio::test]
async fn chain_continues_after_rollbacks_and_restarts() {
    let mut fixture = Fixture::new();
    for round in 0..3 {
        let undone = fixture
            .store
            .transact(|tx| {
                tx.append(event("undone"))?;
                Err::<(), _>(StoreError::Busy)
            })
            .await;
        assert_eq!(undone, Err(StoreError::Busy));
        let id = fixture.write(|tx| tx.append(event("kept"))).await;
        assert_eq!(id, EventId::from_sequence(round + 1));
        fixture = fixture.reopen().await;
    }
    let events = events_after(&fixture, 0).await;
    assert_eq!(crate::audit::chain::verify(ChainHead::GENESIS, &events).unwrap().sequence, 3);
    assert!(events.iter().all(|event| event.detail == "kept"));
}

#[tokio::test]
async fn ids_beyond_six_digits_are_ordered_as_numbers() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            // As if 998,999 events had come before.
            tx.append(event("early"))?;
            tx.execute_batch("UPDATE audit_events SET seq = 998999")?;
            tx.reread_trail()?;
            (0..1005).try_for_each(|_| tx.append(event("late")).map(|_| ()))
        })
        .await;
    let fixture = fixture.reopen().await;
    let id = fixture.write(|tx| tx.append(event("last"))).await;
    assert_eq!(id.to_string(), "evt-1000005");
    let fixture = fixture.reopen().await;
    let ids: Vec<String> = events_after(&fixture, 999_998).await.iter().map(|event| event.id.to_string()).collect();
    assert_eq!(ids[..3], ["evt-999999", "evt-1000000", "evt-1000001"]);
    assert_eq!(fixture.read(total).await, 1_000_005);
}

#[tokio::test]
async fn count_of_events_is_that_of_last_commit_with_and_without_read() {
    let fixture = Fixture::new();
    for round in 1..=50 {
        fixture.write(|tx| tx.append(event("kept"))).await;
        assert_eq!(fixture.store.count_audit_events().await, Ok(round));
    }
    let undone = fixture.store.transact(|tx| {
        tx.append(event("undone"))?;
        Err::<(), _>(StoreError::Busy)
    });
    assert_eq!(undone.await, Err(StoreError::Busy));
    assert_eq!(fixture.store.count_audit_events().await, Ok(50), "an event that was undone does not count");
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.store.count_audit_events().await, Ok(50));
}

#[tokio::test]
async fn stores_every_member_of_event() {
    let fixture = Fixture::new();
    fixture
        .write(|tx| {
            tx.append(
                NewEvent::denied(EventType::DelegationCreated, at(1), &agent_id(1), "sentence")
                    .task(segment("task-1"))
                    .orch(segment("orch"))
                    .resource("read:data:*")
                    .delegation(2, "ab".repeat(32))
                    .bytes_transferred(7)
                    .word("key", "two words")
                    .from("192.0.2.7".parse().unwrap()),
            )
        })
        .await;
    let event = serde_json::to_value(&events_after(&fixture, 0).await[0]).unwrap();
    let mut members = event.as_object().unwrap().clone();
    assert!(members.remove("hash").is_some());
    let expected = serde_json::json!({
        "id": "evt-000001",
        "timestamp": "2025-01-01T08:00:01.000000Z",
        "event_type": "delegation_created",
        "agent_id": agent_id(1).as_str(),
        "task_id": "task-1",
        "orch_id": "orch",
        "detail": "sentence key=\"two words\" from=192.0.2.7",
        "resource": "read:data:*",
        "outcome": "denied",
        "deleg_depth": 2,
        "deleg_chain_hash": "ab".repeat(32),
        "bytes_transferred": 7,
        "prev_hash": "00".repeat(32),
    });
    assert_eq!(serde_json::Value::Object(members), expected);
    assert_eq!(fixture.read(whole_trail).await, 1);
}

#[tokio::test]
async fn overtaken_event_gets_time_of_last_event_and_clock_set_back_starts_new_run() {
    let fixture = Fixture::new();
    let append = |seconds| {
        fixture.write(move |tx| tx.append(NewEvent::success(EventType::AdminAuth, at(seconds), Subject::Admin, "")))
    };
    for seconds in [4000, 3996, 400, 399, 4001] {
        append(seconds).await;
    }
    let fixture = fixture.reopen().await;
    fixture.write(|tx| tx.append(NewEvent::success(EventType::AdminAuth, at(1), Subject::Admin, ""))).await;
    let times: Vec<String> = events_after(&fixture, 0).await.into_iter().map(|event| event.timestamp).collect();
    let seconds: Vec<&str> = times.iter().map(|time| time.get(11..19).unwrap()).collect();
    assert_eq!(seconds, ["09:06:40", "09:06:40", "08:06:40", "08:06:40", "09:06:41", "08:00:01"]);
    let runs = fixture.write(|tx| tx.audit_runs()).await;
    assert_eq!(runs, [3, 6]);
}

//! Recorded times, and used nonces.

use std::time::Duration;

use agentwrit_verify::UnixTime;

use super::{codec::optional_time, transaction::Transaction, value::values};
use crate::{
    clock::RecordedTime,
    store::{
        StoreError,
        codec::{from_micros, micros},
        job_state::HasJobState,
        meta::{ReadMeta, WriteMeta},
    },
};

impl ReadMeta for Transaction<'_> {
    fn recorded_time(&self) -> Result<RecordedTime, StoreError> {
        let certain = self.head().certain_time.map(from_micros);
        let event = "SELECT max(at) FROM (SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1) AS last";
        let event = self.single(event, values![], |row| optional_time(row, 0))?;
        let mark = "SELECT max(revoked_at) FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer')";
        let mark = self.single(mark, values![], |row| optional_time(row, 0))?;
        Ok(RecordedTime { certain, newest: event.max(mark).unwrap_or_default() })
    }

    fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError> {
        Ok(from_micros(self.head().nonces_forgotten_until))
    }
}

impl WriteMeta for Transaction<'_> {
    fn record_certain_time(&mut self, certain: UnixTime) -> Result<(), StoreError> {
        // Each broker has its own, and the furthest of them has passed.
        let head = self.head_mut();
        head.certain_time = head.certain_time.max(Some(micros(certain)));
        Ok(())
    }

    fn spend_nonce(&mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError> {
        if micros(expires_at) <= self.head().nonces_forgotten_until {
            // Another broker may have deleted the use.
            return Ok(false);
        }
        let sql = "INSERT INTO spent_nonces (nonce, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, values![nonce, micros(expires_at)])? == 1)
    }

    fn expire_nonces_until(&mut self, until: UnixTime) -> Result<(), StoreError> {
        let head = self.head_mut();
        head.nonces_forgotten_until = head.nonces_forgotten_until.max(micros(until));
        Ok(())
    }

    fn take_housekeeping(&mut self, interval: Duration) -> Result<bool, StoreError> {
        let (now, last) = (self.job().now(), from_micros(self.head().housekept_at));
        // Also if the clock was set back since.
        let is_due = now.saturating_since(last) >= interval || now < last;
        if is_due {
            self.head_mut().housekept_at = micros(now);
        }
        Ok(is_due)
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let head = self.head_mut();
        head.probes = head.probes.wrapping_add(1);
        Ok(())
    }
}

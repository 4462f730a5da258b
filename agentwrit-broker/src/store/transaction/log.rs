//! Revocations, recorded times, used nonces, and deletion of expired rows.

use std::time::Duration;

use agentwrit_verify::{Level, UnixTime};

use super::Tx;
use crate::{
    clock::RecordedTime,
    domain::Revocation,
    store::{
        Page, StoreError,
        codec::{from_micros, micros},
        facts::lookup,
        head::new_epoch,
        meta::ReadMeta,
        pending::NonceRow,
        prune::Pruned,
        revocations::{FeedRow, ReadRevocations, RevocationRow},
        wants::Wants,
    },
};

impl ReadRevocations for Tx<'_> {
    fn epoch(&self) -> Result<String, StoreError> {
        Ok(self.batch.borrow().head.epoch.clone())
    }

    fn revocations_after(&self, cursor: u64, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError> {
        self.flushed()?.revocations_after(cursor, now)
    }

    fn visit_revocations(
        &self,
        cursor: u64,
        now: UnixTime,
        limit: u64,
        visit: &mut dyn FnMut(FeedRow<'_>),
    ) -> Result<(), StoreError> {
        self.flushed()?.visit_revocations(cursor, now, limit, visit)
    }

    fn count_live_revocations(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.flushed()?.count_live_revocations(now)
    }

    fn listed_revocations(&self, now: UnixTime, page: &Page) -> Result<(Vec<RevocationRow>, u64), StoreError> {
        self.flushed()?.listed_revocations(now, page)
    }

    fn latest_cursor(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.batch.borrow().head.cursor).unwrap_or(0))
    }
}

impl ReadMeta for Tx<'_> {
    fn recorded_time(&self) -> Result<RecordedTime, StoreError> {
        let stored = self.flushed()?.recorded_time()?;
        let certain = self.batch.borrow().head.certain_time.map(from_micros);
        Ok(RecordedTime { certain, ..stored })
    }

    fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError> {
        Ok(from_micros(self.batch.borrow().head.nonces_forgotten_until))
    }
}

impl Tx<'_> {
    /// Adds a revocation at the end of the log; its cursor.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn insert_revocation(&mut self, revocation: &Revocation) -> Result<u64, StoreError> {
        let cursor = {
            let batch = &mut self.batch.borrow_mut();
            let cursor = batch.head.next_cursor();
            let cursor = u64::try_from(cursor).map_err(|_| StoreError::corrupt(format!("`{cursor}` is no cursor")))?;
            batch.pending.revocations.push(RevocationRow { cursor, revocation: revocation.clone() });
            cursor
        };
        if !matches!(revocation.level, Level::Token | Level::Session) {
            self.flushed()?;
            self.batch.borrow_mut().facts.marks.forget();
        }
        Ok(cursor)
    }

    /// Notes that a cursor of the present log is confirmed. Returns false if that was noted before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn note_confirmation(&mut self, cursor: u64) -> Result<bool, StoreError> {
        let (epoch, at) = (self.epoch()?, self.now());
        self.change(|rows| rows.note_confirmation(&epoch, cursor, at))
    }

    /// Keeps what the confirmation of a cursor of the present log was decided by, compressed. The oldest documents are removed
    /// beyond `longest` bytes in all.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn put_confirmation_evidence(&mut self, cursor: u64, document: &[u8], longest: u64) -> Result<(), StoreError> {
        let (epoch, at) = (self.epoch()?, self.now());
        self.change(|rows| rows.put_evidence(&epoch, cursor, document, at, longest))
    }

    /// Deletes the not-before marks that are dated after `at`. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_not_before_marks_after(&mut self, at: UnixTime) -> Result<u64, StoreError> {
        let deleted = self.change(|rows| rows.delete_not_before_marks_after(at))?;
        self.batch.borrow_mut().facts.marks.forget();
        Ok(deleted)
    }

    /// Starts another log. Followers have to load a snapshot of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn start_epoch(&mut self) -> Result<(), StoreError> {
        self.batch.borrow_mut().head.epoch = self.note_failure(new_epoch())?;
        // The former log was lost, and reports with it.
        let at = self.now();
        self.change(|rows| rows.count_reports_as_lost(at))
    }

    /// Records the time that has passed for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn record_certain_time(&mut self, certain: UnixTime) -> Result<(), StoreError> {
        let head = &mut self.batch.borrow_mut().head;
        // Each broker has its own, and the furthest of them has passed.
        let others = head.certain_time.filter(|_| self.rows().is_shared());
        head.certain_time = others.max(Some(micros(certain)));
        Ok(())
    }

    /// Records the use of a nonce until it would expire. Returns false if it was used before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn spend_nonce(&mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError> {
        if micros(expires_at) <= self.batch.borrow().head.nonces_forgotten_until {
            // Its use may have been deleted.
            return Ok(false);
        }
        let wants = || Wants::none().nonce(nonce, expires_at);
        if lookup(self, wants, |facts| Some(facts.nonces.find(nonce)?.copied()))?.is_some() {
            return Ok(false);
        }
        let batch = &mut self.batch.borrow_mut();
        batch.facts.nonces.set(*nonce, Some(()));
        batch.pending.nonces.push(NonceRow { nonce: *nonce, expires_at });
        Ok(true)
    }

    /// Makes every nonce that expires until then count as expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn expire_nonces_until(&mut self, until: UnixTime) -> Result<(), StoreError> {
        let head = &mut self.batch.borrow_mut().head;
        head.nonces_forgotten_until = head.nonces_forgotten_until.max(micros(until));
        Ok(())
    }

    /// Returns true if no broker has deleted expired rows for `interval`: then this one is to do it now. A broker that has the
    /// store alone always is.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn take_housekeeping(&mut self, interval: Duration) -> Result<bool, StoreError> {
        if !self.rows().is_shared() {
            return Ok(true);
        }
        let head = &mut self.batch.borrow_mut().head;
        let (now, last) = (self.now(), from_micros(head.housekept_at));
        // Also if the clock was set back since.
        let is_due = now.saturating_since(last) >= interval || now < last;
        if is_due {
            head.housekept_at = micros(now);
        }
        Ok(is_due)
    }

    /// Makes the smallest durable change.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn probe(&mut self) -> Result<(), StoreError> {
        let head = &mut self.batch.borrow_mut().head;
        head.probes = head.probes.wrapping_add(1);
        Ok(())
    }

    /// Deletes rows that expired by `until`, which must have passed for certain, and nonces that expired by `nonces_until`.
    /// To be repeated while [`Pruned::reached_limit`]. The audit trail is not pruned.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn prune(&mut self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        self.expire_nonces_until(nonces_until)?;
        let pruned = self.change(|rows| rows.delete_expired(until, nonces_until))?;
        self.forget_launch_tokens();
        let facts = &mut self.batch.borrow_mut().facts;
        facts.agents.forget();
        facts.tokens.forget();
        facts.nonces.forget();
        facts.assertions.forget();
        facts.marks.forget();
        Ok(pruned)
    }
}

//! Verifiers and their instances.

use std::time::Duration;

use agentwrit_verify::{
    FeedCursor,
    report::{InstanceId, VerifierName},
};

use super::Tx;
use crate::{
    domain::{Enrolment, InstanceState},
    store::{
        StoreError,
        pending::{EnrolmentDeletion, EnrolmentRow, InstanceRow},
        verifiers::ReadVerifiers,
    },
};

impl ReadVerifiers for Tx<'_> {
    fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError> {
        self.flushed()?.enrolments()
    }

    fn verifier_instances(&self) -> Result<Vec<InstanceState>, StoreError> {
        self.flushed()?.verifier_instances()
    }

    fn confirmation_evidence(&self, cursor: &FeedCursor) -> Result<Option<Vec<u8>>, StoreError> {
        self.flushed()?.confirmation_evidence(cursor)
    }

    fn confirmation_evidence_size(&self) -> Result<u64, StoreError> {
        self.flushed()?.confirmation_evidence_size()
    }
}

impl Tx<'_> {
    /// Enrols a verifier, whose name must not be enrolled. Returns the enrolment with a time that no other one has. Instances
    /// of an earlier enrolment of the name stay.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for a name that is enrolled.
    pub fn insert_verifier(&mut self, enrolment: &Enrolment) -> Result<Enrolment, StoreError> {
        let known = self.enrolments()?;
        let latest = known.last().map(|last| last.added_at.saturating_add(Duration::from_micros(1)));
        let added_at = latest.unwrap_or_default().max(enrolment.added_at);
        let added = Enrolment { added_at, instances_since: added_at, ..enrolment.clone() };
        let enrolment = match known.into_iter().find(|known| known.name == added.name) {
            Some(known) if known.is_active() => return Err(StoreError::internal("the verifier is enrolled")),
            Some(removed) => removed.succeeded_by(added),
            None => {
                // Reports that were stored while an earlier row of this name was deleted.
                self.change(|rows| rows.delete_instances_of(&added.name))?;
                added
            }
        };
        self.put_enrolment(&enrolment)?;
        Ok(enrolment)
    }

    /// Replaces the row of a verifier.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn put_enrolment(&mut self, enrolment: &Enrolment) -> Result<(), StoreError> {
        // First: its lock orders this with the reports that are being stored.
        self.change(|rows| rows.enrolments_changed())?;
        let mut batch = self.batch.borrow_mut();
        batch.pending.enrolment_deletions.push(EnrolmentDeletion(enrolment.name.clone()));
        batch.pending.enrolments.push(EnrolmentRow(enrolment.clone()));
        drop(batch);
        self.flushed().map(|_| ())
    }

    /// Deletes the row of a verifier and its instances, none of which accepts tokens.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_verifier(&mut self, name: &VerifierName) -> Result<(), StoreError> {
        self.change(|rows| rows.enrolments_changed())?;
        self.batch.borrow_mut().pending.enrolment_deletions.push(EnrolmentDeletion(name.clone()));
        self.change(|rows| rows.delete_instances_of(name))
    }

    /// Keeps an instance, in the place of what was kept of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn put_verifier_instance(&mut self, state: &InstanceState) -> Result<(), StoreError> {
        self.delete_verifier_instance(&state.verifier, state.instance)?;
        self.batch.borrow_mut().pending.instances.push(InstanceRow(state.clone()));
        Ok(())
    }

    /// Deletes an instance, so that no broker counts it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn forget_verifier_instance(&mut self, name: &VerifierName, instance: InstanceId) -> Result<(), StoreError> {
        self.change(|rows| rows.enrolments_changed())?;
        self.delete_verifier_instance(name, instance)
    }

    /// Deletes an instance from the store of one broker.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_verifier_instance(&mut self, name: &VerifierName, instance: InstanceId) -> Result<(), StoreError> {
        self.change(|rows| rows.delete_instance(name, instance))
    }
}

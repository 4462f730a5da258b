//! Verifiers and their instances.

use std::time::Duration;

use agentwrit_verify::{
    UnixTime,
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
}

impl Tx<'_> {
    /// Enrols a verifier, whose name must be free. Returns the time of its enrolment, which no other one has.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for a name that exists.
    pub fn insert_verifier(&mut self, enrolment: &Enrolment) -> Result<UnixTime, StoreError> {
        let latest = self.enrolments()?.last().map(|last| last.added_at.saturating_add(Duration::from_micros(1)));
        let added_at = latest.unwrap_or_default().max(enrolment.added_at);
        // Reports that were stored while an earlier verifier of this name was removed.
        self.change(|rows| rows.delete_instances_of(&enrolment.name))?;
        self.batch.borrow_mut().pending.enrolments.push(EnrolmentRow(Enrolment { added_at, ..enrolment.clone() }));
        self.flushed()?;
        Ok(added_at)
    }

    /// Removes a verifier and its instances. Returns false for an unknown one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_verifier(&mut self, name: &VerifierName) -> Result<bool, StoreError> {
        if !self.enrolments()?.iter().any(|enrolment| enrolment.name == *name) {
            return Ok(false);
        }
        self.batch.borrow_mut().pending.enrolment_deletions.push(EnrolmentDeletion(name.clone()));
        self.change(|rows| rows.delete_instances_of(name))?;
        Ok(true)
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

    /// Deletes an instance.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_verifier_instance(&mut self, name: &VerifierName, instance: InstanceId) -> Result<(), StoreError> {
        self.change(|rows| rows.delete_instance(name, instance))
    }
}

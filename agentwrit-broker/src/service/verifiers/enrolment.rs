//! Enrolment, change and removal of verifiers by the operator, and what it lets the broker forget.

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::{PermittedBound, PublicKeyBytes, VerifierEnrolmentRequest, VerifierUpdateRequest};
use agentwrit_verify::{
    PublicKey, Subject, UnixTime,
    report::{InstanceId, VerifierName},
};

use super::{VerifierService, capacity::MAX_VERIFIERS, known::Settled};
use crate::{
    audit::{EventType, NewEvent},
    domain::Enrolment,
    service::{Bearer, Error, checks::transact_as},
    store::{StoreError, Tx, Wants},
};

/// Largest number of verifiers, with those that were removed and may have instances.
const MAX_ROWS: usize = MAX_VERIFIERS * 2;

/// Instances that the operator lets the broker forget: their processes have ended without a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForgottenInstance {
    /// A known instance without a bound.
    Known(InstanceId),
    /// Instances without a bound whose reports were lost.
    Unknown,
}

impl VerifierService {
    /// Enrols a verifier.
    pub(crate) async fn enrol(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        request: VerifierEnrolmentRequest,
        client: IpAddr,
    ) -> Result<Enrolment, Error> {
        let VerifierEnrolmentRequest { name, max_bound, public_key } = request;
        let enrolment = Enrolment::new(name, usable(&public_key)?, max_bound, UnixTime::default());
        let service = Arc::clone(self);
        let enrolled = transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            let known = tx.enrolments()?;
            if let Some(same) = known.iter().find(|known| known.name == enrolment.name && known.is_active()) {
                let same_key = same.public_key.as_bytes() == enrolment.public_key.as_bytes();
                return Err(Error::VerifierExists { same_key });
            }
            let is_new = known.iter().all(|known| known.name != enrolment.name);
            let active = known.iter().filter(|known| known.is_active()).count();
            if active >= MAX_VERIFIERS || (is_new && known.len() >= MAX_ROWS) {
                return Err(Error::TooManyVerifiers);
            }
            let enrolment = tx.insert_verifier(&Enrolment { added_at: now, ..enrolment.clone() })?;
            let event = NewEvent::success(EventType::VerifierEnrolled, now, &Subject::Admin, "verifier enrolled");
            service.ledger.record(tx, with_enrolment(event, &enrolment).from(client))?;
            service.note(tx, &enrolment);
            Ok(enrolment)
        })
        .await?;
        self.read_reports().await;
        Ok(enrolled)
    }

    /// Changes the key or bound of a verifier. Its instances count with the bound that they reported.
    pub(crate) async fn update(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        name: VerifierName,
        request: VerifierUpdateRequest,
        client: IpAddr,
    ) -> Result<Enrolment, Error> {
        let public_key = request.public_key.as_ref().map(usable).transpose()?;
        let service = Arc::clone(self);
        let updated = transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            let known = active(tx, &name)?;
            let public_key = public_key.clone().unwrap_or_else(|| known.public_key.clone());
            let max_bound = match request.max_bound {
                Some(PermittedBound::Seconds(seconds)) => Some(seconds),
                Some(PermittedBound::Any) => None,
                None => known.max_bound,
            };
            let is_same = known.max_bound == max_bound && known.public_key.as_bytes() == public_key.as_bytes();
            if is_same {
                return Ok(known);
            }
            let enrolment = known.replaced_by(public_key, max_bound, now);
            tx.put_enrolment(&enrolment)?;
            let event = NewEvent::success(EventType::VerifierUpdated, now, &Subject::Admin, "verifier changed");
            service.ledger.record(tx, with_enrolment(event, &enrolment).from(client))?;
            service.note(tx, &enrolment);
            Ok(enrolment)
        })
        .await?;
        self.read_reports().await;
        Ok(updated)
    }

    /// Removes a verifier. Its instances count until they accept no token any more.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        name: VerifierName,
        client: IpAddr,
    ) -> Result<(), Error> {
        let service = Arc::clone(self);
        transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            let removed = Enrolment { removed_at: Some(now), ..active(tx, &name)? };
            tx.put_enrolment(&removed)?;
            let event = NewEvent::success(EventType::VerifierRemoved, now, &Subject::Admin, "verifier removed");
            service.ledger.record(tx, event.resource(&name).from(client))?;
            service.note(tx, &removed);
            Ok(())
        })
        .await?;
        self.read_reports().await;
        Ok(())
    }

    /// Forgets instances without a bound whose processes have ended, as the operator confirms.
    pub(crate) async fn forget(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        name: VerifierName,
        forgotten: ForgottenInstance,
        client: IpAddr,
    ) -> Result<(), Error> {
        self.store().confirm_reports().await?;
        let verifier = self.memory.verifier(&name).ok_or(Error::NoSuchVerifier)?;
        match forgotten {
            ForgottenInstance::Unknown if verifier.enrolment.may_have_unbounded => {}
            ForgottenInstance::Unknown => return Err(Error::NoSuchInstance),
            ForgottenInstance::Known(id) => {
                let known = verifier.instances.iter().find(|known| known.instance == id);
                if !known.ok_or(Error::NoSuchInstance)?.may_accept_without_end() {
                    return Err(Error::InstanceHasBound);
                }
            }
        }
        let service = Arc::clone(self);
        transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            let instance = match forgotten {
                ForgottenInstance::Known(id) => {
                    tx.forget_verifier_instance(&name, id)?;
                    if !service.store().is_shared() {
                        let (memory, name) = (Arc::clone(&service.memory), name.clone());
                        tx.after_commit(move || memory.forget(&name, id));
                    }
                    id.to_string()
                }
                ForgottenInstance::Unknown => {
                    let known = tx.enrolments()?.into_iter().find(|known| known.name == name);
                    let enrolment = Enrolment { may_have_unbounded: false, ..known.ok_or(Error::NoSuchVerifier)? };
                    tx.put_enrolment(&enrolment)?;
                    service.note(tx, &enrolment);
                    "unknown".to_owned()
                }
            };
            let text = "instances without a bound forgotten: the operator confirmed that their processes have ended";
            let event = NewEvent::success(EventType::VerifierInstanceForgotten, now, &Subject::Admin, text);
            service.ledger.record(tx, event.resource(&name).word("instance", instance).from(client))?;
            Ok(())
        })
        .await?;
        self.read_reports().await;
        Ok(())
    }

    /// Deletes what is kept of enrolments that ended so long ago that no instance has them any more.
    pub(crate) async fn delete_ended_enrolments(self: &Arc<Self>) -> Result<(), StoreError> {
        let settled = self.memory.settled();
        if settled.is_empty() {
            return Ok(());
        }
        let service = Arc::clone(self);
        self.ledger
            .transact(move |tx| {
                let known = tx.enrolments()?;
                for settled in &settled {
                    match settled {
                        // Of one that was changed since, the later end counts.
                        Settled::Removed(enrolment) | Settled::Changed(enrolment) if !known.contains(enrolment) => {}
                        Settled::Removed(enrolment) => {
                            tx.delete_verifier(&enrolment.name)?;
                            if !service.store().is_shared() {
                                let (memory, name) = (Arc::clone(&service.memory), enrolment.name.clone());
                                tx.after_commit(move || memory.delete(&name));
                            }
                        }
                        Settled::Changed(enrolment) => {
                            let enrolment = Enrolment { former: None, ..enrolment.clone() };
                            tx.put_enrolment(&enrolment)?;
                            service.note(tx, &enrolment);
                        }
                    }
                }
                Ok::<_, StoreError>(())
            })
            .await
    }

    /// Puts an enrolment into the memory of the only broker after the commit. Several brokers read it.
    fn note(&self, tx: &mut Tx<'_>, enrolment: &Enrolment) {
        if !self.store().is_shared() {
            let (memory, enrolment) = (Arc::clone(&self.memory), enrolment.clone());
            tx.after_commit(move || memory.put(enrolment));
        }
    }
}

fn usable(key: &PublicKeyBytes) -> Result<PublicKey, Error> {
    PublicKey::from_bytes(&key.0)
        .map_err(|_| Error::invalid("public_key", "is not an Ed25519 public key that signatures may be verified with"))
}

fn active(tx: &Tx<'_>, name: &VerifierName) -> Result<Enrolment, Error> {
    let mut known = tx.enrolments()?.into_iter();
    known.find(|known| known.name == *name && known.is_active()).ok_or(Error::NoSuchVerifier)
}

fn with_enrolment(event: NewEvent, enrolment: &Enrolment) -> NewEvent {
    let event = event.resource(&enrolment.name).word("kid", enrolment.public_key.id().as_str());
    match enrolment.max_bound {
        Some(seconds) => event.word("max_bound", seconds),
        None => event,
    }
}

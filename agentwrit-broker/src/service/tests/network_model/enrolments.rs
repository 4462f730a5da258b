//! Starts and ends of the broker and of instances, and changes of enrolments.

use agentwrit_protocol::{PermittedBound, VerifierUpdateRequest};
use agentwrit_verify::Clock as _;

use super::{
    super::{verifiers::enrol, *},
    forger::Forger,
    instance::Instance,
    world::{Verifier, Waiting, World},
};
use crate::service::verifiers::ForgottenInstance;

impl World {
    /// Another process on the same store.
    pub(super) async fn restart_broker(&mut self) {
        let pending = |waiting: &&mut Waiting| waiting.confirmed_at.is_none();
        let is_pending = self.waiting.iter_mut().filter(pending).map(|waiting| waiting.since = self.now).count() > 0;
        self.witness.restarts_while_pending += u64::from(is_pending);
        self.broker.restart_at(self.broker.clock.now()).await;
        if self.chance.percent(50) {
            // Connections break.
            for instance in &mut self.instances {
                instance.lose_messages();
            }
        }
    }

    pub(super) fn start_instance(&mut self) {
        let enrolled: Vec<&Verifier> = self.verifiers.iter().filter(|verifier| verifier.is_enrolled).collect();
        if enrolled.is_empty() {
            return;
        }
        let verifier = enrolled[self.chance.pick(enrolled.len())].clone();
        self.started += 1;
        // A process starts with what the caches hold.
        let (keys, _) = self.key_set_response();
        let clock = &self.broker.clock;
        let mut instance =
            Instance::start(&self.issuer, clock, keys, verifier, (self.started, self.now), &mut self.chance);
        if self.chance.percent(self.plan.forged) {
            instance.put_behind(Forger::new(self.now, &mut self.chance));
        }
        self.instances.push(instance);
    }

    pub(super) async fn fleet_changes(&mut self) {
        if self.instances.len() < 5 && self.chance.thousandths(self.plan.fleet_change) {
            self.start_instance();
        }
        if self.instances.len() > 1 && self.chance.thousandths(self.plan.fleet_change) {
            let index = self.chance.pick(self.instances.len());
            let mut ended = self.instances.swap_remove(index);
            self.witness.ended_instances += 1;
            if self.chance.percent(60) && !ended.is_paused(self.now) {
                ended.leave(self.now, &self.broker.services, &mut self.chance).await;
            } else if ended.bound_ms().is_none() && self.chance.percent(70) {
                let (name, id) = ended.name_and_id();
                let forgotten = ForgottenInstance::Known(id);
                // It may never have reported.
                let outcome = self.broker.services.verifiers.forget(None, name, forgotten, CLIENT).await;
                self.witness.forgotten += u64::from(outcome.is_ok());
            }
            if self.chance.percent(70) {
                self.start_instance();
            }
        }
    }

    /// Removes a verifier, enrols it again or changes its bound.
    pub(super) async fn enrolments_change(&mut self) {
        if !self.chance.thousandths(self.plan.enrolment_change) {
            return;
        }
        let index = self.chance.pick(self.verifiers.len());
        let Verifier { name, max_bound, is_enrolled } = self.verifiers[index].clone();
        let services = &self.broker.services.verifiers;
        let bound = max_bound.map(|_| self.chance.between(20, 60).unsigned_abs());
        self.largest_bound = self.largest_bound.max(bound.unwrap_or_default());
        if !is_enrolled {
            enrol(&self.broker.services, name.as_str(), 1, bound).await.unwrap();
            self.witness.enrolments += 1;
        } else if self.chance.percent(50) {
            services.remove(None, name.clone(), CLIENT).await.unwrap();
            self.witness.removals += 1;
            self.verifiers[index].is_enrolled = false;
            return;
        } else {
            let max_bound = Some(bound.map_or(PermittedBound::Any, PermittedBound::Seconds));
            let request = VerifierUpdateRequest { public_key: None, max_bound };
            services.update(None, name.clone(), request, CLIENT).await.unwrap();
            self.witness.bound_changes += 1;
        }
        self.verifiers[index] = Verifier { name, max_bound: bound, is_enrolled: true };
    }
}

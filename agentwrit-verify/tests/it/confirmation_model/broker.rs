//! Brokers: the instances that they know, by reports that arrive late, twice, in another order or never.

use agentwrit_verify::{
    FeedCursor, UnixTime,
    confirmation::{EnrolledVerifier, Fleet, KnownInstance},
    report::{KeySetDigest, Report, ReportedBound, VerifierName},
};

use crate::{
    network::Chance,
    support::{START, at},
};

/// A report on its way.
struct InFlight {
    arrives: i64,
    report: Report,
    /// Number of the instance, and of its report.
    token: (u64, u64),
}

/// Latest accepted report of an instance.
struct Known {
    instance: KnownInstance,
    sequence: u64,
    key_set: Option<KeySetDigest>,
}

pub(super) struct Brokers {
    enrolled: Vec<EnrolledVerifier>,
    known: Vec<Known>,
    instances: Vec<KnownInstance>,
    complete_from: UnixTime,
    /// True when a database keeps the reports, so that restarts and changes of broker lose none.
    keeps_reports: bool,
    in_flight: Vec<InFlight>,
    /// With the cursor at that time.
    accepted: Vec<((u64, u64), FeedCursor)>,
}

impl Brokers {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let name = |n: u64| VerifierName::parse(&format!("service-{n}")).unwrap();
        let mut enrolled: Vec<EnrolledVerifier> = (0..2)
            .map(|n| EnrolledVerifier {
                name: name(n),
                max_bound: Some(u64::try_from(chance.between(20, 45)).unwrap()),
                may_have_unknown: true,
                may_have_unbounded: false,
            })
            .collect();
        if chance.percent(30) {
            enrolled.push(EnrolledVerifier {
                name: name(9),
                max_bound: None,
                may_have_unknown: true,
                may_have_unbounded: false,
            });
        }
        Self {
            enrolled,
            known: Vec::new(),
            instances: Vec::new(),
            complete_from: at(START),
            keeps_reports: chance.percent(50),
            in_flight: Vec::new(),
            accepted: Vec::new(),
        }
    }

    pub(super) fn pick_verifier(&self, chance: &mut Chance) -> EnrolledVerifier {
        self.enrolled[chance.pick(self.enrolled.len())].clone()
    }

    pub(super) fn largest_bound(&self) -> i64 {
        let bounds = self.enrolled.iter().filter_map(|enrolled| enrolled.max_bound);
        i64::try_from(bounds.max().unwrap()).unwrap()
    }

    pub(super) fn all_are_bounded(&self) -> bool {
        self.enrolled.iter().all(|enrolled| enrolled.max_bound.is_some())
    }

    pub(super) fn fleet(&self) -> Fleet<'_> {
        Fleet { enrolled: &self.enrolled, instances: &self.instances, complete_from: self.complete_from }
    }

    pub(super) fn all_have_keys(&self, digest: KeySetDigest, now: UnixTime) -> bool {
        let counted = self.known.iter().filter(|known| !known.instance.is_gone(now));
        // Instances that are not known yet have not begun to accept tokens, or are fenced.
        counted.into_iter().all(|known| known.key_set == Some(digest))
    }

    /// A broker with its reports in memory forgets them, except those of instances without a bound.
    pub(super) fn restart_or_change(&mut self, now: i64, chance: &mut Chance) {
        if self.keeps_reports {
            return;
        }
        self.known.retain(|known| known.instance.bound == ReportedBound::Unbounded);
        let start = at(START).saturating_add(std::time::Duration::from_millis(now.unsigned_abs()));
        self.complete_from = Fleet::complete_after(start);
        if chance.percent(50) {
            // Connections break.
            self.in_flight.clear();
        }
        self.publish();
    }

    /// Sends a report of the instance of this number.
    pub(super) fn send(&mut self, now: i64, number: u64, report: &Report, chance: &mut Chance) {
        if chance.percent(25) {
            return;
        }
        for _ in 0..=u64::from(chance.percent(10)) {
            let longest = if chance.percent(80) { 100 } else { 20_000 };
            let arrives = now + chance.between(0, longest);
            self.in_flight.push(InFlight { arrives, report: report.clone(), token: (number, report.sequence) });
        }
    }

    pub(super) fn deliver(&mut self, now: i64, time: UnixTime, cursor: &FeedCursor) {
        let (mut arrived, waiting): (Vec<_>, Vec<_>) =
            self.in_flight.drain(..).partition(|flight| flight.arrives <= now);
        self.in_flight = waiting;
        arrived.sort_by_key(|flight| flight.arrives);
        for InFlight { report, token, .. } in arrived {
            if self.accepts(&report, time) {
                self.accepted.push((token, cursor.clone()));
            }
        }
        self.known.retain(|known| !known.instance.is_gone(time));
        self.publish();
    }

    fn accepts(&mut self, report: &Report, time: UnixTime) -> bool {
        let Some(enrolled) = self.enrolled.iter().find(|enrolled| enrolled.name == report.verifier) else {
            return false;
        };
        let too_large = match (enrolled.max_bound, report.bound) {
            (Some(max), ReportedBound::Seconds(bound)) => bound > max,
            (Some(_), ReportedBound::Unbounded) => true,
            (None, _) => false,
        };
        let age = time.saturating_since(report.issued_at).max(report.issued_at.saturating_since(time));
        if too_large || age.as_secs() > Report::MAX_CLOCK_DIFFERENCE.as_secs() {
            return false;
        }
        let instance = KnownInstance {
            verifier: report.verifier.clone(),
            instance: report.instance,
            applied: report.applied.clone(),
            bound: report.bound,
            heard_at: time,
            leaving: report.leaving,
        };
        let next = Known { instance, sequence: report.sequence, key_set: report.key_set };
        match self.known.iter_mut().find(|known| known.instance.instance == report.instance) {
            Some(known) if known.sequence >= report.sequence => return false,
            Some(known) => *known = next,
            None => self.known.push(next),
        }
        true
    }

    fn publish(&mut self) {
        self.instances = self.known.iter().map(|known| known.instance.clone()).collect();
    }

    /// Returns the accepted reports of an instance, whose responses arrive now or never.
    pub(super) fn take_accepted(&mut self, number: u64, chance: &mut Chance) -> Vec<(u64, FeedCursor)> {
        let (own, others): (Vec<_>, Vec<_>) = self.accepted.drain(..).partition(|((of, _), _)| *of == number);
        self.accepted = others;
        own.into_iter().filter(|_| chance.percent(85)).map(|((_, sequence), cursor)| (sequence, cursor)).collect()
    }
}

//! State of a confirmation as it is shown: per verifier, from the broker's responses.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use agentwrit_client::{ConfirmationResponse, VerifierRecord};
use agentwrit_verify::{
    FeedCursor, UnixTime,
    confirmation::{ConfirmationState, PendingInstance},
    report::{InstanceId, VerifierName},
};

use crate::format;

/// State of a confirmation, as the broker has sent it so far.
pub(super) struct View {
    cursor: FeedCursor,
    latest: Option<ConfirmationResponse>,
    /// Moment at which it was received.
    received: Instant,
    verifiers: Option<Vec<VerifierRecord>>,
    /// Each instance that was pending once, with the time from which it is fenced.
    fences: BTreeMap<(VerifierName, InstanceId), Option<UnixTime>>,
    /// Milliseconds after the commit at which all instances of a verifier were seen to have confirmed.
    complete: BTreeMap<VerifierName, u64>,
}

/// Line about one verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) verifier: String,
    pub(super) confirmed: u64,
    pub(super) instances: u64,
    /// Milliseconds after the commit, once no instance is pending.
    pub(super) complete_after: Option<u64>,
    /// Instances that have not confirmed, in words.
    pub(super) notes: Vec<String>,
}

impl Row {
    pub(super) fn is_complete(&self) -> bool {
        self.complete_after.is_some()
    }
}

impl View {
    pub(super) fn new(cursor: FeedCursor) -> Self {
        let received = Instant::now();
        Self { cursor, latest: None, received, verifiers: None, fences: BTreeMap::new(), complete: BTreeMap::new() }
    }

    pub(super) fn state(&self) -> Option<ConfirmationState> {
        self.latest.as_ref().map(|latest| latest.confirmation.state)
    }

    /// Takes a response about the confirmation.
    pub(super) fn confirm(&mut self, response: ConfirmationResponse) {
        for pending in &response.confirmation.pending {
            if let Some(instance) = pending.instance {
                self.fences.insert((pending.verifier.clone(), instance), pending.fenced_at);
            }
        }
        (self.latest, self.received) = (Some(response), Instant::now());
        self.note_complete();
    }

    /// Takes the list of verifiers; without one the last stays.
    pub(super) fn list(&mut self, verifiers: Option<Vec<VerifierRecord>>) {
        self.verifiers = verifiers.or(self.verifiers.take());
        self.note_complete();
    }

    pub(super) fn into_response(self) -> Option<ConfirmationResponse> {
        self.latest
    }

    pub(super) fn response(&self) -> Option<&ConfirmationResponse> {
        self.latest.as_ref()
    }

    /// Returns false when the broker has sent a list of verifiers and it is empty.
    pub(super) fn has_verifiers(&self) -> bool {
        self.verifiers.as_ref().is_none_or(|verifiers| !verifiers.is_empty())
    }

    /// Returns the milliseconds since the commit; `None` before the first response.
    pub(super) fn elapsed(&self) -> Option<u64> {
        let since = u64::try_from(self.received.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.latest.as_ref().map(|latest| latest.elapsed_ms.saturating_add(since))
    }

    fn note_complete(&mut self) {
        let Some(elapsed) = self.elapsed() else { return };
        let complete: Vec<VerifierName> =
            self.names().into_iter().filter(|name| self.is_complete(name)).cloned().collect();
        for name in complete {
            self.complete.entry(name).or_insert(elapsed);
        }
    }

    /// Returns true when no instance of the verifier is pending. While the broker omits some, the list of verifiers shows it.
    fn is_complete(&self, name: &VerifierName) -> bool {
        let has_confirmed = |verifier: &VerifierRecord| {
            verifier.name == *name && verifier.instances.iter().all(|one| one.cursor.has_reached(&self.cursor))
        };
        self.pending_of(name).next().is_none()
            && (self.omitted() == 0 || self.verifiers.iter().flatten().any(has_confirmed))
    }

    /// Returns the number of pending instances that the latest response does not list.
    pub(super) fn omitted(&self) -> u64 {
        self.latest.as_ref().map_or(0, |latest| latest.pending_omitted)
    }

    fn names(&self) -> BTreeSet<&VerifierName> {
        let listed = self.verifiers.iter().flatten().map(|verifier| &verifier.name);
        listed
            .chain(self.fences.keys().map(|(name, _)| name))
            .chain(self.pending().map(|pending| &pending.verifier))
            .collect()
    }

    /// Returns the pending instances; those that the newer list shows to have confirmed are left out.
    fn pending(&self) -> impl Iterator<Item = &PendingInstance> {
        self.latest
            .iter()
            .flat_map(|latest| &latest.confirmation.pending)
            .filter(|pending| !pending.instance.is_some_and(|instance| self.has_confirmed(&pending.verifier, instance)))
    }

    fn pending_of<'a>(&'a self, name: &'a VerifierName) -> impl Iterator<Item = &'a PendingInstance> {
        self.pending().filter(move |pending| pending.verifier == *name)
    }

    fn has_confirmed(&self, name: &VerifierName, id: InstanceId) -> bool {
        let verifier = self.verifiers.iter().flatten().find(|verifier| verifier.name == *name);
        let instance = verifier.and_then(|verifier| verifier.instances.iter().find(|found| found.instance == id));
        instance.is_some_and(|instance| instance.cursor.has_reached(&self.cursor))
    }

    /// Returns the line of each verifier.
    pub(super) fn rows(&self, now: UnixTime) -> Vec<Row> {
        self.names().into_iter().map(|name| self.row(name, now)).collect()
    }

    fn row(&self, name: &VerifierName, now: UnixTime) -> Row {
        let verifier = self.verifiers.iter().flatten().find(|verifier| verifier.name == *name);
        let reached = verifier.into_iter().flat_map(|verifier| &verifier.instances);
        let confirmed = reached.filter(|instance| instance.cursor.has_reached(&self.cursor)).count() as u64;
        let pending: Vec<&PendingInstance> = self.pending_of(name).collect();
        let fenced: Vec<UnixTime> = self
            .fences
            .iter()
            .filter(|((of, id), _)| {
                let is_pending = || pending.iter().any(|pending| pending.instance == Some(*id));
                of == name && !self.has_confirmed(name, *id) && !is_pending()
            })
            .filter_map(|(_, fenced_at)| *fenced_at)
            .filter(|_| verifier.is_some())
            .collect();
        let known = pending.iter().filter(|pending| pending.instance.is_some()).count() + fenced.len();
        let listed = verifier.filter(|_| self.omitted() > 0).map_or(0, |verifier| verifier.instances.len());
        Row {
            verifier: name.to_string(),
            confirmed,
            instances: confirmed.saturating_add(known as u64).max(listed as u64),
            complete_after: self.complete.get(name).copied().filter(|_| pending.is_empty()),
            notes: pending_notes(&pending, now).chain(fenced_note(&fenced)).collect(),
        }
    }

    /// Returns the pending instances in words.
    pub(super) fn pending_text(&self, now: UnixTime) -> String {
        let of = |name: &VerifierName| {
            let pending: Vec<_> = self.pending_of(name).collect();
            let notes: Vec<String> = pending_notes(&pending, now).collect();
            (!notes.is_empty()).then(|| format!("{name}: {}", notes.join(", ")))
        };
        let omitted = self.omitted();
        let omitted = (omitted > 0).then(|| format!("and {}", format::count(omitted, "other pending instance")));
        let texts: Vec<String> = self.names().into_iter().filter_map(of).chain(omitted).collect();
        if texts.is_empty() { "the broker did not say by which verifier".to_owned() } else { texts.join("; ") }
    }
}

/// Describes pending instances of one verifier, in groups.
fn pending_notes(pending: &[&PendingInstance], now: UnixTime) -> impl Iterator<Item = String> {
    let last_fence = |pending: &mut dyn Iterator<Item = &&PendingInstance>| {
        pending.filter_map(|pending| pending.fenced_at).max_by_key(|time| time.seconds())
    };
    let unknown = last_fence(&mut pending.iter().filter(|pending| pending.instance.is_none()));
    let unknown = unknown
        .map(|until| format!("instances that the broker may not know yet: certain from {} on", time_of_day(until)));
    let is_lost = |pending: &&PendingInstance| pending.instance.is_none() && pending.fenced_at.is_none();
    let lost = pending.iter().find(|pending| is_lost(pending)).map(|pending| {
        let name = &pending.verifier;
        format!("reports of instances without a bound may be lost: see `awrit verifier forget {name} --unknown`")
    });
    let bounded = || pending.iter().filter(|pending| pending.instance.is_some() && pending.fenced_at.is_some());
    let bounded_note = last_fence(&mut bounded()).map(|fenced_at| {
        let heard = bounded().filter_map(|pending| pending.last_heard).min_by_key(|time| time.seconds());
        let heard = heard.map(|heard| format!(" (last report {})", format::relative(heard, now))).unwrap_or_default();
        format!("{} pending{heard}: rejects every token from {} on", bounded().count(), time_of_day(fenced_at))
    });
    let unbounded = pending.iter().filter(|pending| pending.instance.is_some() && pending.fenced_at.is_none()).count();
    let unbounded = (unbounded > 0)
        .then(|| format!("{unbounded} pending without a bound: may accept what was revoked until it reports"));
    [bounded_note, unbounded, unknown, lost].into_iter().flatten()
}

fn fenced_note(fenced: &[UnixTime]) -> Option<String> {
    let last = fenced.iter().max_by_key(|time| time.seconds())?;
    Some(format!("{} fenced: rejects every token since {}", fenced.len(), time_of_day(*last)))
}

/// Formats the time of the day, as in `14:03:41Z`.
fn time_of_day(time: UnixTime) -> String {
    let text = format::to_the_second(&time.to_rfc3339());
    text.split_once('T').map_or(text.clone(), |(_, time)| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(pending_omitted: u64, applied: [u64; 2]) -> View {
        let mut view = View::new(FeedCursor::parse("e.5").unwrap());
        let instances: Vec<_> = applied
            .iter()
            .enumerate()
            .map(|(index, position)| {
                serde_json::json!({
                    "instance": format!("{index:032x}"), "cursor": format!("e.{position}"), "has_current_keys": true,
                    "bound": 30, "last_heard": "2026-11-21T08:00:00Z",
                })
            })
            .collect();
        let verifier = serde_json::json!({
            "name": "payments-api", "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "added_at": "2026-11-21T08:00:00Z", "instances": instances,
        });
        view.list(Some(vec![serde_json::from_value(verifier).unwrap()]));
        let response = serde_json::json!({
            "state": "pending", "verifiers": 2, "confirmed": 1, "fenced": 0, "pending": [], "unenrolled": 0,
            "elapsed_ms": 12, "pending_omitted": pending_omitted,
        });
        view.confirm(serde_json::from_value(response).unwrap());
        view
    }

    #[test]
    fn verifier_is_complete_without_pending_instance_unless_broker_omits_some() {
        let row = |view: View| view.rows(UnixTime::default()).remove(0);
        assert!(row(view(0, [5, 4])).is_complete());
        let omitted = row(view(1, [5, 4]));
        assert!(!omitted.is_complete());
        assert_eq!((omitted.confirmed, omitted.instances), (1, 2));
        assert!(row(view(1, [5, 5])).is_complete(), "the list shows that each instance has confirmed");
        assert_eq!(view(1, [5, 4]).pending_text(UnixTime::default()), "and 1 other pending instance");
    }
}

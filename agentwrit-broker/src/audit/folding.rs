//! Folds repeated denials, so that they cannot flood the trail.
//!
//! 1. Denials of one type, from one network, about one subject, with one reason of a fixed list, within [`WINDOW`] are one
//!    event with a count.
//! 2. A network has at most [`SUBJECTS_PER_SOURCE`] subjects per type and window; events about further subjects are counted together.
//!    A subject has at most [`NETWORKS_PER_SUBJECT`] networks; events from further networks count as from many.
//! 3. At most `capacity` events wait; further ones count as from many sources, one event per type. So do events without a
//!    subject, beyond [`UNIDENTIFIED_AT_ONCE`] events and [`UNIDENTIFIED_PER_SECOND`] after that: networks cost an
//!    unauthenticated client nothing.
//! 4. Waiting events about a subject are returned early at most once a window.
//!
//! Denials wait up to a window before they are recorded, and those waiting are lost in a crash. Events of successful
//! operations are not folded.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use agentwrit_verify::Subject;

use super::{EventType, NewEvent, Source};

/// Time for which denials are collected.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Largest number of subjects that one network adds to the trail, per type and window.
const SUBJECTS_PER_SOURCE: u32 = 16;
/// Largest number of networks per subject, type and window.
const NETWORKS_PER_SUBJECT: u32 = 16;
/// Largest number of waiting events without a verified subject: half of the capacity, the other half is for subjects.
const UNIDENTIFIED_AT_ONCE: u32 = 2048;
/// Largest number per second after that.
const UNIDENTIFIED_PER_SECOND: u32 = 20;
const UNIDENTIFIED_INTERVAL: Duration = Duration::from_millis(1000 / UNIDENTIFIED_PER_SECOND as u64);

/// Denials that wait to be recorded together.
#[derive(Debug)]
pub struct DenialFolder {
    capacity: usize,
    waiting: HashMap<Key, NewEvent>,
    subjects: HashMap<(EventType, Source), u32>,
    networks: HashMap<(EventType, Subject), u32>,
    /// Time at which all of [`UNIDENTIFIED_AT_ONCE`] are allowed again.
    unidentified_full_at: Option<Instant>,
    /// Times at which events about a subject were returned early.
    handed_out: HashMap<Subject, Instant>,
    /// Due times, in the order of arrival.
    order: VecDeque<(Instant, Key)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    event_type: EventType,
    source: Source,
    about: About,
    reason: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum About {
    Subject(Subject),
    Resource(String),
    Unspecified,
    Many,
}

impl DenialFolder {
    /// Default of the largest number of waiting events.
    pub const DEFAULT_CAPACITY: usize = 4096;

    /// Holds at most `capacity` events, and one more per event type.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: HashMap::new(),
            subjects: HashMap::new(),
            networks: HashMap::new(),
            unidentified_full_at: None,
            handed_out: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Adds a denial.
    pub fn add(&mut self, mut denial: NewEvent, now: Instant) {
        let key = self.key(&denial, now);
        if let Some(first) = self.waiting.get_mut(&key) {
            first.count = first.count.saturating_add(denial.count);
            return;
        }
        if key.about == About::Many {
            (denial.subject, denial.resource, denial.task_id, denial.orch_id) = (None, None, None, None);
            denial.replace_detail("repeated denials");
        }
        if key.about == About::Many || key.source == Source::Many {
            denial.source = key.source;
        }
        self.count(&key, now);
        self.order.push_back((now + WINDOW, key.clone()));
        self.waiting.insert(key, denial);
    }

    /// Counts an event towards the limits that it falls under.
    fn count(&mut self, key: &Key, now: Instant) {
        if key.source == Source::Many {
            return;
        }
        if key.about != About::Many {
            let subjects = self.subjects.entry((key.event_type, key.source)).or_default();
            *subjects = subjects.saturating_add(1);
        }
        if let About::Subject(subject) = &key.about {
            let networks = self.networks.entry((key.event_type, subject.clone())).or_default();
            *networks = networks.saturating_add(1);
        } else {
            let full_at = self.unidentified_full_at.map_or(now, |full_at| full_at.max(now));
            self.unidentified_full_at = Some(full_at + UNIDENTIFIED_INTERVAL);
        }
    }

    /// Returns true if another event without a verified subject may wait on its own.
    fn may_add_unidentified(&self, now: Instant) -> bool {
        let ahead = self.unidentified_full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        ahead + UNIDENTIFIED_INTERVAL <= UNIDENTIFIED_INTERVAL * UNIDENTIFIED_AT_ONCE
    }

    /// Returns the time at which the next event is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.order.front().map(|(due, _)| *due)
    }

    /// Removes and returns the events whose window has passed, oldest first.
    #[must_use]
    pub fn due(&mut self, now: Instant) -> Vec<NewEvent> {
        let mut events = Vec::new();
        while self.next_due().is_some_and(|due| due <= now) {
            events.extend(self.take_oldest());
        }
        events
    }

    /// Removes and returns all events, oldest first, before the broker stops.
    #[must_use]
    pub fn drain_all(&mut self) -> Vec<NewEvent> {
        let mut events = Vec::new();
        while !self.order.is_empty() {
            events.extend(self.take_oldest());
        }
        events
    }

    /// Returns the key that `denial` is folded under.
    fn key(&self, denial: &NewEvent, now: Instant) -> Key {
        let about = match (&denial.subject, &denial.resource) {
            (Some(subject), _) => About::Subject(subject.clone()),
            (None, Some(resource)) => About::Resource(resource.clone()),
            (None, None) => About::Unspecified,
        };
        let mut key =
            Key { event_type: denial.event_type, source: network(denial.source), about, reason: denial.reason };
        if self.waiting.contains_key(&key) {
            return key;
        }
        if let About::Subject(subject) = &key.about {
            let networks = self.networks.get(&(key.event_type, subject.clone())).copied().unwrap_or(0);
            if networks >= NETWORKS_PER_SUBJECT {
                key.source = Source::Many;
            }
        }
        let subjects = self.subjects.get(&(key.event_type, key.source)).copied().unwrap_or(0);
        if subjects >= SUBJECTS_PER_SOURCE && key.source != Source::Unstated {
            (key.about, key.reason) = (About::Many, None);
        }
        if self.waiting.contains_key(&key) {
            return key;
        }
        let is_unidentified = !matches!(key.about, About::Subject(_));
        if self.waiting.len() >= self.capacity || (is_unidentified && !self.may_add_unidentified(now)) {
            key = Key { event_type: key.event_type, source: Source::Many, about: About::Many, reason: None };
        }
        key
    }

    /// Removes and returns the events about one subject, oldest first; none if it returned some within the last window.
    #[must_use]
    pub fn drain_about(&mut self, subject: &Subject, now: Instant) -> Vec<NewEvent> {
        self.handed_out.retain(|_, at| now.saturating_duration_since(*at) < WINDOW);
        let is_about = |key: &Key| matches!(&key.about, About::Subject(found) if found == subject);
        if self.handed_out.contains_key(subject) || !self.order.iter().any(|(_, key)| is_about(key)) {
            return Vec::new();
        }
        self.handed_out.insert(subject.clone(), now);
        let (about, others) = std::mem::take(&mut self.order).into_iter().partition(|(_, key)| is_about(key));
        self.order = others;
        let about: VecDeque<_> = about;
        about.into_iter().filter_map(|(_, key)| self.take(&key)).collect()
    }

    fn take_oldest(&mut self) -> Option<NewEvent> {
        let (_, key) = self.order.pop_front()?;
        self.take(&key)
    }

    fn take(&mut self, key: &Key) -> Option<NewEvent> {
        if key.about != About::Many && key.source != Source::Many {
            take_one(&mut self.subjects, &(key.event_type, key.source));
        }
        if let About::Subject(subject) = &key.about
            && key.source != Source::Many
        {
            take_one(&mut self.networks, &(key.event_type, subject.clone()));
        }
        self.waiting.remove(key)
    }
}

/// Lowers a count, and removes it at 0.
fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Default for DenialFolder {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

/// Returns the network of an address: of an IPv6 address its /64, which one client commonly has.
fn network(source: Source) -> Source {
    match source {
        Source::Address(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
            let first = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            Source::Network(IpAddr::V6(first))
        }
        Source::Address(address) => Source::Network(address.to_canonical()),
        Source::Unstated | Source::Network(_) | Source::Many => source,
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::UnixTime;
    use proptest::prelude::*;

    use super::*;

    fn denial(event_type: EventType, source: &str, about: &str) -> NewEvent {
        let address: IpAddr = source.parse().unwrap();
        NewEvent::denied(event_type, UnixTime::from_seconds(1), address, "no").resource(about)
    }

    fn details(events: Vec<NewEvent>) -> Vec<String> {
        events.into_iter().map(|mut event| event.take_detail()).collect()
    }

    #[test]
    fn folds_repetitions_within_a_second() {
        let (mut folder, start) = (DenialFolder::default(), Instant::now());
        let add = |folder: &mut DenialFolder, source, about, at| {
            folder.add(denial(EventType::AppAuthFailed, source, about), start + Duration::from_millis(at));
        };
        add(&mut folder, "192.0.2.1", "a", 0);
        add(&mut folder, "192.0.2.1", "a", 400);
        add(&mut folder, "192.0.2.2", "a", 500);
        add(&mut folder, "192.0.2.1", "b", 600);
        add(&mut folder, "192.0.2.1", "a", 999);
        assert_eq!(folder.due(start + Duration::from_millis(999)), []);
        assert_eq!(details(folder.due(start + WINDOW)), ["no from=192.0.2.1 count=3"]);
        add(&mut folder, "192.0.2.1", "a", 1001);
        assert_eq!(details(folder.drain_all()), ["no from=192.0.2.2", "no from=192.0.2.1", "no from=192.0.2.1"]);
        assert_eq!(folder.next_due(), None);
    }

    #[test]
    fn counts_reasons_of_one_source_apart_up_to_sixteen() {
        const REASONS: [&str; 20] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
        let (mut folder, now) = (DenialFolder::default(), Instant::now());
        for reason in REASONS.into_iter().chain(REASONS) {
            folder.add(denial(EventType::AttestationFailed, "192.0.2.1", "rule").reason(reason), now);
        }
        let details = details(folder.drain_all());
        assert_eq!(details.len(), 17);
        assert_eq!(details[0], "no reason=a from=192.0.2.1 count=2");
        assert_eq!(details[16], "repeated denials from=192.0.2.1 count=8");
    }

    #[test]
    fn folds_many_subjects_of_one_source() {
        let (mut folder, now) = (DenialFolder::default(), Instant::now());
        for subject in 0..1000 {
            folder.add(denial(EventType::AppAuthFailed, "2001:db8::1", &subject.to_string()), now);
            folder.add(denial(EventType::AppAuthFailed, "2001:db8::2", &subject.to_string()), now);
        }
        let details = details(folder.drain_all());
        assert_eq!(details.len(), 17);
        assert_eq!(details[16], "repeated denials from=2001:db8::/64 count=1968");
    }

    #[test]
    fn folds_many_sources_into_one_event_per_type() {
        let (mut folder, now) = (DenialFolder::new(8), Instant::now());
        for host in 0..100_u8 {
            folder.add(denial(EventType::AdminAuthFailed, &format!("192.0.2.{host}"), ""), now);
            folder.add(denial(EventType::TokenAuthFailed, &format!("192.0.2.{host}"), ""), now);
        }
        let details = details(folder.drain_all());
        assert_eq!(details.len(), 10);
        assert_eq!(details[8..], ["repeated denials from=many count=96", "repeated denials from=many count=96"]);
    }

    /// How many events one second after another writes.
    fn events_a_second(mut add: impl FnMut(&mut DenialFolder, Instant), seconds: u64) -> Vec<usize> {
        let (mut folder, start) = (DenialFolder::default(), Instant::now());
        let second = |second: u64| {
            let now = start + Duration::from_secs(second);
            let written = folder.due(now).len();
            add(&mut folder, now);
            written
        };
        (0..=seconds).map(second).skip(1).collect()
    }

    #[test]
    fn keeps_twenty_unidentified_denials_of_new_networks_apart_per_second() {
        let flood = |folder: &mut DenialFolder, now| {
            for network in 0..4096_u32 {
                folder
                    .add(denial(EventType::TokenAuthFailed, &format!("2001:db8:0:{network:x}::1"), "/v1/revoke"), now);
            }
            folder.add(NewEvent::denied(EventType::TokenRevokedAccess, UnixTime::default(), Subject::Admin, "no"), now);
        };
        assert_eq!(events_a_second(flood, 4), [2048 + 2, 20 + 2, 20 + 2, 20 + 2]);
    }

    #[test]
    fn keeps_denials_of_one_subject_apart_for_sixteen_networks() {
        let flood = |folder: &mut DenialFolder, now| {
            for network in 0..500_u32 {
                let at = UnixTime::default();
                let event = NewEvent::denied(EventType::TokenRevokedAccess, at, Subject::Admin, "no");
                folder.add(event.from(format!("2001:db8:0:{network:x}::1").parse().unwrap()), now);
            }
        };
        assert_eq!(events_a_second(flood, 2), [17, 17]);
        let (mut folder, now) = (DenialFolder::default(), Instant::now());
        flood(&mut folder, now);
        let (events, many) = (folder.drain_all(), "no from=many count=484");
        assert_eq!(events[16].subject, Some(Subject::Admin));
        assert_eq!(details(events)[16], many);
    }

    #[test]
    fn returns_events_about_subject_early_once_a_window() {
        let (mut folder, start) = (DenialFolder::default(), Instant::now());
        let mut refused_and_read = |at| {
            let now = start + Duration::from_millis(at);
            folder.add(NewEvent::denied(EventType::LaunchTokenDenied, UnixTime::default(), Subject::Admin, "no"), now);
            folder.drain_about(&Subject::Admin, now).len()
        };
        assert_eq!([0, 1, 500, 999, 1000, 1001].map(&mut refused_and_read), [1, 0, 0, 0, 1, 0]);
    }

    proptest! {
        #[test]
        fn keeps_every_count_in_bounded_memory(
            denials in prop::collection::vec((0..25_usize, 0..40_u8, 0..40_u8, 0..1500_u64), 1..400),
            capacity in 1..64_usize,
        ) {
            let (mut folder, mut now) = (DenialFolder::new(capacity), Instant::now());
            let (mut recorded, total) = (0, denials.len() as u64);
            for (event_type, host, about, pause) in denials {
                now += Duration::from_millis(pause / 20);
                let event_type = EventType::ALL[event_type];
                let mut denial = denial(event_type, &format!("192.0.2.{host}"), &about.to_string());
                denial.subject = (about % 3 == 1).then_some(Subject::Admin);
                denial.reason = (host % 3 == 0).then_some(if about % 2 == 0 { "a" } else { "b" });
                folder.add(denial, now);
                prop_assert!(folder.waiting.len() <= capacity + EventType::ALL.len());
                prop_assert_eq!(folder.waiting.len(), folder.order.len());
                prop_assert!(folder.subjects.len().max(folder.networks.len()) <= folder.waiting.len());
                if about == 0 {
                    recorded += folder.drain_about(&Subject::Admin, now).iter().map(|event| event.count).sum::<u64>();
                }
                recorded += folder.due(now).iter().map(|event| event.count).sum::<u64>();
                prop_assert!(folder.next_due().is_none_or(|due| due > now && due <= now + WINDOW));
            }
            recorded += folder.drain_all().iter().map(|event| event.count).sum::<u64>();
            prop_assert_eq!(recorded, total);
            prop_assert!(folder.subjects.is_empty() && folder.networks.is_empty() && folder.waiting.is_empty());
        }
    }
}

use std::collections::BTreeMap;

use agentwrit_verify::report::{InstanceId, ReportedBound, VerifierName};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    super::readiness::{InstanceName, is_obstacle},
    *,
};
use crate::{domain::KeyPurpose, keys::CustodyError};

const PREPARE_FOR: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);
const START: u64 = 1_800_000_000;

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(START + seconds)
}

fn key(kid: &str, state: KeyState, created: u64) -> StoredKey {
    StoredKey {
        kid: kid.into(),
        purpose: KeyPurpose::Token,
        public: Some([0; 32]),
        sealed: Vec::new(),
        state,
        created_at: at(created),
        activates_at: None,
        activated_at: (state != KeyState::Prepared).then(|| at(created)),
        retire_at: (state == KeyState::Retiring).then(|| at(created + 7200)),
        changed_at: at(created),
        cursor: 0,
    }
}

fn not_ready() -> Readiness {
    let verifier = VerifierName::parse("payments-api").unwrap();
    let missing = vec![InstanceName { verifier, instance: InstanceId::from_bytes([1; 16]) }];
    Readiness { missing, known_from: None }
}

fn facts<'a>(keys: &'a [StoredKey], now: u64, readiness: &'a Readiness) -> Facts<'a> {
    let (now, last_expiry) = (at(now), Some(at(5000)));
    Facts { keys, now, certain: now, last_expiry, prepare_for: PREPARE_FOR, readiness, unusable: &[] }
}

fn ready() -> Readiness {
    Readiness::default()
}

fn activation_of(kid: &str, ended: &str, retire_at: u64) -> Vec<Step> {
    vec![Step::EndSigning { kid: ended.into(), retire_at: at(retire_at) }, Step::Activate { kid: kid.into() }]
}

#[test]
fn activates_prepared_key_after_preparation_when_verifiers_have_it_or_by_force() {
    let (ready, lacking) = (ready(), not_ready());
    let keys = [key("a", KeyState::Active, 0), key("b", KeyState::Prepared, 100)];
    let early = KeyError::TooEarly { from: at(700) };
    assert_eq!(facts(&keys, 699, &ready).activate("b", false), Err(early));
    assert_eq!(facts(&keys, 700, &ready).activate("b", false), Ok(activation_of("b", "a", 5000 + 3600)));
    let error = facts(&keys, 700, &lacking).activate("b", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 instances of verifiers lack the key: payments-api/01010101010101010101010101010101"
    );
    assert_eq!(facts(&keys, 100, &lacking).activate("b", true), Ok(activation_of("b", "a", 5000 + 3600)));
    let unknown = Readiness { missing: Vec::new(), known_from: Some(at(800)) };
    assert_eq!(facts(&keys, 700, &unknown).activate("b", false), Err(KeyError::InstancesUnknown { from: at(800) }));
}

#[test]
fn activates_no_key_whose_private_half_does_not_open() {
    let ready = ready();
    let scheduled = StoredKey { activates_at: Some(at(700)), ..key("b", KeyState::Prepared, 100) };
    let keys = [key("a", KeyState::Active, 0), scheduled, key("c", KeyState::Retiring, 0)];
    let cause = CustodyError::Missing { kid: "b".into() };
    let unusable = ["b", "c"].map(|kid| UnusableKey {
        kid: kid.into(),
        state: KeyState::Prepared,
        cause: cause.clone(),
        verifies: true,
    });
    let facts = Facts { unusable: &unusable, ..facts(&keys, 800, &ready) };
    for (kid, force) in [("b", false), ("b", true), ("c", false)] {
        assert_eq!(facts.activate(kid, force), Err(KeyError::Unusable { cause: cause.to_string() }), "{kid} {force}");
    }
    assert_eq!(facts.withdraw("a"), Ok(vec![Step::Withdraw { kid: "a".into() }, Step::MakeActive]));
    assert_eq!(facts.withdraw("b"), Ok(vec![Step::Withdraw { kid: "b".into() }]));
    assert_eq!(facts.due(None), []);
    assert_eq!(facts.rotate(), Ok(vec![Step::Prepare { activates_at: Some(at(1400)) }]));
}

#[test]
fn preparation_lasts_longer_while_clock_is_ahead_of_certain_time() {
    let ready = ready();
    let keys = [key("a", KeyState::Active, 0), key("b", KeyState::Prepared, 100)];
    let ahead = Facts { certain: at(400), ..facts(&keys, 10_000, &ready) };
    assert_eq!(ahead.activate("b", false), Err(KeyError::TooEarly { from: at(10_300) }));
    let retiring = [key("a", KeyState::Retiring, 0), key("b", KeyState::Active, 100)];
    let ahead = Facts { certain: at(7199), ..facts(&retiring, 10_000, &ready) };
    assert_eq!(ahead.retire("a"), Err(KeyError::TokensAlive { until: at(10_001) }));
    assert_eq!(ahead.due(None), []);
}

#[test]
fn goes_back_to_retiring_key_at_once() {
    let (keys, lacking) = ([key("a", KeyState::Retiring, 0), key("b", KeyState::Active, 100)], not_ready());
    assert_eq!(facts(&keys, 200, &lacking).activate("a", false), Ok(activation_of("a", "b", 5000 + 3600)));
    // With no live token the key is retired an hour from now.
    let idle = Facts { last_expiry: None, ..facts(&keys, 200, &lacking) };
    assert_eq!(idle.activate("a", false), Ok(activation_of("a", "b", 200 + 3600)));
}

#[test]
fn retires_key_only_when_its_tokens_have_expired() {
    let ready = ready();
    let keys = [key("a", KeyState::Retiring, 0), key("b", KeyState::Active, 100), key("c", KeyState::Prepared, 100)];
    let retired = |kid: &str| Ok(vec![Step::Retire { kid: kid.into() }]);
    assert_eq!(facts(&keys, 7199, &ready).retire("a"), Err(KeyError::TokensAlive { until: at(7200) }));
    assert_eq!(facts(&keys, 7200, &ready).retire("a"), retired("a"));
    assert_eq!(facts(&keys, 7200, &ready).due(None), [Step::Retire { kid: "a".into() }]);
    assert_eq!(facts(&keys, 100, &ready).retire("c"), retired("c"));
    assert_eq!(facts(&keys, 7200, &ready).retire("b"), Err(KeyError::Active));
}

#[test]
fn withdrawal_of_active_key_activates_oldest_prepared_key_or_makes_one() {
    let ready = ready();
    let mut keys = vec![
        key("a", KeyState::Active, 0),
        key("c", KeyState::Prepared, 200),
        key("b", KeyState::Prepared, 100),
        key("d", KeyState::Withdrawn, 0),
    ];
    let withdraw = Step::Withdraw { kid: "a".into() };
    let next = Step::Activate { kid: "b".into() };
    assert_eq!(facts(&keys, 100, &ready).withdraw("a"), Ok(vec![withdraw.clone(), next]));
    assert_eq!(facts(&keys, 100, &ready).withdraw("b"), Ok(vec![Step::Withdraw { kid: "b".into() }]));
    assert_eq!(facts(&keys, 100, &ready).withdraw("d"), Ok(Vec::new()));
    assert_eq!(facts(&keys, 100, &ready).withdraw("x"), Err(KeyError::Unknown));
    keys.truncate(1);
    assert_eq!(facts(&keys, 100, &ready).withdraw("a"), Ok(vec![withdraw, Step::MakeActive]));
}

#[test]
fn rejects_changes_of_keys_that_are_not_published() {
    let ready = ready();
    let keys = [key("a", KeyState::Active, 0), key("r", KeyState::Retired, 0), key("w", KeyState::Withdrawn, 0)];
    let facts = facts(&keys, 100, &ready);
    for (kid, state) in [("r", KeyState::Retired), ("w", KeyState::Withdrawn)] {
        assert_eq!(facts.activate(kid, true), Err(KeyError::NotPublished { state }));
    }
    assert_eq!(facts.retire("w"), Err(KeyError::NotPublished { state: KeyState::Withdrawn }));
    assert_eq!((facts.retire("r"), facts.activate("a", false)), (Ok(Vec::new()), Ok(Vec::new())));
}

#[test]
fn rejects_65th_published_key() {
    let ready = ready();
    let mut keys = vec![key("active", KeyState::Active, 0), key("gone", KeyState::Retired, 0)];
    keys.extend((1..63).map(|n| key(&format!("k{n}"), KeyState::Retiring, 0)));
    assert_eq!(facts(&keys, 0, &ready).prepare(), Ok(vec![Step::Prepare { activates_at: None }]));
    keys.push(key("k63", KeyState::Retiring, 0));
    assert_eq!(facts(&keys, 0, &ready).prepare(), Err(KeyError::TooMany));
    assert_eq!(facts(&keys, 0, &ready).rotate(), Err(KeyError::TooMany));
    // The place of the withdrawn key is free.
    let steps = vec![Step::Withdraw { kid: "active".into() }, Step::MakeActive];
    assert_eq!(facts(&keys, 0, &ready).withdraw("active"), Ok(steps));
}

#[test]
fn rotation_uses_prepared_key_and_a_second_one_is_not_begun() {
    let (ready, lacking) = (ready(), not_ready());
    let mut keys = vec![key("a", KeyState::Active, 0)];
    let prepare = Step::Prepare { activates_at: Some(at(1600)) };
    assert_eq!(facts(&keys, 1000, &ready).rotate(), Ok(vec![prepare]));
    keys.push(key("b", KeyState::Prepared, 900));
    let schedule = Step::Schedule { kid: "b".into(), activates_at: at(1500) };
    assert_eq!(facts(&keys, 1000, &ready).rotate(), Ok(vec![schedule.clone()]));
    assert_eq!(facts(&keys, 1500, &ready).rotate(), Ok(activation_of("b", "a", 5000 + 3600)));
    let waits = Step::Schedule { kid: "b".into(), activates_at: at(2000) };
    assert_eq!(facts(&keys, 2000, &lacking).rotate(), Ok(vec![waits]));
    keys[1] = schedule.applied_to(&keys[1], at(1000));
    assert_eq!(facts(&keys, 1000, &ready).rotate(), Ok(Vec::new()));
    assert_eq!(facts(&keys, 1499, &ready).due(Some(DAY)), []);
    assert_eq!(facts(&keys, 1500, &lacking).due(Some(DAY)), []);
    assert_eq!(facts(&keys, 1500, &lacking).blocked().map(|key| key.kid.as_str()), Some("b"));
    assert_eq!(facts(&keys, 1560, &lacking).overdue(None), Duration::from_secs(60));
    assert_eq!(facts(&keys, 1500, &ready).due(None), activation_of("b", "a", 5000 + 3600));
}

#[test]
fn rotation_by_itself_begins_early_enough_to_activate_when_period_ends() {
    let ready = ready();
    let keys = [key("a", KeyState::Active, 0)];
    assert_eq!(facts(&keys, 85_799, &ready).due(Some(DAY)), []);
    assert_eq!(facts(&keys, 85_800, &ready).due(Some(DAY)), [Step::Prepare { activates_at: Some(at(86_400)) }]);
    assert_eq!(facts(&keys, 100_000, &ready).due(Some(DAY)), [Step::Prepare { activates_at: Some(at(100_600)) }]);
    assert_eq!(facts(&keys, 100_000, &ready).due(None), []);
    assert_eq!(facts(&keys, 86_500, &ready).overdue(Some(DAY)), Duration::from_secs(100));
    assert_eq!(facts(&keys, 86_500, &ready).overdue(None), Duration::ZERO);
}

#[test]
fn silent_instance_is_obstacle_within_its_bound_or_without_one() {
    let heard_at = at(0);
    assert!(is_obstacle(ReportedBound::Seconds(30), heard_at, at(149)));
    assert!(!is_obstacle(ReportedBound::Seconds(30), heard_at, at(150)));
    assert!(is_obstacle(ReportedBound::Seconds(300), heard_at, at(300)));
    assert!(!is_obstacle(ReportedBound::Seconds(300), heard_at, at(301)));
    assert!(is_obstacle(ReportedBound::Unbounded, heard_at, at(10_000_000)));
}

#[derive(Clone, Debug)]
enum Operation {
    Advance(u64),
    /// The clock is ahead of the time that has passed for certain.
    SetLag(u64),
    SetReady(bool),
    Issue(u64),
    Prepare,
    Activate(Index, bool),
    Retire(Index),
    Rotate,
    Withdraw(Index),
    /// Brokers that find out at once that something may be due.
    Due {
        brokers: u8,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = any::<Index>;
    prop_oneof![
        6 => (0_u64..7_200).prop_map(Operation::Advance),
        1 => (60_000_u64..120_000).prop_map(Operation::Advance),
        1 => prop_oneof![Just(0_u64), 0_u64..20_000].prop_map(Operation::SetLag),
        2 => any::<bool>().prop_map(Operation::SetReady),
        4 => (1_u64..86_400).prop_map(Operation::Issue),
        2 => Just(Operation::Prepare),
        3 => (index(), any::<bool>()).prop_map(|(key, force)| Operation::Activate(key, force)),
        2 => index().prop_map(Operation::Retire),
        3 => Just(Operation::Rotate),
        2 => index().prop_map(Operation::Withdraw),
        8 => (1_u8..4).prop_map(|brokers| Operation::Due { brokers }),
    ]
}

struct World {
    keys: Vec<StoredKey>,
    now: u64,
    lag: u64,
    is_ready: bool,
    /// Latest expiry of the tokens of each key.
    tokens: BTreeMap<String, UnixTime>,
}

impl World {
    fn certain(&self) -> UnixTime {
        at(self.now.saturating_sub(self.lag))
    }

    fn decide<T>(&self, decide: impl FnOnce(Facts<'_>) -> T) -> T {
        let readiness = if self.is_ready { ready() } else { not_ready() };
        decide(Facts {
            keys: &self.keys,
            now: at(self.now),
            certain: self.certain(),
            last_expiry: self.tokens.values().max().copied(),
            prepare_for: PREPARE_FOR,
            readiness: &readiness,
            unusable: &[],
        })
    }

    /// Applies a decision, as a broker does under the lock. `may_hurry` permits a key to sign before verifiers have it.
    fn apply(&mut self, steps: &[Step], may_hurry: bool) {
        let before = self.keys.clone();
        for step in steps {
            if let Some(kid) = step.kid() {
                let key = self.keys.iter_mut().find(|key| key.kid == kid).unwrap();
                *key = step.applied_to(key, at(self.now));
            } else {
                let made = key(&format!("k{:03}", self.keys.len()), KeyState::Prepared, self.now);
                self.keys.push(step.applied_to(&made, at(self.now)));
            }
        }
        self.check(&before, may_hurry);
    }

    fn check(&self, before: &[StoredKey], may_hurry: bool) {
        let count = |is: fn(KeyState) -> bool| self.keys.iter().filter(|key| is(key.state)).count();
        assert_eq!(count(|state| state == KeyState::Active), 1);
        assert!(count(KeyState::is_published) <= KeySet::MAX_KEYS);
        for key in &self.keys {
            let earlier = before.iter().find(|earlier| earlier.kid == key.kid).map(|earlier| earlier.state);
            let began_to_sign = key.state == KeyState::Active && matches!(earlier, None | Some(KeyState::Prepared));
            if began_to_sign && !may_hurry {
                assert!(earlier.is_some() && self.is_ready, "{key:?}");
                assert!(key.created_at.saturating_add(PREPARE_FOR) <= self.certain(), "{key:?}");
            }
            let left = key.state == KeyState::Retired && earlier.is_some_and(KeyState::is_published);
            if left && let Some(expiry) = self.tokens.get(&key.kid) {
                assert!(*expiry <= self.certain(), "{key:?} has tokens until {expiry:?}");
            }
            let came_back = key.state.is_published() && earlier.is_some_and(|state| !state.is_published());
            assert!(!came_back, "{key:?}");
        }
    }

    fn play(&mut self, operation: &Operation) {
        let kid = |index: &Index, keys: &[StoredKey]| keys[index.index(keys.len())].kid.clone();
        match *operation {
            Operation::Advance(seconds) => self.now += seconds,
            // The time that has passed for certain does not go back.
            Operation::SetLag(lag) if lag <= self.lag => self.lag = lag,
            Operation::SetLag(lag) => (self.now, self.lag) = (self.now + lag - self.lag, lag),
            Operation::SetReady(is_ready) => self.is_ready = is_ready,
            Operation::Issue(ttl) => {
                let active = self.decide(|facts| facts.active().unwrap().kid.clone());
                let expiry = self.tokens.entry(active).or_default();
                *expiry = (*expiry).max(at(self.now + ttl));
            }
            Operation::Prepare => {
                let steps = self.decide(|facts| facts.prepare()).unwrap_or_default();
                self.apply(&steps, false);
            }
            Operation::Activate(ref index, force) => {
                let kid = kid(index, &self.keys);
                let steps = self.decide(|facts| facts.activate(&kid, force)).unwrap_or_default();
                self.apply(&steps, force);
            }
            Operation::Retire(ref index) => {
                let kid = kid(index, &self.keys);
                let steps = self.decide(|facts| facts.retire(&kid)).unwrap_or_default();
                self.apply(&steps, false);
            }
            Operation::Rotate => {
                let steps = self.decide(|facts| facts.rotate()).unwrap_or_default();
                self.apply(&steps, false);
            }
            Operation::Withdraw(ref index) => {
                let kid = kid(index, &self.keys);
                let steps = self.decide(|facts| facts.withdraw(&kid)).unwrap();
                self.apply(&steps, true);
                assert!(!self.keys.iter().any(|key| key.kid == kid && key.state.is_published()));
            }
            Operation::Due { brokers } => {
                let mut acted = 0;
                for _ in 0..brokers {
                    let steps = self.decide(|facts| facts.due(Some(DAY)));
                    acted += usize::from(steps.iter().any(|step| !matches!(step, Step::Retire { .. })));
                    self.apply(&steps, false);
                }
                assert!(acted <= 1, "brokers that act one after another rotate once");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn one_key_is_active_and_none_signs_too_early_or_leaves_with_live_tokens(
        operations in vec(operation(), 1..120),
    ) {
        let mut world = World {
            keys: vec![key("k000", KeyState::Active, 0)],
            now: 0,
            lag: 0,
            is_ready: true,
            tokens: BTreeMap::new(),
        };
        for operation in operations {
            world.play(&operation);
        }
    }
}

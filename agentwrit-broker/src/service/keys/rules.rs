//! Rules for the states of signing keys: facts in, decision out.
//!
//! 1. Exactly one key is active.
//! 2. A key signs once it has been published for the configured time and every live instance of every enrolled verifier
//!    has it: a verifier without it would reject good tokens. An operator may force an activation. The withdrawal of the
//!    active key does not wait either: its successor signs at once.
//! 3. A key that has signed stays published until the tokens that it may have signed have expired, and an hour longer.
//!    Only a withdrawal ends it sooner.
//! 4. A rotation is a prepared key with a time of activation. Brokers decide on the rows under the lock, and none begins a
//!    rotation while there is such a key: so they rotate once.
//! 5. At most [`KeySet::MAX_KEYS`] keys are published.
//! 6. A key whose private half does not open is not activated, and keeps no other key from being changed. In place of a
//!    prepared one, a new key is made.
//!
//! Waiting periods are measured by the time that has passed for certain: a clock that is set ahead ends none of them.

use std::{cmp::Ordering, time::Duration};

use agentwrit_verify::{KeySet, UnixTime};

use super::{KeyError, readiness::Readiness};
use crate::{
    clock::RETENTION,
    domain::{KeyState, StoredKey},
    keys::UnusableKey,
};

/// State on which an operation is decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The signing keys.
    pub(crate) keys: &'a [StoredKey],
    /// Time of the operation.
    pub(crate) now: UnixTime,
    /// Time that has passed for certain.
    pub(crate) certain: UnixTime,
    /// Latest expiry of the tokens issued so far.
    pub(crate) last_expiry: Option<UnixTime>,
    /// Time for which a key is published before it signs.
    pub(crate) prepare_for: Duration,
    /// Verifiers that lack published keys.
    pub(crate) readiness: &'a Readiness,
    /// Published keys whose private halves do not open.
    pub(crate) unusable: &'a [UnusableKey],
}

/// Change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes a key and publishes it.
    Prepare { activates_at: Option<UnixTime> },
    /// Makes a key that signs at once, in place of one that is withdrawn.
    MakeActive,
    /// Begins a rotation to a prepared key.
    Schedule { kid: String, activates_at: UnixTime },
    /// Makes a published key the one that signs.
    Activate { kid: String },
    /// Ends signing with the active key.
    EndSigning { kid: String, retire_at: UnixTime },
    /// Takes a key that verifies nothing any more out of the key set.
    Retire { kid: String },
    /// Takes a key out of the key set, so that its tokens are rejected.
    Withdraw { kid: String },
}

impl Facts<'_> {
    /// Prepares a key for an activation by hand.
    pub(crate) fn prepare(&self) -> Result<Vec<Step>, KeyError> {
        self.check_room()?;
        Ok(vec![Step::Prepare { activates_at: None }])
    }

    /// Activates a prepared key, or goes back to a retiring one. Repeating it is harmless.
    pub(crate) fn activate(&self, kid: &str, force: bool) -> Result<Vec<Step>, KeyError> {
        let key = self.find(kid)?;
        match key.state {
            KeyState::Active => Ok(Vec::new()),
            // It was published, and signed, before.
            KeyState::Retiring => {
                self.check_usable(key)?;
                Ok(self.activation(key))
            }
            KeyState::Prepared => {
                self.check_usable(key)?;
                if !force {
                    self.check_known(key)?;
                }
                Ok(self.activation(key))
            }
            state @ (KeyState::Retired | KeyState::Withdrawn) => Err(KeyError::NotPublished { state }),
        }
    }

    /// Retires a retiring key whose tokens have expired, or a prepared one, which has signed none. Repeating it is harmless.
    pub(crate) fn retire(&self, kid: &str) -> Result<Vec<Step>, KeyError> {
        let key = self.find(kid)?;
        match key.state {
            KeyState::Active => Err(KeyError::Active),
            KeyState::Withdrawn => Err(KeyError::NotPublished { state: key.state }),
            KeyState::Retired => Ok(Vec::new()),
            KeyState::Retiring if !self.may_retire(key) => {
                // A retiring key always has the time.
                let until = key.retire_at.unwrap_or(self.now);
                Err(KeyError::TokensAlive { until: self.wall(until) })
            }
            KeyState::Retiring | KeyState::Prepared => Ok(vec![Step::Retire { kid: key.kid.clone() }]),
        }
    }

    /// Begins a rotation, to the key that was prepared first or to a new one. Repeating it while one goes on is harmless.
    pub(crate) fn rotate(&self) -> Result<Vec<Step>, KeyError> {
        if self.scheduled().is_some() {
            return Ok(Vec::new());
        }
        self.begin_rotation(self.now)
    }

    /// Withdraws a key, and those whose rows were put back as active. Another one signs if none is active then. Repeating it is
    /// harmless.
    pub(crate) fn withdraw(&self, kid: &str) -> Result<Vec<Step>, KeyError> {
        let key = self.find(kid)?;
        if key.state == KeyState::Withdrawn {
            return Ok(Vec::new());
        }
        let put_back = self.in_state(KeyState::Active).filter(|other| other.kid != key.kid && !self.is_in_force(other));
        let ended = [key].into_iter().chain(put_back).map(|key| Step::Withdraw { kid: key.kid.clone() });
        let successor = if self.all_in_force().any(|active| active.kid != key.kid) {
            None
        } else {
            let next =
                self.usable(KeyState::Prepared).filter(|next| next.kid != key.kid).min_by(|a, b| by_creation(a, b));
            Some(next.map_or(Step::MakeActive, |next| Step::Activate { kid: next.kid.clone() }))
        };
        Ok(ended.chain(successor).collect())
    }

    /// Returns the changes that are due without an operator: retirements, the activation of a rotation, and the beginning of the next
    /// one when the active key has signed for `period`.
    pub(crate) fn due(&self, period: Option<Duration>) -> Vec<Step> {
        let retiring = self.in_state(KeyState::Retiring).filter(|key| self.may_retire(key));
        let mut steps: Vec<Step> = retiring.map(|key| Step::Retire { kid: key.kid.clone() }).collect();
        if let Some(key) = self.scheduled() {
            if self.is_activation_due(key) && self.check_known(key).is_ok() {
                steps.extend(self.activation(key));
            }
        } else if let Some(due_at) = self.next_rotation(period)
            && due_at.saturating_sub(self.prepare_for) <= self.now
        {
            // Without room for a key the rotation begins once one is retired.
            steps.extend(self.begin_rotation(due_at).unwrap_or_default());
        }
        steps
    }

    /// Returns the time since which a rotation should have activated its key.
    pub(crate) fn overdue(&self, period: Option<Duration>) -> Duration {
        let due_at = match self.scheduled() {
            Some(key) => key.activates_at,
            None => self.next_rotation(period),
        };
        due_at.map_or(Duration::ZERO, |due_at| self.now.saturating_since(due_at))
    }

    /// Returns the key of a rotation that is due and waits for verifiers.
    pub(crate) fn blocked(&self) -> Option<&StoredKey> {
        self.scheduled().filter(|key| self.is_activation_due(key) && !self.readiness.is_ready())
    }

    /// Returns the active key.
    pub(crate) fn active(&self) -> Option<&StoredKey> {
        self.all_in_force().next()
    }

    /// Returns the key of the rotation that goes on.
    pub(crate) fn scheduled(&self) -> Option<&StoredKey> {
        let scheduled = self.usable(KeyState::Prepared).filter(|key| key.activates_at.is_some());
        scheduled.min_by_key(|key| (key.activates_at, key.created_at))
    }

    fn begin_rotation(&self, due_at: UnixTime) -> Result<Vec<Step>, KeyError> {
        if let Some(key) = self.first_prepared() {
            let activates_at = self.wall(key.created_at.saturating_add(self.prepare_for)).max(due_at);
            if activates_at <= self.now && self.check_known(key).is_ok() {
                return Ok(self.activation(key));
            }
            return Ok(vec![Step::Schedule { kid: key.kid.clone(), activates_at }]);
        }
        self.check_room()?;
        let activates_at = self.now.saturating_add(self.prepare_for).max(due_at);
        Ok(vec![Step::Prepare { activates_at: Some(activates_at) }])
    }

    fn activation(&self, key: &StoredKey) -> Vec<Step> {
        // Tokens that are issued later carry the new key: the lock orders them behind this decision.
        let last_expiry = self.last_expiry.unwrap_or_default().max(self.now);
        let ended = self.all_in_force().map(|active| Step::EndSigning {
            kid: active.kid.clone(),
            retire_at: last_expiry.saturating_add(RETENTION),
        });
        ended.chain([Step::Activate { kid: key.kid.clone() }]).collect()
    }

    /// Checks that verifiers and third parties have the key.
    fn check_known(&self, key: &StoredKey) -> Result<(), KeyError> {
        let known_at = key.created_at.saturating_add(self.prepare_for);
        if self.certain < known_at {
            return Err(KeyError::TooEarly { from: self.wall(known_at) });
        }
        self.readiness.check()
    }

    fn is_activation_due(&self, key: &StoredKey) -> bool {
        key.activates_at.is_some_and(|at| at <= self.now)
    }

    fn may_retire(&self, key: &StoredKey) -> bool {
        key.retire_at.is_some_and(|at| at <= self.certain)
    }

    fn next_rotation(&self, period: Option<Duration>) -> Option<UnixTime> {
        Some(self.active()?.activated_at?.saturating_add(period?))
    }

    /// Returns the time on the wall clock at which `time` will have passed for certain.
    fn wall(&self, time: UnixTime) -> UnixTime {
        self.now.saturating_add(time.saturating_since(self.certain))
    }

    fn check_room(&self) -> Result<(), KeyError> {
        let published = self.keys.iter().filter(|key| key.state.is_published()).count();
        if published < KeySet::MAX_KEYS { Ok(()) } else { Err(KeyError::TooMany) }
    }

    fn first_prepared(&self) -> Option<&StoredKey> {
        self.usable(KeyState::Prepared).min_by(|a, b| by_creation(a, b))
    }

    fn check_usable(&self, key: &StoredKey) -> Result<(), KeyError> {
        match self.unusable.iter().find(|unusable| unusable.kid == key.kid) {
            Some(unusable) => Err(KeyError::Unusable { cause: unusable.cause.to_string() }),
            None => Ok(()),
        }
    }

    fn usable(&self, state: KeyState) -> impl Iterator<Item = &StoredKey> {
        self.in_state(state).filter(|key| self.check_usable(key).is_ok())
    }

    /// Returns the active key, as an iterator over one key: rows of others may have been put back as active.
    fn all_in_force(&self) -> impl Iterator<Item = &StoredKey> {
        self.in_state(KeyState::Active).filter(|key| self.is_in_force(key))
    }

    fn is_in_force(&self, key: &StoredKey) -> bool {
        self.unusable.iter().all(|unusable| unusable.kid != key.kid || !unusable.is_active_in_row_only())
    }

    fn in_state(&self, state: KeyState) -> impl Iterator<Item = &StoredKey> {
        self.keys.iter().filter(move |key| key.state == state)
    }

    fn find(&self, kid: &str) -> Result<&StoredKey, KeyError> {
        self.keys.iter().find(|key| key.kid == kid).ok_or(KeyError::Unknown)
    }
}

fn by_creation(a: &StoredKey, b: &StoredKey) -> Ordering {
    (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid))
}

impl Step {
    /// Returns the row of the key after the step. The caller updates time and cursor of the change, and the secret.
    pub(crate) fn applied_to(&self, key: &StoredKey, now: UnixTime) -> StoredKey {
        let key = key.clone();
        match self {
            Self::Prepare { activates_at } => StoredKey {
                state: KeyState::Prepared,
                activates_at: *activates_at,
                activated_at: None,
                retire_at: None,
                ..key
            },
            Self::Schedule { activates_at, .. } => StoredKey { activates_at: Some(*activates_at), ..key },
            Self::MakeActive | Self::Activate { .. } => StoredKey {
                state: KeyState::Active,
                activates_at: None,
                activated_at: Some(now),
                retire_at: None,
                ..key
            },
            Self::EndSigning { retire_at, .. } => {
                StoredKey { state: KeyState::Retiring, retire_at: Some(*retire_at), ..key }
            }
            Self::Retire { .. } => StoredKey { state: KeyState::Retired, activates_at: None, ..key },
            Self::Withdraw { .. } => StoredKey { state: KeyState::Withdrawn, activates_at: None, ..key },
        }
    }

    /// Returns the id of the key that the step changes; `None` if it makes one.
    pub(crate) fn kid(&self) -> Option<&str> {
        match self {
            Self::Prepare { .. } | Self::MakeActive => None,
            Self::Schedule { kid, .. }
            | Self::Activate { kid }
            | Self::EndSigning { kid, .. }
            | Self::Retire { kid }
            | Self::Withdraw { kid } => Some(kid),
        }
    }
}

#[cfg(test)]
mod tests;

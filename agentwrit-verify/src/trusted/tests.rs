//! Tables of the keys in force: which keys have one, and when it is computed.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::{key_table, testing::TestIssuer, verifier::Verifier};

/// Returns keys of these seeds, decoded anew: they share nothing with those of another call.
fn keys(seeds: impl IntoIterator<Item = u8>) -> KeySet {
    let key = |seed| {
        let private = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        PublicKey::from_bytes(private.verifying_key().as_bytes()).unwrap()
    };
    KeySet::new(seeds.into_iter().map(key)).unwrap()
}

fn announcement(keys: &KeySet) -> KeyAnnouncement {
    KeyAnnouncement::new(keys.iter().map(|key| key.id().clone()), None).unwrap()
}

fn with_tables(keys: &KeySet) -> Vec<bool> {
    keys.iter().map(|key| key.table().is_some()).collect()
}

fn in_force(trusted: &TrustedKeys) -> Arc<KeySet> {
    trusted.key_set().unwrap()
}

/// Counts the tables that this thread computes from now on.
fn new_tables() -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    key_table::tests::on_new_table(move || counted.set(counted.get() + 1));
    count
}

#[test]
fn first_eight_keys_of_set_in_force_have_tables() {
    let set = keys(0..10);
    assert_eq!(set.tables(), 0, "not in force");
    let trusted = TrustedKeys::fixed(set.clone());
    assert_eq!(with_tables(&in_force(&trusted)), [true, true, true, true, true, true, true, true, false, false]);
    assert_eq!((in_force(&trusted).tables(), set.tables()), (8, 0));
    let plain = TrustedKeys::fixed(set.without_tables());
    assert_eq!(in_force(&plain).tables(), 0);
    assert_eq!(in_force(&plain), in_force(&trusted), "the same keys");
    let off = TrustedKeys::new(None, false);
    off.publish(set, Instant::now());
    assert_eq!(in_force(&off).tables(), 0);
}

#[test]
fn keys_of_sets_in_other_orders_have_eight_tables_at_most() {
    let trusted = TrustedKeys::fixed(keys(0..16));
    for start in 0..16 {
        trusted.publish(keys((0..16).map(|seed| (seed + start) % 16)), Instant::now());
        assert_eq!(in_force(&trusted).tables(), 8);
    }
    // A caller may take keys with their tables, and put them in force in any order.
    let taken = [0, 8].map(|first| in_force(&TrustedKeys::fixed(keys(first..first + 8))));
    let all = KeySet::new(taken.iter().flat_map(|set| set.iter()).rev().cloned()).unwrap();
    assert_eq!((all.tables(), in_force(&TrustedKeys::fixed(all.clone())).tables()), (16, 8));
}

#[test]
fn fetched_key_that_was_in_force_keeps_its_table() {
    let count = new_tables();
    let trusted = TrustedKeys::fixed(keys([1, 2]));
    let before = in_force(&trusted);
    trusted.publish(keys([3, 2, 1]), Instant::now());
    let after = in_force(&trusted);
    assert_eq!(count.get(), 3, "two, and one for the new key");
    for key in before.iter() {
        let (old, new) = (key.table().unwrap(), after.find(key.id()).unwrap().table().unwrap());
        assert!(Arc::ptr_eq(old, new));
    }
}

#[test]
fn table_is_computed_before_writers_are_locked_out() {
    let trusted = TrustedKeys::fixed(keys([1]));
    let (other, computed) = (trusted.clone(), Rc::new(Cell::new(false)));
    let reported = Rc::clone(&computed);
    key_table::tests::on_new_table(move || {
        assert!(other.shared.announced.try_lock().is_ok());
        reported.set(true);
    });
    trusted.publish(keys([2]), Instant::now());
    assert!(computed.get());
}

#[test]
fn key_has_its_table_when_it_is_announced_and_none_is_computed_then() {
    let (now, trusted) = (Instant::now(), TrustedKeys::fixed(keys([1])));
    let fresh_until = now + Duration::from_secs(60);
    trusted.announce(Some(&announcement(&keys([1]))), fresh_until, now);
    trusted.publish(keys([1, 2]), now);
    assert_eq!(in_force(&trusted).len(), 1, "the other key is not announced");
    let count = new_tables();
    trusted.announce(Some(&announcement(&keys([1, 2]))), fresh_until, now);
    assert_eq!((with_tables(&in_force(&trusted)), count.get()), (vec![true, true], 0));
}

#[test]
fn keys_in_force_and_unannounced_keys_have_eight_tables_together() {
    let (now, trusted) = (Instant::now(), TrustedKeys::fixed(keys(0..6)));
    let fresh_until = now + Duration::from_secs(60);
    trusted.announce(Some(&announcement(&keys(0..6))), fresh_until, now);
    // The keys that the set lacks stay in force.
    trusted.publish(keys(10..18), now);
    let for_feed = trusted.key_set_for_feed().unwrap();
    assert_eq!((in_force(&trusted).tables(), for_feed.tables(), for_feed.len()), (6, 8, 14));
    trusted.announce(Some(&announcement(&keys(10..18))), fresh_until, now);
    assert_eq!((in_force(&trusted).tables(), in_force(&trusted).len()), (2, 8));
    trusted.publish(keys(10..18), now);
    assert_eq!(in_force(&trusted).tables(), 8, "the next fetch computes the others");
}

#[test]
fn cached_token_does_not_hold_table_of_withdrawn_key() {
    let issuer = TestIssuer::new();
    let (token, trusted) = (issuer.token(&["a:b:c"]), TrustedKeys::fixed(issuer.key_set()));
    let builder = Verifier::builder().issuer(TestIssuer::ISSUER).keys(trusted.clone()).without_revocations();
    let verifier = builder.clock(issuer.clock().clone()).build();
    let table = Arc::downgrade(in_force(&trusted).iter().next().unwrap().table().unwrap());
    // A token is cached from its second verification on.
    let held = [(); 3].map(|()| verifier.verify_token(&token).unwrap());
    assert!(verifier.cached_tokens() == 1 && table.upgrade().is_some());
    trusted.publish(keys([9]), Instant::now());
    assert!(table.upgrade().is_none());
    assert!(held.iter().all(|held| held.recheck().is_err()));
}

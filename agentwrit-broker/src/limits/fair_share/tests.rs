use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn numbered(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

fn is_displaced(place: &Place) -> bool {
    place.displaced().now_or_never().is_some()
}

#[test]
fn rejects_address_beyond_its_share_until_it_releases_a_place() {
    let pool = FairPool::new(8, 2, Favour::Established);
    let first = pool.admit(address("192.0.2.1")).unwrap();
    let second = pool.admit(address("::ffff:192.0.2.1")).unwrap();
    assert!(pool.admit(address("192.0.2.1")).is_none());
    assert!(pool.admit(address("192.0.2.2")).is_some());
    drop(first);
    assert!(pool.admit(address("192.0.2.1")).is_some());
    assert!(!is_displaced(&second));
}

#[test]
fn counts_an_ipv6_network_of_64_bits_as_one_address() {
    let pool = FairPool::new(8, 1, Favour::Established);
    let _place = pool.admit(address("2001:db8:1:2::1")).unwrap();
    assert!(pool.admit(address("2001:db8:1:2:ffff::9")).is_none());
    assert!(pool.admit(address("2001:db8:1:3::1")).is_some());
}

#[test]
fn newcomer_to_a_full_pool_displaces_the_oldest_place_of_the_largest_holder() {
    let pool = FairPool::new(5, 4, Favour::Established);
    let small = [pool.admit(numbered(1)).unwrap()];
    let large: Vec<_> = (0..4).map(|_| pool.admit(numbered(2)).unwrap()).collect();
    let _newcomer = pool.admit(numbered(3)).unwrap();
    assert_eq!(large.iter().map(is_displaced).collect::<Vec<_>>(), [true, false, false, false]);
    assert!(!is_displaced(&small[0]));
}

#[test]
fn established_holders_keep_equal_shares() {
    let pool = FairPool::new(2, 2, Favour::Established);
    let places = [pool.admit(numbered(1)).unwrap(), pool.admit(numbered(2)).unwrap()];
    assert!(pool.admit(numbered(3)).is_none());
    assert!(!places.iter().any(is_displaced));
}

#[test]
fn favoured_newcomers_take_equal_shares_from_the_oldest() {
    let pool = FairPool::new(2, 1, Favour::Newcomers);
    let places = [pool.admit(numbered(1)).unwrap(), pool.admit(numbered(2)).unwrap()];
    let third = pool.admit(numbered(3)).unwrap();
    assert_eq!(places.each_ref().map(is_displaced), [true, false]);
    let _again = pool.admit(numbered(3)).unwrap();
    assert!(is_displaced(&third), "an address displaces its own place first");
}

#[test]
fn protected_place_is_not_displaced() {
    let pool = FairPool::new(3, 3, Favour::Established);
    let places: Vec<_> = (0..3).map(|_| pool.admit(numbered(1)).unwrap()).collect();
    places[0].protect(true);
    let _newcomer = pool.admit(numbered(2)).unwrap();
    assert_eq!(places.iter().map(is_displaced).collect::<Vec<_>>(), [false, true, false]);
    for place in &places {
        place.protect(true);
    }
    assert!(pool.admit(numbered(3)).is_none());
    places[0].protect(false);
    let _third = pool.admit(numbered(3)).unwrap();
    assert!(is_displaced(&places[0]));
}

#[test]
fn rejected_newcomer_displaces_no_place() {
    let pool = FairPool::new(10, 8, Favour::Established);
    let ignored = || {};
    let large = [3, 3].map(|weight| pool.admit_weight(numbered(1), weight, ignored).unwrap());
    let _other = pool.admit_weight(numbered(2), 4, ignored).unwrap();
    assert!(pool.admit_weight(numbered(3), 5, ignored).is_none(), "3 of 6 are not enough, 3 are not more than 5");
    assert!(!large.iter().any(is_displaced));
    assert_eq!(pool.lock().used, 10);
}

#[test]
fn calls_back_displaced_holder_once() {
    let pool = FairPool::new(4, 4, Favour::Newcomers);
    let called = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&called);
    let place = pool
        .admit_weight(numbered(1), 100, move || counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed))
        .unwrap();
    let _newcomer = pool.admit_weight(numbered(2), 100, || {}).unwrap();
    drop(place);
    assert_eq!((called.load(Ordering::Relaxed), pool.lock().used), (1, 4));
}

#[test]
fn exempt_places_count_towards_the_capacity_only() {
    let pool = FairPool::new(4, 1, Favour::Established);
    let exempt: Vec<_> = (0..4).map(|_| pool.admit_exempt().unwrap()).collect();
    assert!(pool.admit(numbered(1)).is_none() && pool.admit_exempt().is_none());
    drop(exempt);
    assert!(pool.admit(numbered(1)).is_some());
}

#[test]
fn empty_pool_keeps_no_address() {
    let pool = FairPool::new(8, 2, Favour::Established);
    drop(pool.admit(numbered(1)));
    let state = pool.lock();
    assert!(state.holders.is_empty() && state.used == 0);
}

proptest! {
    #[test]
    fn never_exceeds_capacity_and_admits_newcomer_when_others_hold_more(
        favour in prop_oneof![Just(Favour::Established), Just(Favour::Newcomers)],
        steps in proptest::collection::vec((any::<bool>(), 0_u8..6, 0_usize..64), 1..300),
    ) {
        let pool = FairPool::new(12, 5, favour);
        let mut places: Vec<(IpAddr, Place)> = Vec::new();
        for (arrives, client, index) in steps {
            if arrives {
                places.extend(pool.admit(numbered(client)).map(|place| (numbered(client), place)));
                places.retain(|(_, place)| !is_displaced(place));
            } else if !places.is_empty() {
                places.swap_remove(index % places.len());
            }
            let held = |client| places.iter().filter(|(address, _)| *address == numbered(client)).count();
            prop_assert_eq!(pool.lock().used, places.len());
            prop_assert!(places.len() <= 12 && (0..6).all(|client| held(client) <= 5));
            let newcomer = pool.admit(numbered(200));
            prop_assert!(newcomer.is_some(), "six addresses share twelve places: a seventh always finds one");
            drop(newcomer);
            places.retain(|(_, place)| !is_displaced(place));
        }
    }
}

#[test]
fn rejects_protection_of_displaced_place_and_keeps_protected_one() {
    let pool = FairPool::new(1, 1, Favour::Newcomers);
    let first = pool.admit(numbered(1)).unwrap();
    let second = pool.admit(numbered(2)).unwrap();
    assert!(!first.protect(true) && second.protect(true));
    assert!(pool.admit(numbered(3)).is_none(), "a protected place is not displaced");
    assert!(second.protect(false));
    assert!(pool.admit(numbered(3)).is_some());
}

#[test]
fn would_admit_tells_whether_a_place_is_given_and_changes_nothing() {
    let pool = FairPool::new(4, 4, Favour::Newcomers);
    let places = [1, 2].map(|number| pool.admit_weight(numbered(number), 2, || {}).unwrap());
    assert!(pool.would_admit(numbered(3), 2));
    assert!(!places.iter().any(is_displaced) && pool.lock().used == 4);
    for place in &places {
        place.protect(true);
    }
    assert!(!pool.would_admit(numbered(3), 2) && pool.lock().used == 4);
}

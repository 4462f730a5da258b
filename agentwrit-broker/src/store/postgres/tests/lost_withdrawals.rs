//! Withdrawals of signing keys that the database lost, and brokers that were restarted.

use std::fs;

use super::{
    lost_history::{Pair, catch_up, connect_with_keys, losses, states, withdraw_active_key},
    *,
};
use crate::{domain::KeyState, maintenance::lost_history::revoke_all, store::OnLoss};

fn state_file(pair: &Pair, name: &str) -> String {
    fs::read_to_string(pair.directory.path().join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_brokers_withdraw_key_again_that_database_lost() {
    let pair = Pair::start(|_| {});
    let react = || OnLoss::react(revoke_all);
    let (withdrawing, keys) = connect_with_keys(&pair, "a", react()).await;
    let (other, other_keys) = connect_with_keys(&pair, "b", react()).await;
    pair.disconnect_standby();
    let [first, next] = withdraw_active_key(&withdrawing, &keys).await;
    // A broker that is killed from now on knows it when it starts.
    assert!(state_file(&pair, "a").contains(&first));
    while other_keys.ring().active.id().as_str() != next {
        catch_up(&other).await;
    }
    while !state_file(&pair, "b").contains(&first) {
        tokio::task::yield_now().await;
    }
    withdrawing.close().await;
    other.close().await;
    pair.fail_over();

    // The one that did not make the withdrawal starts first.
    let (other, other_keys) = connect_with_keys(&pair, "b", react()).await;
    let after = states(&other).await;
    assert_eq!(after[0], (first.clone(), KeyState::Withdrawn));
    assert!(after.len() == 2 && after[1].1 == KeyState::Active, "{after:?}");
    assert_eq!(other_keys.ring().active.id().as_str(), after[1].0);
    let (withdrawing, keys) = connect_with_keys(&pair, "a", react()).await;
    assert_eq!(states(&withdrawing).await, after);
    assert_eq!(keys.ring().active.id().as_str(), after[1].0);
    assert_eq!(losses(&withdrawing).await.0, 1, "everything was revoked once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_stops_when_history_is_lost_withdraws_key_again_once_everything_is_revoked() {
    let pair = Pair::start(|_| {});
    let (stopping, keys) = connect_with_keys(&pair, "a", OnLoss::Stop).await;
    pair.disconnect_standby();
    let [first, _] = withdraw_active_key(&stopping, &keys).await;
    stopping.close().await;
    pair.fail_over();
    // Revokes everything, as `mark-restored` does, and knows of no withdrawal.
    fs::copy(pair.directory.path().join("a"), pair.directory.path().join("b")).unwrap();
    let revoking = connect_with(&pair.url(), pair.options("b", OnLoss::react(revoke_all)));
    assert_eq!(states(&revoking).await, [(first.clone(), KeyState::Active)], "the withdrawal is lost");
    revoking.close().await;
    let (stopping, keys) = connect_with_keys(&pair, "a", OnLoss::Stop).await;
    assert_eq!(states(&stopping).await[0], (first.clone(), KeyState::Withdrawn));
    assert!(keys.ring().published.iter().all(|key| key.id().as_str() != first));
}

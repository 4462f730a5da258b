//! Random histories of the services beside a model of which tokens are valid.
//!
//! 1. A history is a list of operations: logging in, registering agents, renewing, delegating, releasing, revoking at
//!    each level, changing and deregistering apps, letting time pass, housekeeping, and restarts on the same store.
//! 2. The model predicts whether each succeeds, and the limits of the new token: its scope within that of its parent,
//!    launch token and ceiling, its lifetime within its parent's, at most five hops.
//!    A token is bound to its subject's key if anything requires it, and no renewal or delegation loosens a binding.
//! 3. After every operation the model, the broker's own verifier and an offline verifier that knows the signed feed
//!    only agree about every token ever issued.
//! 4. The same holds for three brokers on one PostgreSQL database, each operation at one that is chosen at random.
//!
//! `PROPTEST_CASES=5000 cargo test -p agentwrit-broker --lib model` runs more; failures are kept in
//! `proptest-regressions/` and repeated first.

mod clock;
mod follower;
mod history;
mod model;
mod operation;
mod world;

use proptest::prelude::*;

use self::{history::History, operation::operations, world::World};

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn model_broker_and_offline_verifier_agree_about_every_token(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            History::begin(World::new().await).await.play_all(operations).await;
        });
    }
}

proptest! {
    // Each history has a database of its own, and three connections of brokers for each operation.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn model_and_brokers_of_one_database_agree_about_every_token(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            History::begin(World::shared(3).await).await.play_all(operations).await;
        });
    }
}

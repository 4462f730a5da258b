//! Time comes from the database: brokers whose own clocks are wrong stay correct.

use agentwrit_e2e::{Brokers, clock_offset, payload};
use agentwrit_verify::{Clock, SystemClock};

use crate::{SERVER, enrol};

#[tokio::test]
async fn tokens_of_brokers_with_clocks_a_minute_apart_carry_time_of_database() {
    let mut brokers = Brokers::prepare(&SERVER, 2, &[]).await;
    for (number, seconds) in [(0, 30), (1, -30)] {
        let variables = clock_offset(seconds);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        brokers.set(number, &variables);
        brokers.start_one(number).await;
    }
    let admin = brokers.at(1).admin_token().await;
    let mut last = 0;
    for round in 0..10 {
        let token = enrol(brokers.at(round % 2), &admin, "task-1").await.token;
        let issued_at = payload(&token)["iat"].as_u64().unwrap();
        assert!(issued_at >= last && issued_at.abs_diff(SystemClock.now().seconds()) <= 2, "{last} {issued_at}");
        last = issued_at;
        assert!(brokers.at((round + 1) % 2).accepts(&token).await);
    }
}

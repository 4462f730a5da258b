//! The task that rotates and retires signing keys when it is time.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::service::Services;

/// Interval at which it is found out whether something is due.
const INTERVAL: Duration = Duration::from_secs(2);

/// Rotates and retires signing keys.
pub(super) async fn run(services: Arc<Services>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.keys.run_due().await {
            services.metrics.db_error("keys");
            tracing::warn!(component = "signing", %error, "the signing keys were not looked after, it is tried again in 2 s");
        }
    }
}

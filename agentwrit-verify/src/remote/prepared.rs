//! A follower whose settings are checked: its initial fetch and its background tasks.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    RemoteError, Shared,
    feed::{self, request},
    fetch::Broker,
    keys::{self, KeyRefreshSchedule},
    report::{self, Reporter},
    save,
    state_file::StateFile,
};
use crate::{feed::Feed, http_client::random_fraction};

/// A follower that is about to follow.
pub(super) struct PreparedFollower {
    pub(super) shared: Arc<Shared>,
    pub(super) feed: Option<Arc<Mutex<Feed>>>,
    pub(super) broker: Broker,
    pub(super) schedule: KeyRefreshSchedule,
    pub(super) file: Option<StateFile>,
    /// True when an earlier run left keys and list, so that no initial fetch is needed.
    pub(super) resumed: bool,
    pub(super) reporter: Option<Arc<Reporter>>,
}

impl PreparedFollower {
    /// Fetches the first key set and the first list, then reports for the first time.
    pub(super) async fn fetch_initial(&self) -> Result<(), RemoteError> {
        self.fetch_keys_and_list().await?;
        match &self.reporter {
            Some(reporter) => reporter.report(&self.shared).await,
            None => Ok(()),
        }
    }

    /// Fetches the first key set, then the first list.
    async fn fetch_keys_and_list(&self) -> Result<(), RemoteError> {
        self.fetch_keys().await?;
        let Some(feed) = &self.feed else { return Ok(()) };
        self.fetch_first_list(feed).await?;
        // A key may have been prepared between the two requests.
        if self.shared.keys.misses_announced_key() {
            self.fetch_keys().await?;
        }
        Ok(())
    }

    async fn fetch_first_list(&self, feed: &Arc<Mutex<Feed>>) -> Result<(), RemoteError> {
        match self.fetch_list(feed).await {
            // The key was replaced between the two requests.
            Err(RemoteError::Feed { error, .. }) if error.needs_keys() => {
                self.fetch_keys().await?;
                self.fetch_list(feed).await
            }
            first => first,
        }
    }

    async fn fetch_keys(&self) -> Result<(), RemoteError> {
        self.shared.counters.key_fetches.add();
        let requested = self.shared.clock.monotonic();
        let keys = self.broker.key_set().await.inspect_err(|_| self.shared.counters.key_failures.add())?;
        self.shared.publish_keys(keys, requested);
        Ok(())
    }

    async fn fetch_list(&self, feed: &Arc<Mutex<Feed>>) -> Result<(), RemoteError> {
        self.shared.counters.feed_fetches.add();
        let response = self.broker.revocations(request(feed)).await;
        feed::apply_fetched(&self.shared, feed, self.broker.feed_name(), response).await.map(drop)
    }

    /// Writes the state file, if there is one.
    pub(super) fn save(&self) -> Result<(), RemoteError> {
        self.file.as_ref().map_or(Ok(()), |file| save::save(&self.shared, self.feed.as_deref(), file))
    }

    /// Follows in background tasks.
    pub(super) fn spawn(self) -> Vec<JoinHandle<()>> {
        self.tasks().into_iter().map(tokio::spawn).collect()
    }

    /// Follows in background tasks as soon as the broker has given keys and list.
    pub(super) fn spawn_after_initial_fetch(self) -> Vec<JoinHandle<()>> {
        vec![tokio::spawn(async move {
            let mut failures = 0_u32;
            while let Err(error) = self.fetch_keys_and_list().await {
                let pause = feed::RETRY.delay(failures, random_fraction());
                self.log_failed_fetch(&error, failures, pause);
                failures = failures.saturating_add(1);
                sleep(pause).await;
            }
            self.shared.log_readiness_change();
            if let Err(error) = self.save() {
                tracing::warn!(%error, "the state was not saved");
            }
            // Aborting this task drops the set, which aborts the tasks in it.
            let mut tasks: JoinSet<()> = JoinSet::new();
            for task in self.tasks() {
                tasks.spawn(task);
            }
            while tasks.join_next().await.is_some() {}
        })]
    }

    /// Warns of the first failures, then of ever fewer: the others are logged at level debug.
    fn log_failed_fetch(&self, error: &RemoteError, failures: u32, pause: Duration) {
        self.shared.log_readiness_change();
        let failures = failures.saturating_add(1);
        if failures.is_power_of_two() || failures.is_multiple_of(64) {
            tracing::warn!(%error, failures, "the broker could not be reached yet; trying again");
        } else {
            tracing::debug!(%error, ?pause, "the broker could not be reached yet; trying again");
        }
    }

    fn tasks(self) -> Vec<Task> {
        let Self { shared, feed, broker, schedule, file, resumed, reporter } = self;
        let mut tasks: Vec<Task> = Vec::new();
        if let Some(file) = file {
            tasks.push(Box::pin(save::save_on_change(
                Arc::clone(&shared),
                feed.clone(),
                file,
                shared.changes.subscribe(),
            )));
        }
        if let Some(feed) = feed {
            let (broker, name) = (broker.clone(), broker.feed_name().to_owned());
            let fetch = async move |request| broker.revocations(request).await;
            tasks.push(Box::pin(feed::follow(Arc::clone(&shared), feed, name, !resumed, random_fraction, fetch)));
        }
        if let Some(reporter) = reporter {
            tasks.push(Box::pin(report::follow(Arc::clone(&shared), reporter, random_fraction)));
        }
        if resumed {
            // The stored keys are confirmed as soon as may be.
            shared.key_requests.by_feed.notify_one();
        }
        let fetch = async move || broker.key_set().await;
        tasks.push(Box::pin(keys::follow(shared, schedule, random_fraction, fetch)));
        tasks
    }
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

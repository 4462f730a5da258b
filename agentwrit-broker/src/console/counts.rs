//! Numbers of the overview, which the store counts.
//!
//! 1. A count reads every live agent and token. It stands for [`LIFETIME`], and one runs at a time: pages that refresh themselves
//!    keep the store busy for a bounded part of the time, however many are open.
//! 2. A page that was requested while a count ran takes no older one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_protocol::EventType;
use agentwrit_verify::UnixTime;

use crate::{
    limits::single_flight::{Begun, SingleFlight},
    service::{Error, Services},
    store::{AgentFilter, Page, Reader, StoreError, TokenFilter, TokenPage},
};

/// Time for which a count stands.
pub(super) const LIFETIME: Duration = Duration::from_secs(1);
/// Period over which rejections are counted.
const REJECTIONS_SINCE: Duration = Duration::from_secs(3600);

/// Numbers that are read from the store.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) agents: u64,
    pub(super) tokens: u64,
    pub(super) launch_tokens: u64,
    pub(super) apps: u64,
    pub(super) suspended_apps: u64,
    pub(super) events: u64,
    /// Rejections by kind, the most frequent first.
    pub(super) rejections: Vec<(EventType, u64)>,
}

impl Counts {
    fn read(reader: &dyn Reader, now: UnixTime) -> Result<Self, StoreError> {
        // A limit of 0 counts, and reads no row.
        let (none, live_at) = (Page { limit: 0, offset: 0, after: 0 }, Some(now));
        let (_, agents) = reader.agents(&AgentFilter { live_at, ..AgentFilter::default() }, &none)?;
        let no_token = TokenPage { limit: 0, offset: 0, after: None };
        let (_, tokens) = reader.tokens(&TokenFilter { live_at, ..TokenFilter::default() }, &no_token)?;
        let (_, launch_tokens) = reader.launch_tokens(now, &none)?;
        let apps = reader.app_counts()?;
        let mut rejections = reader.denials_since(now.saturating_sub(REJECTIONS_SINCE))?;
        rejections.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(Self {
            agents,
            tokens,
            launch_tokens,
            apps: apps.active,
            suspended_apps: apps.suspended,
            events: reader.audit_total()?,
            rejections,
        })
    }
}

/// Counts for all pages that are shown at about the same time.
#[derive(Debug)]
pub(super) struct Counter(SingleFlight<(Instant, Arc<Counts>)>);

impl Counter {
    pub(super) fn new() -> Self {
        Self(SingleFlight::new(0))
    }

    /// Returns numbers that were counted less than [`LIFETIME`] ago.
    pub(super) async fn count(&self, services: &Arc<Services>) -> Result<Arc<Counts>, Error> {
        let is_usable = |(counted, _): &(Instant, Arc<Counts>), begun| {
            begun == Begun::AfterRequest || services.ledger.monotonic().saturating_duration_since(*counted) < LIFETIME
        };
        let counting = Arc::clone(services);
        let outcome = self.0.run(is_usable, move |_| async move {
            let turn = counting.pools.long_read().await;
            let (begun, now) = (counting.ledger.monotonic(), counting.ledger.now());
            let counts = counting.ledger.read(move |reader| {
                let _turn = turn;
                Counts::read(reader, now)
            });
            Ok::<_, StoreError>((begun, Arc::new(counts.await?)))
        });
        let (_, counts) = outcome.await.map_err(|error| StoreError::Internal { cause: error.to_string() })??;
        Ok(counts)
    }
}

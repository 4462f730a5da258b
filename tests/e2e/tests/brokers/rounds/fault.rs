//! The faults, one a round.

use std::{fs, sync::Arc, time::Duration};

use agentwrit_e2e::{Brokers, Numbers, clock_offset, signal};
use postgres_server::Stop;
use tempfile::TempDir;
use tokio::{task::block_in_place, time::sleep};

use super::{COUNT, Suite};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of a broker, which starts again.
    Kill,
    /// SIGSTOP of a broker for three seconds.
    Pause,
    /// `pg_terminate_backend` at random moments.
    TerminatedBackends,
    /// `pg_ctl stop -m immediate`, then a start.
    DatabaseCrash,
    /// A standby is promoted that lacks the last second.
    Promotion,
    /// Clocks of two brokers jump by up to 30 seconds while they run.
    Clocks,
    /// The network between a broker and the database refuses connections.
    Cut,
    /// The network between a broker and the database loses packets.
    Loss,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::Kill,
        Self::Pause,
        Self::TerminatedBackends,
        Self::DatabaseCrash,
        Self::Promotion,
        Self::Clocks,
        Self::Cut,
        Self::Loss,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "broker killed",
            Self::Pause => "broker stopped for 3 s",
            Self::TerminatedBackends => "backends terminated",
            Self::DatabaseCrash => "database crashed",
            Self::Promotion => "standby promoted without the last second",
            Self::Clocks => "clocks moved",
            Self::Cut => "network cut",
            Self::Loss => "packets lost",
        }
    }

    /// Strikes, and ends the fault.
    pub(super) async fn strike(self, suite: &mut Suite, numbers: &mut Numbers) {
        let number = numbers.below(COUNT);
        let moment = Duration::from_millis(100 + numbers.below(900) as u64);
        match self {
            Self::Kill => {
                suite.brokers.kill(number).await;
                sleep(moment).await;
                suite.brokers.start_one(number).await;
            }
            Self::Pause => {
                signal(suite.brokers.at(number), "STOP");
                sleep(Duration::from_secs(3)).await;
                signal(suite.brokers.at(number), "CONT");
            }
            Self::TerminatedBackends => {
                for _ in 0..12 {
                    block_in_place(|| terminate_one_backend(suite));
                    sleep(moment / 10).await;
                }
            }
            Self::DatabaseCrash => {
                block_in_place(|| suite.brokers.server.stop(Stop::Immediate));
                sleep(moment / 2).await;
                block_in_place(|| suite.brokers.server.start_again());
            }
            Self::Promotion => promote(suite).await,
            Self::Clocks => {
                for number in [number, (number + 1) % COUNT] {
                    let seconds = i64::try_from(numbers.below(61)).unwrap() - 30;
                    set_clock(&suite.clocks, number, seconds);
                }
                // A file is read once a second.
                sleep(Duration::from_millis(1500)).await;
            }
            Self::Cut => {
                suite.brokers.link(number).cut();
                sleep(moment).await;
                suite.brokers.link(number).restore();
            }
            Self::Loss => {
                suite.brokers.link(number).hold();
                sleep(moment * 3).await;
                suite.brokers.link(number).restore();
            }
        }
    }
}

/// Returns all faults in a random order.
pub(super) fn shuffled(numbers: &mut Numbers) -> Vec<Fault> {
    let mut faults = Fault::ALL.to_vec();
    for last in (1..faults.len()).rev() {
        faults.swap(last, numbers.below(last + 1));
    }
    faults
}

fn terminate_one_backend(suite: &Suite) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'agentwrit-broker' ORDER BY random() LIMIT 1";
    suite.brokers.server.query(&suite.brokers.database, sql);
}

/// The standby has everything up to its stop, and nothing of the second after it.
async fn promote(suite: &mut Suite) {
    let primary = Arc::clone(&suite.brokers.server);
    let standby = block_in_place(|| {
        let standby = primary.standby();
        standby.stop(Stop::Fast);
        standby
    });
    sleep(Duration::from_secs(1)).await;
    block_in_place(|| {
        primary.stop(Stop::Immediate);
        standby.start_again();
        standby.promote();
    });
    for number in 0..COUNT {
        suite.brokers.link(number).lead_to(standby.socket());
    }
    suite.brokers.server = Arc::new(standby);
    sleep(Duration::from_secs(1)).await;
}

/// Makes a broker read the offset of its clock from a file while it runs.
pub(super) fn follow_clock_file(brokers: &mut Brokers, clocks: &TempDir, number: usize) {
    let variables = clock_offset(0).into_iter().filter(|(name, _)| *name != "FAKETIME");
    let file = clocks.path().join(number.to_string()).to_str().unwrap().to_owned();
    let variables: Vec<_> =
        variables.chain([("FAKETIME_TIMESTAMP_FILE", file), ("FAKETIME_CACHE_DURATION", "1".to_owned())]).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    brokers.set(number, &variables);
}

pub(super) fn set_clock(clocks: &TempDir, number: usize, seconds: i64) {
    fs::write(clocks.path().join(number.to_string()), format!("{seconds:+}s\n")).unwrap();
}

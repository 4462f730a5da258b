//! Processor time that brokers and database spend on an operation.

use std::time::Duration;

use super::{Context, LoadError};
use crate::{
    process,
    report::{Report, milliseconds},
    tally::Tally,
    yardstick::{median, verification},
};

/// Processor times before an operation; then during it.
#[derive(Debug)]
pub(crate) struct Cost {
    brokers: Duration,
    database: Option<Duration>,
    verification: Tally,
}

impl Context {
    /// Starts to measure; none if the brokers' processes are unknown.
    pub(crate) fn start_cost(&self) -> Result<Option<Cost>, LoadError> {
        if self.broker_pids.is_empty() {
            return Ok(None);
        }
        let verification = verification()?;
        let (brokers, database) = self.processor_times()?;
        Ok(Some(Cost { brokers, database, verification }))
    }

    pub(crate) fn finish_cost(&self, before: Cost) -> Result<Cost, LoadError> {
        let (brokers, database) = self.processor_times()?;
        let mut yardstick = before.verification;
        yardstick.append(&verification()?);
        Ok(Cost {
            brokers: brokers.saturating_sub(before.brokers),
            database: database.zip(before.database).map(|(after, before)| after.saturating_sub(before)),
            verification: yardstick,
        })
    }

    fn processor_times(&self) -> Result<(Duration, Option<Duration>), LoadError> {
        let brokers = self.broker_pids.iter().map(|&pid| process::processor_time(pid)).sum::<Result<_, _>>()?;
        Ok((brokers, self.database_pid.map(process::family_time).transpose()?))
    }
}

impl Cost {
    /// Returns the part of a core that the brokers used.
    pub(crate) fn share(&self, took: Duration) -> f64 {
        self.brokers.as_secs_f64() / took.as_secs_f64()
    }

    /// Reports the processor times of each `operation`, also as multiples of one verification.
    pub(crate) fn report(&self, report: &mut Report, tally: &Tally, operation: &str) {
        let count = tally.find(operation).map_or(0, crate::histogram::Histogram::count);
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let yardstick = milliseconds(median(&self.verification, "Ed25519 verify"));
        report.add(&self.verification, 1, "");
        let times = [("broker", Some(self.brokers)), ("database", self.database)];
        for (process, time) in times.into_iter().filter_map(|(process, time)| Some((process, time?))) {
            let each = milliseconds(time / count);
            report.figure(format!("the {process}'s processor time per {operation}"), each * 1000.0, "µs");
            report.figure(
                format!("the {process}'s processor time per {operation} / Ed25519 verify"),
                each / yardstick,
                "",
            );
        }
    }
}

//! Processor time that the brokers spend on an operation.

use std::time::Duration;

use super::{Context, LoadError};
use crate::{
    process,
    report::{Report, milliseconds},
    tally::Tally,
    yardstick::{median, verification},
};

/// Processor time of the brokers before an operation; then during it.
#[derive(Debug)]
pub(crate) struct Cost {
    time: Duration,
    verification: Tally,
}

impl Context {
    /// Starts to measure; none if the brokers' processes are unknown.
    pub(crate) fn start_cost(&self) -> Result<Option<Cost>, LoadError> {
        if self.broker_pids.is_empty() {
            return Ok(None);
        }
        let verification = verification()?;
        Ok(Some(Cost { time: self.processor_time()?, verification }))
    }

    pub(crate) fn finish_cost(&self, before: Cost) -> Result<Cost, LoadError> {
        let Cost { time, verification: mut yardstick } = before;
        let time = self.processor_time()?.saturating_sub(time);
        yardstick.append(&verification()?);
        Ok(Cost { time, verification: yardstick })
    }

    fn processor_time(&self) -> Result<Duration, LoadError> {
        self.broker_pids.iter().map(|&pid| process::processor_time(pid)).sum()
    }
}

impl Cost {
    /// Reports the processor time of each `operation`, also as a multiple of one verification.
    pub(crate) fn report(&self, report: &mut Report, tally: &Tally, operation: &str) {
        let count = tally.find(operation).map_or(0, crate::histogram::Histogram::count);
        let each = self.time / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let yardstick = median(&self.verification, "Ed25519 verify");
        report.add(&self.verification, 1, "");
        report.figure(format!("the broker's processor time per {operation}"), milliseconds(each) * 1000.0, "µs");
        report.figure(
            format!("the broker's processor time per {operation} / Ed25519 verify"),
            milliseconds(each) / milliseconds(yardstick),
            "",
        );
    }
}

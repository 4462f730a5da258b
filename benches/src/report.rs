//! Tables that a benchmark prints.

use std::io::{self, Write};

use crate::rounds::Series;

/// Prints one table: the time of each contender, and its ratio to the first.
///
/// # Errors
///
/// If the output cannot be written.
pub fn table(out: &mut impl Write, title: &str, series: &[Series]) -> io::Result<()> {
    let Some(first) = series.first() else { return Ok(()) };
    writeln!(out, "\n{title}")?;
    writeln!(out, "  {:<44} {:>12} {:>23} {:>9}", "", "median", "10th..90th percentile", "ratio")?;
    for contender in series {
        let (low, high) = contender.spread();
        let spread = format!("{}..{}", time(low), time(high));
        let ratio = contender.ratio_to(first);
        writeln!(out, "  {:<44} {:>12} {spread:>23} {ratio:>9.3}", contender.name, time(contender.median()))?;
    }
    Ok(())
}

/// Target of this project.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Subject of the target.
    pub name: &'static str,
    /// Measured figure.
    pub measured: f64,
    /// Upper or lower bound.
    pub bound: Bound,
}

/// Kind of bound.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// Upper bound.
    AtMost(f64),
    /// Lower bound.
    AtLeast(f64),
}

/// Prints the targets with their results. Returns `true` if all are met.
///
/// # Errors
///
/// If the output cannot be written.
pub fn verdicts(out: &mut impl Write, targets: &[Target]) -> io::Result<bool> {
    writeln!(out, "\nTargets")?;
    writeln!(out, "  {:<58} {:>10} {:>13}", "", "measured", "target")?;
    for target in targets {
        let (sign, bound) = match target.bound {
            Bound::AtMost(bound) => ("<=", bound),
            Bound::AtLeast(bound) => (">=", bound),
        };
        let verdict = if target.is_met() { "met" } else { "MISSED" };
        writeln!(out, "  {:<58} {:>10.3} {sign:>5} {bound:>7} {verdict}", target.name, target.measured)?;
    }
    Ok(targets.iter().all(Target::is_met))
}

impl Target {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(bound) => self.measured <= bound,
            Bound::AtLeast(bound) => self.measured >= bound,
        }
    }
}

fn time(nanoseconds: f64) -> String {
    if nanoseconds < 10_000.0 { format!("{nanoseconds:.1} ns") } else { format!("{:.2} us", nanoseconds / 1000.0) }
}

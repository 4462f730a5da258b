//! The tables that a benchmark prints.

use std::io::{self, Write};

use crate::rounds::Series;

/// One table: what each contender took, beside the first of them.
///
/// # Errors
///
/// If it cannot be written.
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

/// A figure that this project has set itself.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is about.
    pub name: &'static str,
    /// What was measured.
    pub measured: f64,
    /// What it may be at most, or should be at least.
    pub bound: Bound,
}

/// On which side of a target is right.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// This much or less.
    AtMost(f64),
    /// This much or more.
    AtLeast(f64),
}

/// The targets, and whether they are met. True if all are.
///
/// # Errors
///
/// If it cannot be written.
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

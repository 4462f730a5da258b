//! Conversion of the library's `OpenMetrics` text to Prometheus' text format.
//!
//! The two differ, for these metrics, in the names in `HELP` and `TYPE` lines of counters (without and with `_total`) and
//! in the end mark.

use std::collections::HashSet;

pub(super) fn from_openmetrics(openmetrics: &str) -> String {
    let counters: HashSet<&str> =
        openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        match described(line) {
            Some((head, name, tail)) if counters.contains(name) => text.extend([head, name, "_total ", tail]),
            Some(_) | None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// `# TYPE name counter` as `# TYPE `, `name`, `counter`.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = line.split_at_checked("# TYPE ".len())?;
    let (name, tail) = rest.split_once(' ')?;
    matches!(head, "# TYPE " | "# HELP ").then_some((head, name, tail))
}

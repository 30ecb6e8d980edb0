//! The printed figures.

use std::fmt;

use crate::wrk::Measured;

/// Rows in the order they were measured.
#[derive(Default)]
pub struct Table(Vec<[String; 5]>);

const HEADER: [&str; 5] = ["", "requests/s", "logs/s", "p99 ms", "ratio"];

impl Table {
    /// A measurement of the host; `ratio` is to the first of its kind.
    pub fn row(&mut self, name: &str, measured: &Measured, ratio: f64) {
        self.0.push([
            name.to_owned(),
            format!("{:.0}", measured.requests_per_second),
            format!("{:.0}", measured.logs_per_second),
            format!("{:.2}", measured.p99_ms),
            format!("{ratio:.2}"),
        ]);
    }

    /// A measurement that has only a rate of logs.
    pub fn rate(&mut self, name: &str, logs_per_second: f64, ratio: f64) {
        let none = || "-".to_owned();
        self.0.push([
            name.to_owned(),
            none(),
            format!("{logs_per_second:.0}"),
            none(),
            format!("{ratio:.2}"),
        ]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = HEADER.map(str::to_owned);
        for [name, requests, logs, p99, ratio] in std::iter::once(&header).chain(&self.0) {
            writeln!(f, "{name:<44} {requests:>12} {logs:>12} {p99:>8} {ratio:>6}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_headers() {
        let mut table = Table::default();
        table.rate("worker", 1234.5, 0.5);
        let text = table.to_string();
        let ends: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(ends.first(), ends.last());
        assert!(text.contains("1234") && text.contains("0.50"), "{text}");
    }
}

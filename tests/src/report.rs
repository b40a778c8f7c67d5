//! Reports of bench and lab: for programs as JSON, for people as a table.
//!
//! The format is stable: `{"conditions": {..}, "rows": [{"name", "unit", "min", "median", "p99",
//! "worst", "runs", "violations"}]}`, each row with those fields that apply. Row names keep their
//! meaning from release to release.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// Everything one command has measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Under which conditions: machine, kernel, settings, seed.
    pub conditions: BTreeMap<String, Value>,
    /// What was measured, in order.
    pub rows: Vec<Row>,
}

/// One measured thing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// Stable name.
    pub name: String,
    /// Unit of `min`, `median`, `p99` and `worst`; or what `runs` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Smallest sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Middle sample (lower middle of an even number).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// Smallest sample that at least 99 % of all do not exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Largest sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<f64>,
    /// How often it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// How often it broke what it promises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violations: Option<u64>,
}

impl Row {
    /// A row of samples. No samples give a row with `runs` 0 and no figures.
    pub fn samples(name: &str, unit: &str, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at_rank = |percent: usize| {
            // Nearest rank: the ceiling of percent * n / 100, counted from 1.
            let rank = (percent * sorted.len()).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().map(round)
        };
        Self {
            name: name.to_owned(),
            unit: Some(unit.to_owned()),
            min: sorted.first().copied().map(round),
            median: at_rank(50),
            p99: at_rank(99),
            worst: sorted.last().copied().map(round),
            runs: Some(sorted.len() as u64),
            violations: None,
        }
    }

    /// A row of a promise: kept `runs` times but for `violations`.
    pub fn promise(name: &str, unit: &str, runs: u64, violations: u64) -> Self {
        Self {
            name: name.to_owned(),
            unit: Some(unit.to_owned()),
            runs: Some(runs),
            violations: Some(violations),
            ..Self::default()
        }
    }

    /// The row, unless it is one of no samples.
    pub fn of_something(self) -> Option<Self> {
        (self.runs != Some(0)).then_some(self)
    }

    /// The row with a count of violations.
    pub fn with_violations(self, violations: u64) -> Self {
        Self { violations: Some(violations), ..self }
    }
}

/// Three decimals: more would claim a precision that no measurement here has.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Report {
    /// A report that knows the machine it was made on.
    pub fn new() -> Self {
        let mut report = Self::default();
        let read = |path: &str| {
            fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        report.condition("kernel", read("/proc/sys/kernel/osrelease"));
        report.condition("cpus_len", std::thread::available_parallelism().map_or(1, |n| n.get()));
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
        report.condition("cpu", model.unwrap_or_default());
        report.condition("version", env!("CARGO_PKG_VERSION"));
        report
    }

    /// States a condition.
    pub fn condition(&mut self, name: &str, value: impl Into<Value>) {
        self.conditions.insert(name.to_owned(), value.into());
    }

    /// Sum of all violations.
    pub fn violations(&self) -> u64 {
        self.rows.iter().filter_map(|row| row.violations).sum()
    }

    /// Writes JSON to `json`, or the table to standard output without it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn emit(&self, json: Option<&Path>) -> Result<()> {
        match json {
            None => println!("{self}"),
            Some(path) => {
                let text = serde_json::to_string_pretty(self).context("a report as JSON")?;
                fs::write(path, text + "\n")
                    .with_context(|| format!("write the report to {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.conditions {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(f, "{name}: {text}")?;
        }
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
        writeln!(
            f,
            "\n{:width$}  {:>9} {:>9} {:>9} {:>9}  {:<8} {:>8} {:>10}",
            "name", "min", "median", "p99", "worst", "unit", "runs", "violations"
        )?;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value}"));
        let count = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        for row in &self.rows {
            writeln!(
                f,
                "{:width$}  {:>9} {:>9} {:>9} {:>9}  {:<8} {:>8} {:>10}",
                row.name,
                number(row.min),
                number(row.median),
                number(row.p99),
                number(row.worst),
                row.unit.as_deref().unwrap_or("-"),
                count(row.runs),
                count(row.violations),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_at_the_nearest_rank() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let row = Row::samples("x", "ms", &samples);
        assert_eq!(
            (row.min, row.median, row.p99, row.worst, row.runs),
            (Some(1.0), Some(100.0), Some(198.0), Some(200.0), Some(200))
        );
    }

    #[test]
    fn no_samples_give_no_figures() {
        let row = Row::samples("x", "ms", &[]);
        assert_eq!((row.min, row.median, row.p99, row.worst), (None, None, None, None));
        assert_eq!(row.runs, Some(0));
    }

    #[test]
    fn json_leaves_out_what_does_not_apply() {
        let row = Row::promise("moves", "moves", 100, 0);
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"name":"moves","unit":"moves","runs":100,"violations":0}"#);
    }
}

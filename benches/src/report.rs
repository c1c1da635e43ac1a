//! What was measured, as JSON has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chassis_engine_api::Profile;
use chassis_engines::open;
use serde::Serialize;

use crate::catalogue::{Group, Measurement};
use crate::machine::Machine;
use crate::run::Settings;
use crate::stats::Summary;
use crate::subject::{Subject, Via};

/// The name of the JSON form.
pub const SCHEMA: &str = "chassis/bench-engines/v1";

/// Everything that was measured, with what is needed to understand it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The version of Chassis.
    pub chassis: &'static str,
    /// `release`, or `debug` for a build without optimisation, whose numbers mean little.
    pub build: &'static str,
    /// When it ended: RFC 3339, UTC.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// How.
    pub settings: SettingsInfo,
    /// The engines.
    pub engines: Vec<EngineInfo>,
    /// The results; times are in nanoseconds for one operation.
    pub measurements: Vec<Row>,
}

/// How it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct SettingsInfo {
    /// Seconds for each measurement.
    pub seconds: f64,
    /// How many rounds there were at least.
    pub least_rounds: usize,
}

/// An engine that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct EngineInfo {
    /// Its name.
    pub name: &'static str,
    /// Its version; `None` if it could not be opened.
    pub version: Option<&'static str>,
    /// Whether it runs machine code.
    pub native_code: Option<bool>,
}

/// One measurement on all subjects.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The measurement's unique name.
    pub id: String,
    /// Its group.
    pub group: &'static str,
    /// What a reader sees.
    pub name: String,
    /// What is done.
    pub what: String,
    /// The unit of all its numbers: `ns`.
    pub unit: &'static str,
    /// In the order of the subjects; without those for which it means nothing.
    pub results: Vec<Cell>,
}

/// One measurement on one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The subject's name.
    pub subject: String,
    /// Its engine.
    pub engine: &'static str,
    /// `chassis`, `native` or `by_hand`.
    pub via: &'static str,
    /// The numbers; `None` if there are none, for a reason.
    #[serde(flatten)]
    pub summary: Option<Summary>,
    /// The median by the least median of the engines through Chassis.
    pub ratio: Option<f64>,
    /// Through Chassis: the median by that of the same engine by hand.
    pub by_hand_ratio: Option<f64>,
    /// Why there are no numbers.
    pub reason: Option<String>,
}

impl Report {
    pub(crate) fn new(subjects: &[Subject], settings: &Settings, measurements: Vec<Row>) -> Self {
        let engines = subjects.iter().filter(|subject| subject.via == Via::Chassis).map(|subject| {
            let capabilities = open(subject.engine, Profile::Deadline).ok().map(|engine| engine.capabilities());
            EngineInfo {
                name: subject.engine,
                version: capabilities.map(|capabilities| capabilities.version),
                native_code: capabilities.map(|capabilities| capabilities.native_code),
            }
        });
        Report {
            schema: SCHEMA,
            chassis: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            date: rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            machine: Machine::this(),
            settings: SettingsInfo { seconds: settings.time.as_secs_f64(), least_rounds: settings.least_rounds },
            engines: engines.collect(),
            measurements,
        }
    }

    /// The rows of a group.
    pub fn group(&self, group: Group) -> impl Iterator<Item = &Row> {
        self.measurements.iter().filter(move |row| row.group == group.as_str())
    }

    /// How many cells have no numbers although they should.
    pub fn failures(&self) -> usize {
        self.measurements.iter().flat_map(|row| &row.results).filter(|cell| cell.reason.is_some()).count()
    }
}

impl Row {
    pub(crate) fn new(measurement: &Measurement, mut results: Vec<Cell>) -> Self {
        let through = results.iter().filter(|cell| cell.via == Via::Chassis.as_str());
        let best = through.filter_map(Cell::median).min_by(f64::total_cmp);
        let by_hand: Vec<(&str, f64)> = results
            .iter()
            .filter(|cell| cell.via == Via::ByHand.as_str())
            .filter_map(|cell| Some((cell.engine, cell.median()?)))
            .collect();
        for cell in &mut results {
            let divided = |by: f64| cell.median().filter(|_| by > 0.0).map(|median| median / by);
            let hand = by_hand.iter().find(|(engine, _)| *engine == cell.engine && cell.via == Via::Chassis.as_str());
            let (ratio, by_hand_ratio) = (best.and_then(divided), hand.and_then(|(_, by_hand)| divided(*by_hand)));
            (cell.ratio, cell.by_hand_ratio) = (ratio, by_hand_ratio);
        }
        Row {
            id: measurement.id.clone(),
            group: measurement.group.as_str(),
            name: measurement.name.clone(),
            what: measurement.what.clone(),
            unit: "ns",
            results,
        }
    }

    /// The result of a subject.
    pub fn of(&self, subject: &str) -> Option<&Cell> {
        self.results.iter().find(|cell| cell.subject == subject)
    }
}

impl Cell {
    pub(crate) fn new(subject: Subject, summary: Option<Summary>, reason: Option<String>) -> Self {
        Cell {
            subject: subject.name(),
            engine: subject.engine,
            via: subject.via.as_str(),
            summary,
            ratio: None,
            by_hand_ratio: None,
            reason,
        }
    }

    /// The median in nanoseconds.
    pub fn median(&self) -> Option<f64> {
        self.summary.map(|summary| summary.median)
    }
}

/// A time in the unit that suits it, with three figures: `23.4 ns`, `1.05 ms`.
pub fn time_text(nanos: f64) -> String {
    let (number, unit) = match nanos {
        n if n < 999.5 => (n, "ns"),
        n if n < 999.5e3 => (n / 1e3, "µs"),
        n if n < 999.5e6 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

/// Seconds since 1970 as `2026-11-21T17:47:17Z` (H. Hinnant's days-to-date rule).
fn rfc3339(since: Duration) -> String {
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::measurements;

    #[test]
    fn times_have_three_figures_and_a_fitting_unit() {
        let texts = [0.5, 9.996, 23.44, 999.4, 999.6, 1.05e6, 2.5e9].map(time_text);
        assert_eq!(texts, ["0.50 ns", "10.0 ns", "23.4 ns", "999 ns", "1.00 µs", "1.05 ms", "2.50 s"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_826_154), "2000-02-29T12:09:14Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn ratios_are_to_the_best_engine_and_to_the_same_engine_by_hand() {
        let cell = |engine, via, median: f64| Cell::new(Subject { engine, via }, Summary::of(&[median]), None);
        let cells = vec![
            cell("wasmtime", Via::Chassis, 30.0),
            cell("wasmi", Via::Chassis, 90.0),
            cell("native", Via::Native, 15.0),
            cell("wasmtime", Via::ByHand, 20.0),
        ];
        let row = Row::new(&measurements(Some("call/callback"))[0], cells);
        let ratios: Vec<_> = row.results.iter().map(|cell| (cell.ratio, cell.by_hand_ratio)).collect();
        let expected = [(Some(1.0), Some(1.5)), (Some(3.0), None), (Some(0.5), None), (Some(2.0 / 3.0), None)];
        assert_eq!(ratios, expected);
    }

    #[test]
    fn json_has_the_numbers_beside_the_subject() {
        let subject = Subject { engine: "native", via: Via::Native };
        let with = serde_json::to_value(Cell::new(subject, Summary::of(&[2.0]), None)).unwrap();
        assert_eq!((with["subject"].as_str(), with["median"].as_f64()), (Some("native"), Some(2.0)));
        let without = serde_json::to_value(Cell::new(subject, None, Some("broken".to_owned()))).unwrap();
        assert!(without.get("median").is_none() && without["reason"] == "broken");
    }
}

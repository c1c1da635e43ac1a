//! The measuring.

use std::time::{Duration, Instant};

use crate::catalogue::Measurement;
use crate::report::{Cell, Report, Row};
use crate::stats::Summary;
use crate::subject::Subject;
use crate::work::{Prepared, Unable, prepare};

/// How it is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How long one measurement takes, all engines together. One whose rounds are longer takes at least
    /// [`Settings::least_rounds`] of them.
    pub time: Duration,
    /// How many rounds there are at least.
    pub least_rounds: usize,
}

impl Default for Settings {
    /// A second and 11 rounds.
    fn default() -> Self {
        Settings { time: Duration::from_secs(1), least_rounds: 11 }
    }
}

impl Settings {
    /// A first look: a tenth of a second and 5 rounds.
    pub fn quick() -> Self {
        Settings { time: Duration::from_millis(100), least_rounds: 5 }
    }

    /// So much time for each measurement.
    pub fn with_time(time: Duration) -> Self {
        Settings { time, ..if time < Settings::default().time { Settings::quick() } else { Settings::default() } }
    }
}

/// What is about to be done.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Which measurement it is, counted from 0.
    pub index: usize,
    /// How many there are.
    pub total: usize,
    /// The measurement.
    pub measurement: &'a Measurement,
}

/// How many rounds are wanted; the time is divided among them.
const ROUNDS: u32 = 25;
const MOST_ROUNDS: usize = 401;
/// The bounds of one sample.
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(50);
/// By how much the least number of rounds may take longer than the time that there is.
const PATIENCE: u32 = 20;

/// Measures everything on every subject. Whatever goes wrong stands in the report.
pub fn measure(
    measurements: &[Measurement],
    subjects: &[Subject],
    settings: &Settings,
    mut progress: impl FnMut(Progress<'_>),
) -> Report {
    let mut rows = Vec::with_capacity(measurements.len());
    for (index, measurement) in measurements.iter().enumerate() {
        progress(Progress { index, total: measurements.len(), measurement });
        rows.push(row(measurement, subjects, settings));
    }
    Report::new(subjects, settings, rows)
}

/// A subject in the rounds of one measurement.
struct Side {
    subject: Subject,
    prepared: Option<Prepared>,
    /// How often it is done in one sample.
    times: u64,
    samples: Vec<f64>,
    reason: Option<String>,
}

fn row(measurement: &Measurement, subjects: &[Subject], settings: &Settings) -> Row {
    let mut sides: Vec<Side> = subjects.iter().filter_map(|subject| side(measurement, *subject)).collect();
    let running = sides.iter().filter(|side| side.prepared.is_some()).count().max(1) as u32;
    let slice = (settings.time / running / ROUNDS).clamp(SHORTEST, LONGEST);
    for side in &mut sides {
        side.warm_up(slice);
    }
    let begin = Instant::now();
    for round in 0..MOST_ROUNDS {
        let spent = begin.elapsed();
        let enough = round >= settings.least_rounds && spent >= settings.time;
        if enough || (round > 0 && spent >= settings.time * PATIENCE) {
            break;
        }
        // Interleaved, and each round begins with another one: what disturbs the machine disturbs all alike.
        let first = round % sides.len().max(1);
        let (after, before) = sides.split_at_mut(first);
        before.iter_mut().chain(after).for_each(Side::sample);
    }
    Row::new(measurement, sides.into_iter().map(Side::cell).collect())
}

/// `None` where the measurement means nothing.
fn side(measurement: &Measurement, subject: Subject) -> Option<Side> {
    let (prepared, reason) = match prepare(measurement, subject) {
        Ok(prepared) => (Some(prepared), None),
        Err(Unable::Because(reason)) => (None, Some(reason)),
        Err(Unable::NotMeaningful) => return None,
    };
    Some(Side { subject, prepared, times: 1, samples: Vec::new(), reason })
}

impl Side {
    /// Runs until caches and branch predictors know the work, and finds out how often it fits the slice.
    fn warm_up(&mut self, slice: Duration) {
        let begin = Instant::now();
        loop {
            let Some(spent) = self.run() else { return };
            let fits = slice.as_secs_f64() / spent.as_secs_f64().max(1e-9);
            if spent >= slice / 2 || (begin.elapsed() >= slice * 4 && fits < 2.0) {
                self.times = ((self.times as f64 * fits) as u64).max(1);
                return;
            }
            self.times = (self.times as f64 * fits.clamp(2.0, 50.0)) as u64;
        }
    }

    fn sample(&mut self) {
        if let Some(spent) = self.run() {
            self.samples.push(spent.as_nanos() as f64 / self.times as f64);
        }
    }

    fn run(&mut self) -> Option<Duration> {
        match self.prepared.as_mut()?.run(self.times) {
            Ok(spent) => Some(spent),
            Err(reason) => {
                self.reason = Some(reason);
                self.prepared = None;
                None
            }
        }
    }

    /// A side that failed half way has no numbers: they would be of another state.
    fn cell(self) -> Cell {
        let summary = if self.reason.is_none() { Summary::of(&self.samples) } else { None };
        Cell::new(self.subject, summary, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::measurements;
    use crate::subject::Via;

    const NATIVE: Subject = Subject { engine: "native", via: Via::Native };

    #[test]
    fn every_measurement_has_a_row_and_numbers_of_a_sensible_size() {
        let wanted = measurements(Some("call/"));
        let mut seen = Vec::new();
        let report = measure(&wanted, &[NATIVE], &Settings::quick(), |progress| seen.push(progress.index));
        assert_eq!(seen, [0, 1, 2]);
        for row in &report.measurements {
            let summary = row.results[0].summary.unwrap();
            assert!(summary.samples >= 5 && summary.minimum > 1.0 && summary.median < 1e6, "{row:?}");
            assert!(summary.minimum <= summary.lower_quartile && summary.lower_quartile <= summary.median);
        }
    }

    #[test]
    fn an_engine_that_is_not_there_is_a_reason_and_not_the_end() {
        let absent = Subject { engine: "v8", via: Via::Chassis };
        let report = measure(&measurements(Some("call/callback")), &[absent, NATIVE], &Settings::quick(), |_| {});
        let cells = &report.measurements[0].results;
        assert!(cells[0].summary.is_none() && cells[0].reason.as_ref().unwrap().contains("`v8`"), "{cells:?}");
        assert!(cells[1].summary.is_some());
    }
}

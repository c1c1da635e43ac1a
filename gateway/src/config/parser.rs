//! What all sections are read with: a list of what is wrong, and checks that add to it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::error::{Place, Problem};
use super::values::{Scalar, duration};
use super::yaml::{At, place};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// After how many problems it is not looked any more for what was meant.
pub(super) const SUGGESTIONS: usize = 100;

/// From what is written to what makes sense. Everything that is wrong is reported, not only the first.
pub(super) struct Parser<'a> {
    /// Where relative paths start.
    pub(super) directory: &'a Path,
    pub(super) problems: Vec<Problem>,
}

impl Parser<'_> {
    pub(super) fn problem(&mut self, place: Place, key: &str, cause: impl Into<String>) {
        self.problems.push(Problem::new(place, key, cause));
    }

    /// The value, or a problem at its place.
    pub(super) fn check<T>(&mut self, place: Place, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|cause| self.problem(place, key, cause)).ok()
    }

    pub(super) fn duration(
        &mut self,
        raw: &Option<At<Scalar>>,
        unit: Option<Duration>,
        allowed: RangeInclusive<Duration>,
        key: &str,
    ) -> Option<Duration> {
        let raw = raw.as_ref()?;
        let value = duration(&raw.value, unit).and_then(|value| {
            let out = || format!("must be from {:?} to {:?}", allowed.start(), allowed.end());
            allowed.contains(&value).then_some(value).ok_or_else(out)
        });
        self.check(place(raw), key, value)
    }
}

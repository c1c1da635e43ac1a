//! What all sections are read with: a list of what is wrong, and checks that add to it.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis_abi::Dialect;

use super::error::{Place, Problem};
use super::plugin::PluginConfig;
use super::values::{Scalar, duration};
use super::yaml::{At, place};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// After how many problems it is not looked any more for what was meant.
pub(super) const SUGGESTIONS: usize = 100;

/// How many plugins, nodes and hosts may be copied into what refers to them: a short file with many references would make
/// a configuration without end of it.
const MOST_INHERITED: usize = 1_000_000;

/// How many regular expressions a file may have, each of which takes memory.
const MOST_PATTERNS: usize = 1000;

/// From what is written to what makes sense. Everything that is wrong is reported, not only the first.
pub(super) struct Parser<'a> {
    /// Where relative paths start.
    pub(super) directory: &'a Path,
    /// That of plugins which name none.
    pub(super) dialect: Dialect,
    /// The file that is read, if it is not the one that was given.
    pub(super) file: Option<Arc<Path>>,
    /// The plugins, and at which index each one is.
    pub(super) plugins: Vec<PluginConfig>,
    pub(super) names: HashMap<String, usize>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// How many plugins all global rules have, each of which is in the chain of each route.
    pub(super) global_uses: usize,
    /// How many regular expressions there may be yet.
    pub(super) patterns: usize,
    inherited: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(directory: &'a Path, dialect: Dialect) -> Self {
        Parser {
            directory,
            dialect,
            file: None,
            plugins: Vec::new(),
            names: HashMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            global_uses: 0,
            patterns: MOST_PATTERNS,
            inherited: 0,
        }
    }
}

impl Parser<'_> {
    pub(super) fn problem(&mut self, place: Place, key: &str, cause: impl Into<String>) {
        let problem = Problem { file: self.file.clone(), ..Problem::new(place, key, cause) };
        self.problems.push(problem);
    }

    pub(super) fn warning(&mut self, place: Place, key: &str, cause: &str) {
        let warning = Problem { file: self.file.clone(), ..Problem::new(place, key, cause) };
        self.warnings.push(warning);
    }

    /// The value, or a problem at its place.
    pub(super) fn check<T>(&mut self, place: Place, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|cause| self.problem(place, key, cause)).ok()
    }

    /// Whether so many plugins, nodes or hosts more may be copied into what is at this place and refers to them. A problem
    /// at the first one that may not.
    pub(super) fn may_inherit(&mut self, count: usize, place: Place, key: &str) -> bool {
        let before = self.inherited;
        self.inherited = before.saturating_add(count);
        if before <= MOST_INHERITED && self.inherited > MOST_INHERITED {
            let cause =
                format!("inherits so much that it is more than {MOST_INHERITED} plugins, nodes and hosts in all");
            self.problem(place, key, cause);
        }
        self.inherited <= MOST_INHERITED
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

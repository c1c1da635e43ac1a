//! What is wrong with a configuration file, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Why a configuration file was refused; the operator's fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{}: larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The file says something that it may not say. Displayed as one line per problem, `file:line:column: key: cause`.
    #[error("{}", Lines { file, problems })]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file, if it is not the one that was given: APISIX's file of routes.
    pub file: Option<Arc<Path>>,
    /// Where it is.
    pub place: Place,
    /// The path of the key, as `routes[0].uri`; empty when the file is not YAML.
    pub key: String,
    /// What is wrong, and what would help.
    pub cause: String,
}

/// A place in a configuration file; both numbers count from 1, and 0 means unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Problem {
    pub(super) fn new(place: Place, key: impl Into<String>, cause: impl Into<String>) -> Self {
        Problem { file: None, place, key: key.into(), cause: cause.into() }
    }
}

impl Problem {
    /// `file:line:column: key: cause`, with the file that was given if it is in no other one.
    pub fn line(&self, given: &Path) -> String {
        let Place { line, column } = self.place;
        let file = self.file.as_deref().unwrap_or(given).display();
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{file}:{line}:{column}: {key}{}", self.cause)
    }
}

struct Lines<'a> {
    file: &'a Path,
    problems: &'a [Problem],
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.line(self.file))?;
        }
        Ok(())
    }
}

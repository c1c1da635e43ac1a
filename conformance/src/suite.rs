//! All cases, where they come from, and what of them an engine cannot run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis_engine_api::Capabilities;
use thiserror::Error;

use crate::case::{Case, Mistake, Module, plugin_file};
use crate::deviations::Deviations;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Cases by area and name, and the deviations that are expected.
#[derive(Debug)]
pub struct Suite {
    cases: Vec<Arc<Case>>,
    deviations: Deviations,
    plugins: PathBuf,
}

impl Suite {
    /// The cases that are part of this library. Modules of plugins are read from below `plugins` when they are run.
    ///
    /// # Errors
    /// If one of the files has a mistake.
    pub fn embedded(plugins: &Path) -> Result<Self, SuiteError> {
        let files = embedded::CASES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let cases = parse(&files, true)?;
        let deviations = Deviations::parse(embedded::EXPECTED, &cases)?;
        Ok(Suite { cases, deviations, plugins: plugins.to_owned() })
    }

    /// The cases in a folder of areas, `AREA/CASE.yaml`. No deviations are expected of them.
    ///
    /// # Errors
    /// If it cannot be read, has no cases, or one of its files has a mistake.
    pub fn from_folder(folder: &Path, plugins: &Path) -> Result<Self, SuiteError> {
        let files = read(folder)?;
        let cases = parse(&files, false).map_err(|error| error.below(folder))?;
        if cases.is_empty() {
            return Err(SuiteError::Empty { folder: folder.to_owned() });
        }
        Ok(Suite { cases, deviations: Deviations::default(), plugins: plugins.to_owned() })
    }

    /// The cases, by area and name.
    pub fn cases(&self) -> &[Arc<Case>] {
        &self.cases
    }

    /// Why an engine does not run a case, if it does not.
    pub fn ignored(&self, case: &Case, capabilities: &Capabilities) -> Option<String> {
        if let Module::Plugin(plugin) = &case.module {
            let file = plugin_file(&self.plugins, plugin);
            if !file.exists() {
                return Some(format!("there is no {} here", file.display()));
            }
        }
        case.needs.iter().find_map(|need| need.unmet(capabilities)).map(str::to_owned)
    }

    pub(crate) fn plugins(&self) -> &Path {
        &self.plugins
    }

    pub(crate) fn deviations(&self) -> &Deviations {
        &self.deviations
    }
}

/// Why there are no cases.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// A folder or a file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder has no cases in it.
    #[error("{}: there is no case in it, as AREA/CASE.yaml", folder.display())]
    Empty {
        /// Which.
        folder: PathBuf,
    },
    /// Files have mistakes: one line each, `file:line:column: message`.
    #[error("{}", lines(mistakes))]
    Mistakes {
        /// Each file with its mistake; never empty.
        mistakes: Vec<(PathBuf, Mistake)>,
    },
}

impl SuiteError {
    fn below(self, folder: &Path) -> Self {
        match self {
            SuiteError::Mistakes { mistakes } => SuiteError::Mistakes {
                mistakes: mistakes.into_iter().map(|(file, mistake)| (folder.join(file), mistake)).collect(),
            },
            other => other,
        }
    }
}

fn lines(mistakes: &[(PathBuf, Mistake)]) -> String {
    mistakes.iter().map(|(file, mistake)| format!("{}:{mistake}", file.display())).collect::<Vec<_>>().join("\n")
}

type Files = BTreeMap<String, String>;

/// Reads the cases among files that are named by their paths; all mistakes are reported.
fn parse(files: &Files, embedded: bool) -> Result<Vec<Arc<Case>>, SuiteError> {
    let mut cases = Vec::new();
    let mut mistakes = Vec::new();
    for (file, text) in files {
        let Some(path) = file.strip_suffix(".yaml") else { continue };
        let Some((area, name)) = path.split_once('/').filter(|(area, name)| is_plain(area) && is_plain(name)) else {
            let message = "a case is AREA/CASE.yaml, in lower-case letters, digits and dashes".to_owned();
            mistakes.push((file.into(), Mistake { line: 0, column: 0, message }));
            continue;
        };
        let beside = |name: &str| files.get(&format!("{area}/{name}")).cloned();
        match Case::parse(area, name, text, &beside) {
            Ok(case) => cases.push(Arc::new(case.embedded(embedded))),
            Err(mistake) => mistakes.push((file.into(), mistake)),
        }
    }
    if mistakes.is_empty() { Ok(cases) } else { Err(SuiteError::Mistakes { mistakes }) }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The most that is read of one file, and how many files there may be.
const MOST: u64 = 4 << 20;
const MOST_FILES: usize = 10_000;

/// The cases and guests of a folder of areas, by their paths in it.
fn read(folder: &Path) -> Result<Files, SuiteError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| SuiteError::Unreadable { path, source }
    };
    let mut files = Files::new();
    for area in entries(folder).map_err(unreadable(folder))? {
        if !area.is_dir() {
            continue;
        }
        for file in entries(&area).map_err(unreadable(&area))? {
            let wanted = file.extension().is_some_and(|extension| extension == "yaml" || extension == "wat");
            let Some(name) = file.strip_prefix(folder).ok().and_then(Path::to_str).filter(|_| wanted) else { continue };
            let size = fs::metadata(&file).map_err(unreadable(&file))?.len();
            if size > MOST || files.len() >= MOST_FILES {
                return Err(unreadable(&file)(io::Error::other("is too much")));
            }
            files.insert(name.replace('\\', "/"), fs::read_to_string(&file).map_err(unreadable(&file))?);
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

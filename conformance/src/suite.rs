//! All cases, where they come from, and what of them an engine cannot run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
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
            // One reason for all, so that they are told together.
            if !plugin_file(&self.plugins, plugin).exists() {
                return Some(format!(
                    "the module of its plugin is not below {}: run this in the repository of Chassis, or give its \
                     plugins with --plugins",
                    self.plugins.display()
                ));
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
        if file.ends_with(".wat") {
            continue;
        }
        let parts = file.strip_suffix(".yaml").and_then(|path| path.split_once('/'));
        let Some((area, name)) = parts.filter(|(area, name)| is_plain(area) && is_plain(name)) else {
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

/// The most that is read of one file and of all, how many files there may be, and how deep folders are looked into.
const MOST: u64 = 4 << 20;
const MOST_IN_ALL: u64 = 64 << 20;
const MOST_FILES: usize = 10_000;
const MOST_FOLDERS: usize = 8;

/// The cases and guests of a folder of areas, by their paths in it. Of a YAML file that is elsewhere, or has another
/// ending, there is the name alone, so that it can be told: what is not run is not passed over in silence.
fn read(folder: &Path) -> Result<Files, SuiteError> {
    let mut reading = Reading { folder, files: Files::new(), left: MOST_IN_ALL };
    for path in entries(folder)? {
        match path.is_dir() {
            true => reading.area(&path, 1)?,
            false => reading.file(&path, 0)?,
        }
    }
    Ok(reading.files)
}

struct Reading<'a> {
    folder: &'a Path,
    files: Files,
    /// How many bytes more may be read.
    left: u64,
}

impl Reading<'_> {
    /// Reads what is in an area, or in a folder below one.
    fn area(&mut self, area: &Path, depth: usize) -> Result<(), SuiteError> {
        for path in entries(area)? {
            match path.is_dir() {
                // Links below an area may lead around in a circle.
                true if path.is_symlink() || depth == MOST_FOLDERS => {}
                true => self.area(&path, depth + 1)?,
                false => self.file(&path, depth)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, depth: usize) -> Result<(), SuiteError> {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if !matches!((extension, depth), ("yaml" | "yml", _) | ("wat", 1)) {
            return Ok(());
        }
        let wrong = |why: &str| unreadable(path)(io::Error::other(why));
        let name = path.strip_prefix(self.folder).ok().and_then(Path::to_str);
        let name = name.ok_or_else(|| wrong("its name is no text"))?.replace('\\', "/");
        if self.files.len() >= MOST_FILES {
            return Err(wrong("is one file too many"));
        }
        let text = if depth == 1 && extension != "yml" { self.text(path)? } else { String::new() };
        self.files.insert(name, text);
        Ok(())
    }

    fn text(&mut self, path: &Path) -> Result<String, SuiteError> {
        let wrong = |why: &str| unreadable(path)(io::Error::other(why));
        // What is no file may have no end, or never begin.
        if !fs::metadata(path).map_err(unreadable(path))?.is_file() {
            return Err(wrong("is no file"));
        }
        let mut text = String::new();
        let most = MOST.min(self.left);
        let file = File::open(path).map_err(unreadable(path))?;
        let read = file.take(most + 1).read_to_string(&mut text).map_err(unreadable(path))?;
        if read as u64 > most {
            return Err(wrong("is too much"));
        }
        self.left -= read as u64;
        Ok(text)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let list = || -> io::Result<Vec<_>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    let mut list = list().map_err(unreadable(folder))?;
    list.retain(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")));
    // The first mistake is the same each time.
    list.sort();
    Ok(list)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SuiteError {
    let path = path.to_owned();
    move |source| SuiteError::Unreadable { path, source }
}

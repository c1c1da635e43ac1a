//! `plugins/manifest.json`: which sources and which compiler each committed module was made from, and what it is.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::inventory::Inventory;

/// The whole file; guests in alphabetical order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    pub(super) guests: Vec<Entry>,
}

/// One committed module. Paths are relative to `plugins`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) sources: Vec<String>,
    pub(super) source_sha256: String,
    pub(super) toolchain: BuiltWith,
    pub(super) target: String,
    /// In bytes.
    pub(super) size: usize,
    #[serde(flatten)]
    pub(super) inventory: Inventory,
}

/// What a module was built with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BuiltWith {
    /// As the compiler names itself.
    pub(super) compiler: String,
    /// Its name and version, or `none`.
    pub(super) sdk: String,
}

const SCHEMA: &str = "chassis/plugins/v1";
const FILE: &str = "manifest.json";

impl Default for Manifest {
    fn default() -> Self {
        Self { schema: SCHEMA.to_owned(), guests: Vec::new() }
    }
}

impl Manifest {
    pub(super) fn read(plugins: &Path) -> Result<Self> {
        let text = fs::read(plugins.join(FILE)).with_context(|| format!("cannot read plugins/{FILE}"))?;
        let manifest: Self = serde_json::from_slice(&text).with_context(|| format!("plugins/{FILE} is not valid"))?;
        ensure!(manifest.schema == SCHEMA, "plugins/{FILE} has schema {}, not {SCHEMA}", manifest.schema);
        Ok(manifest)
    }

    pub(super) fn write(&self, plugins: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(plugins.join(FILE), text).with_context(|| format!("cannot write plugins/{FILE}"))
    }

    pub(super) fn entry(&self, file: &str) -> Option<&Entry> {
        self.guests.iter().find(|entry| entry.file == file)
    }
}

impl Entry {
    /// One line for each fact that does not fit what is there now.
    pub(super) fn differences(&self, now: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.sources != now.sources || self.source_sha256 != now.source_sha256 {
            differences.push("its sources are not those that it was built from".to_owned());
        }
        if self.toolchain.sdk != now.toolchain.sdk {
            differences.push(format!("built with {}, but {} is asked for", self.toolchain.sdk, now.toolchain.sdk));
        }
        if self.target != now.target {
            differences.push(format!("built for {}, but {} is asked for", self.target, now.target));
        }
        if self.size != now.size {
            differences.push(format!("{} bytes, in the manifest {}", now.size, self.size));
        }
        differences.extend(self.inventory.differences(&now.inventory, true));
        differences.into_iter().map(|difference| format!("{}: {difference}", self.file)).collect()
    }
}

//! `plugins/manifest.json`: which sources and which compiler each committed module was made from, and what it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::inventory::Inventory;

/// The whole file; guests in alphabetical order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    schema: String,
    pub(super) guests: Vec<Entry>,
}

/// One committed module. Paths are relative to `plugins`.
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BuiltWith {
    /// What `rustc -V` said.
    pub(super) rustc: String,
    /// `proxy-wasm` and its version.
    pub(super) sdk: String,
}

/// What a guest is built from.
pub(super) struct Sources {
    /// Paths below `plugins` with `/` on every system, in alphabetical order.
    pub(super) files: Vec<String>,
    /// Over path, NUL, length (64 bits, little endian) and content of each file, in that order.
    pub(super) sha256: String,
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

impl Sources {
    /// The sources of one guest: its own crate, those that it uses, and what the workspace fixes for all.
    pub(super) fn of(plugins: &Path, guest: &str, uses: &[&str]) -> Result<Self> {
        let mut files = vec!["rust/Cargo.lock".to_owned(), "rust/Cargo.toml".to_owned()];
        for package in [guest].iter().chain(uses) {
            files.push(format!("rust/{package}/Cargo.toml"));
            collect(plugins, &format!("rust/{package}/src"), &mut files)?;
        }
        files.sort();
        let mut hash = Sha256::new();
        for file in &files {
            let content = fs::read(plugins.join(file)).with_context(|| format!("cannot read plugins/{file}"))?;
            hash.update(file);
            hash.update([0]);
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(content);
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { files, sha256 })
    }
}

/// Adds the Rust files below a directory.
fn collect(plugins: &Path, directory: &str, files: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(plugins.join(directory)).with_context(|| format!("cannot list plugins/{directory}"))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let path = format!("{directory}/{}", name.to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(plugins, &path, files)?;
        } else if PathBuf::from(name).extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The SDK and its version: what the guest's own manifest asks for, or the workspace's. Both fix it by `=`.
pub(super) fn sdk(plugins: &Path, guest: &str) -> Result<String> {
    for file in [format!("rust/{guest}/Cargo.toml"), "rust/Cargo.toml".to_owned()] {
        let text = fs::read_to_string(plugins.join(&file)).with_context(|| format!("cannot read plugins/{file}"))?;
        if let Some(version) = fixed_version(&text, SDK) {
            return Ok(format!("{SDK} {version}"));
        }
    }
    anyhow::bail!("neither its Cargo.toml nor the workspace's has a line `{SDK} = \"=VERSION\"`")
}

const SDK: &str = "proxy-wasm";

/// `VERSION` of a line `NAME = "=VERSION"`.
fn fixed_version<'a>(cargo_toml: &'a str, name: &str) -> Option<&'a str> {
    cargo_toml.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?;
        value.trim().strip_prefix("\"=")?.strip_suffix('"')
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fixed_version_counts() {
        assert_eq!(fixed_version("[dependencies]\nproxy-wasm = \"=0.1.0\"\n", SDK), Some("0.1.0"));
        assert_eq!(fixed_version("proxy-wasm.workspace = true", SDK), None);
        assert_eq!(fixed_version("proxy-wasm = \"0.2\"", SDK), None);
        assert_eq!(fixed_version("proxy-wasm-types = \"=0.2.0\"", SDK), None);
    }

    #[test]
    fn a_guest_s_hash_follows_its_sources() {
        let plugins = std::env::temp_dir().join(format!("chassis-xtask-sources-{}", std::process::id()));
        let write = |file: &str, content: &str| {
            let path = plugins.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        for file in ["Cargo.lock", "Cargo.toml", "a/Cargo.toml", "a/src/lib.rs", "b/Cargo.toml", "b/src/lib.rs"] {
            write(&format!("rust/{file}"), file);
        }
        write("rust/a/src/deep/part.rs", "part");
        write("rust/a/src/lib.rs.orig", "left behind by an editor");
        let hash = || Sources::of(&plugins, "a", &[]).unwrap().sha256;
        let before = hash();
        assert_eq!(
            Sources::of(&plugins, "a", &["b"]).unwrap().files.join(" "),
            "rust/Cargo.lock rust/Cargo.toml rust/a/Cargo.toml rust/a/src/deep/part.rs rust/a/src/lib.rs \
             rust/b/Cargo.toml rust/b/src/lib.rs"
        );
        write("rust/b/src/lib.rs", "of no matter to a");
        write("rust/a/src/lib.rs.orig", "nor this");
        assert_eq!(hash(), before);
        write("rust/a/src/deep/part.rs", "changed");
        assert_ne!(hash(), before);
        fs::remove_dir_all(plugins).unwrap();
    }
}

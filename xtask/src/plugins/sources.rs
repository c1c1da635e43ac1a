//! What a guest is built from: the files, and a hash by which a change to one of them is seen.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Adds the files below a directory whose names `wanted` takes. Paths are below `plugins`, with `/` on every system.
pub(super) fn collect(
    plugins: &Path,
    directory: &str,
    wanted: fn(&str) -> bool,
    files: &mut Vec<String>,
) -> Result<()> {
    let entries = fs::read_dir(plugins.join(directory)).with_context(|| format!("cannot list plugins/{directory}"))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{directory}/{name}");
        if entry.file_type()?.is_dir() {
            collect(plugins, &path, wanted, files)?;
        } else if wanted(&name) {
            files.push(path);
        }
    }
    Ok(())
}

/// SHA-256, in hexadecimal digits, over path, NUL, length (64 bits, little endian) and content of each file, in the
/// given order.
pub(super) fn hash(plugins: &Path, files: &[String]) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        let content = read(plugins, file)?;
        hash.update(file);
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file below `plugins`.
pub(super) fn read(plugins: &Path, file: &str) -> Result<Vec<u8>> {
    fs::read(plugins.join(file)).with_context(|| format!("cannot read plugins/{file}"))
}

/// A file below `plugins` that is text.
pub(super) fn text(plugins: &Path, file: &str) -> Result<String> {
    String::from_utf8(read(plugins, file)?).with_context(|| format!("plugins/{file} is not UTF-8"))
}

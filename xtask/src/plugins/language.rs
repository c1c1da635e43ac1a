//! What the languages of the guests have in common, so that one task builds and checks them all.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{assemblyscript, c, go, rust};

/// A language in which there are guests; its folder is `plugins/NAME`.
pub(super) struct Language {
    pub(super) name: &'static str,
    /// Its guests in alphabetical order, as the sources have them: needs no toolchain.
    pub(super) guests: fn(&Path) -> Result<Vec<Guest>>,
    /// Its toolchain, or an error that names the missing parts and the packages that bring them.
    pub(super) toolchain: fn() -> Result<Box<dyn Toolchain>>,
}

/// All of them, in alphabetical order.
pub(super) const LANGUAGES: [Language; 4] = [
    Language { name: "assemblyscript", guests: assemblyscript::guests, toolchain: assemblyscript::toolchain },
    Language { name: "c", guests: c::guests, toolchain: c::toolchain },
    Language { name: "go", guests: go::guests, toolchain: go::toolchain },
    Language { name: "rust", guests: rust::guests, toolchain: rust::toolchain },
];

/// A guest; its module is `plugins/LANGUAGE/NAME.wasm`.
pub(super) struct Guest {
    pub(super) name: String,
    pub(super) target: &'static str,
    /// Paths below `plugins` with `/` on every system, in alphabetical order.
    pub(super) sources: Vec<String>,
    /// The SDK and its version.
    pub(super) sdk: String,
}

/// A toolchain that is there and complete.
pub(super) trait Toolchain {
    /// Which compiler it is.
    fn version(&self) -> String;

    /// Directories of this machine whose names must not get into a module that is shipped.
    fn directories(&self) -> Vec<PathBuf>;

    /// Builds the guests below `folder/target` and reads their modules, in their order.
    fn build(&self, folder: &Path, guests: &[Guest]) -> Result<Vec<Vec<u8>>>;
}

/// A part of a toolchain: what it is called, whether it is there, and the package of Debian 12 that brings it.
pub(super) type Part = (&'static str, bool, &'static str);

/// # Errors
///
/// Names every part that is not there, and the packages that bring them.
pub(super) fn demand(parts: &[Part]) -> Result<()> {
    let missing: Vec<_> = parts.iter().filter(|(_, there, _)| !there).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(part, ..)| *part).collect();
    let packages: Vec<_> = missing.iter().map(|(.., package)| *package).collect();
    bail!(
        "the toolchain lacks {}; on Debian 12: apt-get install --no-install-recommends {}",
        names.join(", "),
        packages.join(" ")
    )
}

/// Whether a program can be started by its name.
pub(super) fn in_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).exists()))
}

/// Runs it to its end; what it prints goes where our own output goes.
pub(super) fn complete(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

/// What it prints, without the white space around it.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    ensure!(output.status.success(), "{name} failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

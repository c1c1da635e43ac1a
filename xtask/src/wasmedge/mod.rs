//! `cargo xtask wasmedge` and `cargo xtask with-wasmedge`: the shared library that the WasmEdge backend links with.
//!
//! What the user names by `WASMEDGE_DIR` (or the variables for its two folders) is taken as it is; then a copy at one
//! of the usual places; else, where there is apt, Debian's packages are unpacked into a folder below `target`, with
//! everything that they need at run time, their own libc included. Nothing outside that folder is changed. Programs
//! that link with such a copy run on its libc: `chassis-wasmedge-link` passes the linker what that takes.

mod debian;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The version that `wasmedge-sdk` 0.17 is made for.
const VERSION: &str = "0.17.";

/// Between the linker's arguments in the environment, as in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";
/// What the build scripts read.
const LINK_ARGUMENTS: &str = "CHASSIS_WASMEDGE_LINK_ARGS";

const BINDGEN: &str = include_str!("bindgen.sh");

/// Provides the library and says where it is.
pub(crate) fn run() -> Result<()> {
    let library = Library::provide()?;
    println!("libwasmedge: {}", library.described());
    Ok(())
}

/// Runs a command with what a build against the library needs.
pub(crate) fn with(command: &[&str]) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("with-wasmedge: no command") };
    let library = Library::provide()?;
    let mut command = Command::new(program);
    command.args(arguments).envs(library.environment()?);
    let status = command.status().with_context(|| format!("{program} could not be started"))?;
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

/// Whether its absence is a failure: `CHASSIS_REQUIRE=all` says so.
pub(crate) fn is_required() -> bool {
    env::var("CHASSIS_REQUIRE").is_ok_and(|required| required == "all")
}

/// A copy of libwasmedge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    /// The folder in which `wasmedge/wasmedge.h` is.
    include: PathBuf,
    /// A folder for the linker.
    link: PathBuf,
    /// Where the library and all that it needs is at run time; `None` if the system finds it by itself.
    run: Option<PathBuf>,
    /// The loader of its own libc.
    loader: Option<PathBuf>,
}

impl Library {
    /// Finds the library, or unpacks it.
    ///
    /// # Errors
    /// Says by name what is missing.
    pub(crate) fn provide() -> Result<Library> {
        if let Some(library) = named()? {
            return Ok(library);
        }
        let found = usual_places().into_iter().find_map(|(include, link)| Library::at(&include, &link));
        match found {
            Some(library) => Ok(library),
            None => debian::unpack(&folder()?).context(
                "libwasmedge 0.17 is not on this machine and could not be fetched; install it and name it by \
                 WASMEDGE_DIR, or build with the feature `standalone` of wasmedge-sdk, which downloads it",
            ),
        }
    }

    /// The library in these two folders, if it is there and of the right version.
    fn at(include: &Path, link: &Path) -> Option<Library> {
        let header = fs::read_to_string(include.join("wasmedge/version.h")).ok()?;
        let right = header.contains(&format!("WASMEDGE_VERSION \"{VERSION}"));
        let there = ["so", "dylib"].iter().any(|end| link.join(format!("libwasmedge.{end}")).exists());
        let system = link.starts_with("/usr/lib");
        let run = (!system).then(|| link.to_owned());
        (right && there).then(|| Library { include: include.to_owned(), link: link.to_owned(), run, loader: None })
    }

    fn described(&self) -> String {
        self.run.as_ref().unwrap_or(&self.link).display().to_string()
    }

    /// The variables for a command that builds or tests with the library.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let arguments = self.link_arguments();
        let mut variables = vec![
            ("WASMEDGE_INCLUDE_DIR", self.include.clone().into()),
            ("WASMEDGE_LIB_DIR", self.link.clone().into()),
            (LINK_ARGUMENTS, arguments.join(SEPARATOR).into()),
        ];
        if env::var_os("WASMEDGE_RUST_BINDGEN_PATH").is_none() {
            variables.push(("WASMEDGE_RUST_BINDGEN_PATH", bindgen()?.into()));
        }
        // Examples in the documentation are linked by rustdoc, which no build script can give arguments.
        let flags = env::var("RUSTDOCFLAGS").unwrap_or_default();
        let more: Vec<String> = arguments.iter().map(|argument| format!("-Clink-arg={argument}")).collect();
        variables.push(("RUSTDOCFLAGS", format!("{flags} {}", more.join(" ")).trim().to_owned().into()));
        Ok(variables)
    }

    fn link_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(run) = &self.run {
            // The older form of the entry also holds for what the library itself looks for.
            let old = if cfg!(target_os = "linux") { "--disable-new-dtags," } else { "" };
            arguments.push(format!("-Wl,{old}-rpath,{}", run.display()));
        }
        if let Some(loader) = &self.loader {
            // The library wants a newer libc than the one that is linked with; its own is there at run time.
            arguments.push("-Wl,--allow-shlib-undefined".to_owned());
            arguments.push(format!("-Wl,--dynamic-linker={}", loader.display()));
        }
        arguments
    }
}

/// What the user chose.
fn named() -> Result<Option<Library>> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let pairs: Vec<(PathBuf, PathBuf)> = match (variable("WASMEDGE_INCLUDE_DIR"), variable("WASMEDGE_LIB_DIR")) {
        (Some(include), Some(link)) => vec![(include, link)],
        _ => match variable("WASMEDGE_DIR") {
            Some(base) => ["lib64", "lib"].iter().map(|lib| (base.join("include"), base.join(lib))).collect(),
            None => return Ok(None),
        },
    };
    // What an outer `with-wasmedge` unpacked is found again below `target`, with its loader.
    if env::var_os(LINK_ARGUMENTS).is_some() {
        return Ok(None);
    }
    match pairs.iter().find_map(|(include, link)| Library::at(include, link)) {
        Some(library) => Ok(Some(library)),
        None => bail!("WASMEDGE_DIR or WASMEDGE_LIB_DIR names a folder without libwasmedge {VERSION}x"),
    }
}

/// The places of the official installer and of packages.
fn usual_places() -> Vec<(PathBuf, PathBuf)> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let bases = [home.join(".wasmedge"), "/usr/local".into(), home.join(".local"), "/opt/homebrew".into()];
    let mut places: Vec<(PathBuf, PathBuf)> = Vec::new();
    for base in bases {
        places.extend(["lib64", "lib"].map(|lib| (base.join("include"), base.join(lib))));
    }
    let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    places.extend([multiarch.as_str(), "/usr/lib64", "/usr/lib"].map(|lib| ("/usr/include".into(), lib.into())));
    places
}

/// Where the unpacked library and the script are kept.
fn folder() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no folder")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(std::path::absolute(target)?.join("wasmedge"))
}

fn bindgen() -> Result<PathBuf> {
    let path = folder()?.join("bindgen");
    if fs::read_to_string(&path).is_ok_and(|written| written == BINDGEN) {
        return Ok(path);
    }
    fs::create_dir_all(folder()?)?;
    fs::write(&path, BINDGEN)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

/// The entries of a folder; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(run: Option<&str>, loader: Option<&str>) -> Library {
        let path = |path: &str| PathBuf::from(path);
        Library { include: path("/i"), link: path("/l"), run: run.map(path), loader: loader.map(path) }
    }

    #[test]
    fn the_systems_own_library_needs_no_arguments() {
        assert!(library(None, None).link_arguments().is_empty());
    }

    #[test]
    fn a_library_with_its_own_libc_brings_the_loader() {
        let arguments = library(Some("/r"), Some("/r/ld.so")).link_arguments();
        assert!(arguments[0].ends_with("-rpath,/r"), "{arguments:?}");
        assert_eq!(arguments[1..], ["-Wl,--allow-shlib-undefined", "-Wl,--dynamic-linker=/r/ld.so"]);
    }

    #[test]
    fn a_folder_without_the_library_is_not_taken() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(Library::at(here, here), None);
    }
}

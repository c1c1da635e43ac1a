//! Guests in AssemblyScript: compiler and SDK are packages of Node.js, in the versions of the lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::language::{Guest, Toolchain, complete, demand, in_path};
use super::sources;

const NAMES: [&str; 3] = ["configuration", "everything", "fault-injection"];
const PACKAGE: &str = "package.json";
const LOCK: &str = "package-lock.json";
const SDK: &str = "@solo-io/proxy-runtime";
const COMPILER: &str = "assemblyscript";

pub(super) fn guests(plugins: &Path) -> Result<Vec<Guest>> {
    let sdk = format!("{SDK} {}", version_of(&sources::text(plugins, "assemblyscript/package.json")?, SDK)?);
    NAMES
        .iter()
        .map(|name| {
            let mut files = vec![format!("assemblyscript/{PACKAGE}"), format!("assemblyscript/{LOCK}")];
            sources::collect(plugins, &format!("assemblyscript/{name}"), |file| file.ends_with(".ts"), &mut files)?;
            files.sort();
            Ok(Guest { name: (*name).to_owned(), target: "wasm32", sources: files, sdk: sdk.clone() })
        })
        .collect()
}

/// The version of a package that is needed for development.
fn version_of(package_json: &str, package: &str) -> Result<String> {
    let json: Value = serde_json::from_str(package_json).context("package.json is not valid")?;
    let version = json["devDependencies"][package].as_str();
    Ok(version.with_context(|| format!("package.json does not name {package}"))?.to_owned())
}

/// What the packages run on. The compiler itself comes with the build.
struct Node {
    compiler: String,
}

pub(super) fn toolchain() -> Result<Box<dyn Toolchain>> {
    demand(&[("node", in_path("node"), "nodejs"), ("npm", in_path("npm"), "npm")])?;
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let version = version_of(&sources::text(&plugins, "assemblyscript/package.json")?, COMPILER)?;
    Ok(Box::new(Node { compiler: format!("{COMPILER} {version}") }))
}

impl Toolchain for Node {
    fn version(&self) -> String {
        self.compiler.clone()
    }

    fn directories(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn build(&self, folder: &Path, guests: &[Guest]) -> Result<Vec<Vec<u8>>> {
        // All that is installed and built lies in one place that is not committed.
        let target = folder.join("target");
        fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
        for file in [PACKAGE, LOCK] {
            fs::copy(folder.join(file), target.join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        complete(Command::new("npm").current_dir(&target).args(install))?;
        guests
            .iter()
            .map(|guest| {
                let module = format!("{}.wasm", guest.name);
                let mut build = Command::new("node");
                build.current_dir(&target).arg("node_modules/assemblyscript/bin/asc");
                build.arg(format!("../{}/index.ts", guest.name)).args(["-b", &module]);
                build.args(["--use", "abort=abort_proc_exit", "-Oz", "--noColors"]);
                complete(&mut build)?;
                fs::read(target.join(&module)).with_context(|| format!("cannot read {module}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_not_named_has_no_version() {
        let package = r#"{"devDependencies": {"a": "1.2.3"}, "dependencies": {"b": "4"}}"#;
        assert_eq!(version_of(package, "a").unwrap(), "1.2.3");
        assert!(version_of(package, "b").is_err());
        assert!(version_of("{", "a").is_err());
    }
}

//! What a choice of engines brings into a build: these engines, and nothing that a library must not bring.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{COMMAND_LINE, FACADE, REGISTRY, choices, described};

/// The packages that are engines, by the feature that brings them.
const PACKAGES: [(&str, &str); 4] =
    [("wasmtime", "wasmtime"), ("wasmer", "wasmer"), ("wasmedge", "wasmedge-sdk"), ("wasmi", "wasmi")];
/// What makes a command-line tool or an HTTP server of a library.
const UNWANTED: [&str; 3] = ["clap", "hyper", "tokio"];

/// What needs libwasmedge.
const NEEDS_LIBRARY: &str = "wasmedge-sys";

/// Compares the dependencies of every choice with what was chosen, and those of plain `cargo build` and `cargo test` with
/// what every machine has.
///
/// # Errors
/// Names the first choice that brings an engine too many or too few, or more than a library should.
pub(super) fn check() -> Result<()> {
    if holds(&tree(&["--edges", "all"])?, NEEDS_LIBRARY) {
        bail!("the default members of the workspace need libwasmedge");
    }
    for engines in choices() {
        for package in [FACADE, REGISTRY, COMMAND_LINE] {
            let context = || format!("{package} with {}", described(&engines));
            // What only runs while an engine is built is no part of the program, but is no other engine either.
            judge_engines(&of(package, &engines, "normal,build")?, &engines).with_context(context)?;
            if package == FACADE {
                judge_library(&of(package, &engines, "normal")?).with_context(context)?;
            }
        }
    }
    Ok(())
}

/// The dependencies of a package with these engines.
fn of(package: &str, engines: &[&str], edges: &str) -> Result<String> {
    let list = engines.join(",");
    tree(&["--package", package, "--edges", edges, "--no-default-features", "--features", &list])
}

/// Dependencies, a line each that begins with name and version.
fn tree(arguments: &[&str]) -> Result<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(["tree", "--prefix", "none"]).args(arguments).current_dir(root).output();
    let output = output.context("cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn judge_engines(tree: &str, engines: &[&str]) -> Result<()> {
    for (engine, package) in PACKAGES {
        let there = holds(tree, package);
        if there != engines.contains(&engine) {
            bail!("the dependencies {} {package}", if there { "hold" } else { "lack" });
        }
    }
    Ok(())
}

fn judge_library(tree: &str) -> Result<()> {
    match UNWANTED.iter().find(|package| holds(tree, package)) {
        Some(package) => bail!("the dependencies hold {package}"),
        None => Ok(()),
    }
}

fn holds(tree: &str, package: &str) -> bool {
    tree.lines().any(|line| line.strip_prefix(package).is_some_and(|rest| rest.starts_with(" v")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "chassis v0.1.0 (/here)\nchassis-backend-wasmtime v0.1.0\nwasmtime v48.0.8\nwasmi-like v1.0.0\n";

    #[test]
    fn an_engine_too_many_or_too_few_is_named() {
        assert!(judge_engines(TREE, &["wasmtime"]).is_ok());
        let says = |tree: &str, engines: &[&str]| judge_engines(tree, engines).unwrap_err().to_string();
        assert_eq!(says(TREE, &[]), "the dependencies hold wasmtime");
        assert_eq!(says(TREE, &["wasmtime", "wasmedge"]), "the dependencies lack wasmedge-sdk");
        assert_eq!(says(&format!("{TREE}wasmi v2.0.0 (*)\n"), &["wasmtime"]), "the dependencies hold wasmi");
    }

    #[test]
    fn a_library_brings_no_server() {
        assert!(judge_library(TREE).is_ok());
        assert!(judge_library(&format!("{TREE}hyper-util v0.1.0\n")).is_ok());
        let error = judge_library(&format!("{TREE}tokio v1.54.1 (*)\n")).unwrap_err();
        assert_eq!(error.to_string(), "the dependencies hold tokio");
    }

    #[test]
    fn the_packages_are_those_of_the_engines() {
        assert_eq!(PACKAGES.map(|(engine, _)| engine), super::super::ENGINES);
    }
}

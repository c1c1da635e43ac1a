//! `cargo xtask ci`: everything that must hold before a change lands.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::test;

/// The feature sets in which the packages with engine features must build: one engine each, and none.
const SUBSETS: [&[&str]; 3] = [&[], &["wasmtime"], &["wasmi"]];
/// The packages that have engine features.
const WITH_FEATURES: [&str; 3] = ["chassis-engines", "chassis", "chassis-cli"];

/// Runs every step and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    cargo("format", &["fmt", "--all", "--check"])?;
    step("tests", || test::run(&[]))?;
    step("tests of the tasks", || test::run(&["--package", "xtask"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo("lints", &lints)?;
    docs()?;
    for features in SUBSETS {
        for package in WITH_FEATURES {
            subset(package, features)?;
        }
    }
    let portable = ["check", "--package", "chassis", "--no-default-features", "--features", "wasmi-portable-dispatch"];
    cargo("chassis with wasmi's portable dispatch", &portable)?;
    println!("everything holds");
    Ok(())
}

fn docs() -> Result<()> {
    step("documentation", || {
        let mut command = Command::new(env!("CARGO"));
        command.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        succeed(command)
    })
}

fn subset(package: &str, features: &[&str]) -> Result<()> {
    let list = features.join(",");
    let name = format!("{package} with {}", if list.is_empty() { "no engine" } else { &list });
    cargo(&name, &["check", "--package", package, "--no-default-features", "--features", &list])?;
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--no-default-features"])
        .args(["--features", &list])
        .output()
        .context("cargo tree")?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    for engine in ["wasmtime", "wasmi"] {
        let there = tree.lines().any(|line| line.starts_with(&format!("{engine} v")));
        if there != features.contains(&engine) {
            bail!("{name}: the dependency tree {} {engine}", if there { "holds" } else { "lacks" });
        }
    }
    for unwanted in ["clap v", "hyper v", "tokio v"] {
        if package == "chassis" && tree.lines().any(|line| line.starts_with(unwanted)) {
            bail!("the facade's dependency tree holds {unwanted}");
        }
    }
    Ok(())
}

fn cargo(name: &str, arguments: &[&str]) -> Result<()> {
    step(name, || {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments);
        succeed(command)
    })
}

fn succeed(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let start = Instant::now();
    work().with_context(|| name.to_owned())?;
    println!("== {name}: {} s", start.elapsed().as_secs());
    Ok(())
}

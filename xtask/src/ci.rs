//! `cargo xtask ci`: everything that must hold before a change lands.

use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::test;
use crate::wasmedge::{self, Library};

/// The feature sets in which the packages with engine features must build: one engine each, and none.
const SUBSETS: [&[&str]; 4] = [&[], &["wasmtime"], &["wasmedge"], &["wasmi"]];
/// The packages that have engine features.
const WITH_FEATURES: [&str; 3] = ["chassis-engines", "chassis", "chassis-cli"];

/// What the steps have of libwasmedge; without it they leave its engine out.
struct Wasmedge(Option<Vec<(&'static str, OsString)>>);

/// Runs every step and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let wasmedge = Wasmedge::provide()?;
    wasmedge.cargo("format", &["fmt", "--all", "--check"])?;
    step("tests", || test::run(&[]))?;
    step("tests of the tasks", || test::run(&["--package", "xtask"]))?;
    wasmedge.cargo("lints", &wasmedge.workspace("clippy", &["--all-targets", "--", "-D", "warnings"]))?;
    step("documentation", || {
        let mut command = wasmedge.command(&wasmedge.workspace("doc", &["--no-deps"]));
        command.env("RUSTDOCFLAGS", "-D warnings");
        succeed(command)
    })?;
    for features in SUBSETS.into_iter().filter(|features| wasmedge.0.is_some() || !features.contains(&"wasmedge")) {
        for package in WITH_FEATURES {
            subset(&wasmedge, package, features)?;
        }
    }
    let portable = ["check", "--package", "chassis", "--no-default-features", "--features", "wasmi-portable-dispatch"];
    wasmedge.cargo("chassis with wasmi's portable dispatch", &portable)?;
    println!("everything holds{}", if wasmedge.0.is_none() { " that needs no libwasmedge" } else { "" });
    Ok(())
}

impl Wasmedge {
    fn provide() -> Result<Self> {
        match Library::provide() {
            Ok(library) => Ok(Wasmedge(Some(library.environment()?))),
            Err(error) if wasmedge::is_required() => Err(error),
            Err(error) => {
                println!("not held against the engine wasmedge: {error:#}");
                Ok(Wasmedge(None))
            }
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).envs(self.0.iter().flatten().cloned());
        command
    }

    fn cargo(&self, name: &str, arguments: &[&str]) -> Result<()> {
        step(name, || succeed(self.command(arguments)))
    }

    /// The arguments of a cargo command for the workspace.
    fn workspace<'a>(&self, command: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![command, "--workspace"];
        if self.0.is_none() {
            all.extend(["--exclude", "chassis-backend-wasmedge"]);
        }
        all.extend(arguments);
        all
    }
}

fn subset(wasmedge: &Wasmedge, package: &str, features: &[&str]) -> Result<()> {
    let list = features.join(",");
    let name = format!("{package} with {}", if list.is_empty() { "no engine" } else { &list });
    wasmedge.cargo(&name, &["check", "--package", package, "--no-default-features", "--features", &list])?;
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--no-default-features"])
        .args(["--features", &list])
        .output()
        .context("cargo tree")?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    for (engine, package) in [("wasmtime", "wasmtime"), ("wasmedge", "wasmedge-sdk"), ("wasmi", "wasmi")] {
        let there = tree.lines().any(|line| line.starts_with(&format!("{package} v")));
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

//! `cargo xtask ci`: everything that must hold before a change lands.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::wasmedge::{self, Library};
use crate::{fuzz, instructions, subsets, test};

/// What the steps have of libwasmedge; without it they leave its engine out.
pub(crate) struct Wasmedge(Option<Vec<(&'static str, OsString)>>);

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
    step("kept inputs of the fuzz targets", fuzz::replay)?;
    step("instructions", || instructions::run(&[]))?;
    subsets::check(&wasmedge, false)?;
    subsets::test(&wasmedge, &subsets::SOON_BUILT)?;
    println!("everything holds{}", if wasmedge.0.is_none() { " that needs no libwasmedge" } else { "" });
    Ok(())
}

/// Writes the page on what of the ABI is proven, or tells whether it is up to date; the tests hold it too.
pub(crate) fn coverage(write: bool) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--package", "chassis-conformance", "--test", "it", "coverage::"]);
    if write {
        command.env("CHASSIS_BLESS", "1");
    }
    succeed(command)
}

impl Wasmedge {
    pub(crate) fn provide() -> Result<Self> {
        match Library::provide() {
            Ok(library) => Ok(Wasmedge(Some(library.environment()?))),
            Err(error) if wasmedge::is_required() => Err(error),
            Err(error) => {
                println!("not held against the engine wasmedge: {error:#}");
                Ok(Wasmedge(None))
            }
        }
    }

    /// Whether it could be provided.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).envs(self.0.iter().flatten().cloned());
        command
    }

    pub(crate) fn cargo(&self, name: &str, arguments: &[impl AsRef<OsStr>]) -> Result<()> {
        step(name, || succeed(self.command(arguments)))
    }

    /// The arguments of a cargo command for the workspace, with all engines that can be had.
    fn workspace(&self, command: &str, arguments: &[&str]) -> Vec<String> {
        let features = match &self.0 {
            Some(_) => test::features(&["wasmer", "wasmedge"]),
            None => test::features(&["wasmer"]),
        };
        let without: &[&str] = if self.0.is_none() { &["--exclude", "chassis-backend-wasmedge"] } else { &[] };
        let all = [command, "--workspace", "--features", &features];
        all.iter().chain(without).chain(arguments).map(|argument| (*argument).to_owned()).collect()
    }
}

fn succeed(mut command: Command) -> Result<()> {
    // Without the variables, which are long.
    let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let line = format!("cargo {}", words.join(" "));
    let status = command.status().with_context(|| line.clone())?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs a part, with its name and its time around what it prints.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let start = Instant::now();
    work().with_context(|| name.to_owned())?;
    println!("== {name}: {} s", start.elapsed().as_secs());
    Ok(())
}

//! The real binary, as people and scripts use it: what it prints, and with which code it ends.
#![allow(clippy::unwrap_used)]

mod bench;
mod commands;
mod json;
mod transcripts;

// Plugins need an engine.
#[cfg(not(engines = "none"))]
mod apisix;
#[cfg(not(engines = "none"))]
mod conformance;
#[cfg(not(engines = "none"))]
mod hostile;
#[cfg(not(engines = "none"))]
mod logs;
#[cfg(not(engines = "none"))]
mod process;
#[cfg(not(engines = "none"))]
mod run;
#[cfg(engines = "several")]
mod run_engines_agree;
#[cfg(not(engines = "none"))]
mod run_hostile;
#[cfg(not(engines = "none"))]
mod run_prime;
#[cfg(not(engines = "none"))]
mod serve;

use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// The binary, with nothing from the surroundings that changes its output.
fn chassis<I: IntoIterator>(args: I) -> Command
where
    I::Item: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chassis"));
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(variable);
    }
    command.args(args);
    command
}

/// A plugin of the repository, as `rust/hello.wasm` or `wat/trap.wat`.
fn plugin(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(name)
}

/// How a command ended.
struct Output {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the binary to its end.
fn output<I: IntoIterator>(args: I) -> Output
where
    I::Item: AsRef<std::ffi::OsStr>,
{
    let output = chassis(args).output().unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The engines that this binary knows, as it lists them.
fn listed_engines() -> Vec<serde_json::Value> {
    let engines: serde_json::Value = serde_json::from_str(&output(["engines", "--json"]).stdout).unwrap();
    engines["engines"].as_array().unwrap().clone()
}

/// The names of all engines, those that were not compiled in among them.
fn all_engines() -> Vec<String> {
    names(|_| true)
}

/// The engines that this binary was built with, by what it says itself.
fn available_engines() -> Vec<String> {
    names(|engine| engine["available"] == true)
}

fn names(which: impl Fn(&serde_json::Value) -> bool) -> Vec<String> {
    let engines = listed_engines();
    let chosen = engines.iter().filter(|engine| which(engine));
    chosen.map(|engine| engine["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn plugins_are_where_the_tests_look_for_them() {
    assert!(plugin("rust/hello.wasm").is_file());
    let version = output(["--version"]);
    assert_eq!(version.code, 0, "{}", version.stderr);
    assert!(version.stdout.starts_with("chassis ") && version.stderr.is_empty(), "{}", version.stdout);
}

//! `chassis run --engine all`, on every plugin of the repository: that they agree on many inputs is for the library's
//! tests (`conformance/tests/agree`), that the command says so for these.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{available_engines, chassis, plugin};

/// Every plugin but those in Go, which take seconds to compile.
fn plugins() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [("assemblyscript", "wasm"), ("c", "wasm"), ("rust", "wasm"), ("wat", "wat")]
        .into_iter()
        .flat_map(|(folder, extension)| {
            let files = std::fs::read_dir(plugin(folder)).unwrap().map(|file| file.unwrap().path());
            files.filter(move |file| file.extension() == Some(OsStr::new(extension)))
        })
        .collect();
    found.sort();
    found
}

/// Runs a plugin on all engines, and answers its runs, one for each.
fn runs(file: &Path, options: &[&str]) -> Vec<Value> {
    let mut command = chassis(["run", "--engine", "all", "--json"]);
    let output = command.args(options).arg(file).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let name = file.display();
    // Neither disagreement nor a mistake of the command line.
    assert!(matches!(output.status.code(), Some(0 | 3 | 4)), "{name}: {:?}: {stderr}", output.status);
    assert!(!stderr.contains("do not agree"), "{name}: {stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = report["runs"].as_array().unwrap().clone();
    let engines: Vec<&str> = runs.iter().map(|run| run["engine"].as_str().unwrap()).collect();
    assert_eq!(engines, available_engines(), "{name}");
    runs
}

#[test]
fn engines_agree_about_every_plugin() {
    let plugins = plugins();
    assert!(plugins.len() >= 20, "plugins are missing: {plugins:?}");
    for file in &plugins {
        // A guest that never returns is to be stopped soon, and every other one not, however busy the machine is.
        let stem = file.file_stem().unwrap().to_string_lossy();
        let deadline = if stem.starts_with("loop") || stem == "grow" { "20ms" } else { "10s" };
        let limits = ["--compile", "in-process", "--deadline", deadline, "--start-deadline", deadline];
        let request = ["--body", "banana", "--upstream-body", "ananas", "--chunk-size", "4", "--config", "an=>na"];
        let runs = runs(file, &[&limits[..], &request].concat());
        for run in &runs {
            for part in ["outcome", "response", "upstream_request"] {
                assert_eq!(run[part], runs[0][part], "{}: {part}", file.display());
            }
        }
    }
}

/// A large module, compiled in a child process and run within the default limits.
#[test]
fn engines_agree_about_a_plugin_in_go() {
    let runs = runs(&plugin("go/log.wasm"), &["--config", "hello", "--start-deadline", "10s"]);
    for run in runs {
        let logs = run["logs"].as_array().unwrap();
        let line = logs.iter().find(|line| line["level"] == "warn").unwrap();
        assert_eq!(line["message"], "run plugin ctx 1 with conf hello in http ctx 2", "{}", run["engine"]);
    }
}

/// The inputs are what their names say: a whole body of 1 MiB reaches plugin and upstream.
#[test]
fn bodies_in_pieces_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.path().join("mib"), bytes).unwrap();
    let mib = format!("@{}", folder.path().join("mib").display());
    let output = chassis(["run", "--json", "--body", &mib, "--chunk-size", "64KiB"])
        .arg(plugin("rust/body-rewrite.wasm"))
        .args(["--upstream-body", &mib, "--config", "nothing like it=>x"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &report["runs"][0];
    let length = |message: &Value| message["body_base64"].as_str().unwrap().len();
    assert_eq!(length(&run["upstream_request"]), (1usize << 20).div_ceil(3) * 4);
    assert_eq!(length(&run["response"]), length(&run["upstream_request"]));
    let calls = |name: &str| run["callbacks"].as_array().unwrap().iter().filter(|call| call["name"] == name).count();
    assert_eq!((calls("proxy_on_request_body"), calls("proxy_on_response_body")), (16, 16));
}

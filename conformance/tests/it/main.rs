//! The runner itself: what it reports when something is not as a case says, what it says of mistakes, and whether the
//! embedded cases call everything that there is.
#![allow(clippy::unwrap_used)]
#![cfg_attr(
    not(any(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi")),
    allow(dead_code)
)]

// Guests need an engine.
#[cfg(any(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi"))]
mod coverage;
#[cfg(any(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi"))]
mod covers;
#[cfg(any(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi"))]
mod doctored;
mod mistakes;
mod schema;

use std::fs;
use std::path::Path;

use chassis_conformance::{CaseResult, Suite, SuiteError, run_all};
use chassis_engine_api::Profile;
use chassis_engine_api::compile::CompilePolicy;
use chassis_engines::{ProxyWasmEngine, compiled_in, open};

/// Every engine that was compiled in.
fn engines() -> Vec<ProxyWasmEngine> {
    compiled_in().into_iter().map(|name| open(name, Profile::Deadline).unwrap()).collect()
}

fn plugins() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
}

/// A suite of files, named by their paths.
fn suite(files: &[(&str, &str)]) -> Result<Suite, SuiteError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    Suite::from_folder(folder.path(), plugins())
}

fn results(suite: &Suite) -> Vec<CaseResult> {
    run_all(suite, &engines(), "", &CompilePolicy::InProcess, |_, _, _| {})
}

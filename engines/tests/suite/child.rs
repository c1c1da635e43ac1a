//! Cases that need a process of their own: the suite starts itself again, with a task in the environment.

use std::io::Write;
use std::process::Command;

use chassis_engine_api::Profile;

use crate::aot;
use crate::subject::Subject;
use crate::together::{self, Trapper};

const TASK: &str = "CHASSIS_SUITE_TASK";

/// What a child process can do with an engine.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) trapper: fn() -> Trapper,
    save: fn(Profile) -> Vec<u8>,
}

impl Known {
    /// The code of one module, saved by this engine and sealed; empty if it saves none.
    pub(crate) fn sealed(&self, profile: Profile) -> Vec<u8> {
        (self.save)(profile)
    }
}

/// The compiled-in engines that run Wasm.
pub(crate) fn engines() -> Vec<Known> {
    vec![
        #[cfg(feature = "wasmtime")]
        known::<chassis_backend_wasmtime::WasmtimeEngine>("wasmtime"),
        #[cfg(feature = "wasmer")]
        known::<chassis_backend_wasmer::WasmerEngine>("wasmer"),
        #[cfg(feature = "wasmedge")]
        known::<chassis_backend_wasmedge::WasmedgeEngine>("wasmedge"),
        #[cfg(feature = "wasmi")]
        known::<chassis_backend_wasmi::WasmiEngine>("wasmi"),
    ]
}

#[allow(dead_code)]
fn known<E: Subject>(name: &'static str) -> Known {
    Known { name, trapper: together::trapper::<E>, save: aot::sealed_by::<E> }
}

pub(crate) fn engine(name: &str) -> Known {
    engines().into_iter().find(|known| known.name == name).unwrap()
}

/// Starts a child process with a task and answers what it wrote.
///
/// # Errors
/// The child's words if it failed.
pub(crate) fn run(task: &str) -> Result<Vec<u8>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).env(TASK, task).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("the child process for `{task}` ended with {}: {words}", output.status))
}

/// Does the task of this process, if it is such a child. It fails by panicking.
pub(crate) fn did_task() -> bool {
    let Ok(task) = std::env::var(TASK) else { return false };
    let words: Vec<&str> = task.split(' ').collect();
    match words[..] {
        ["trap", first, second] => together::trap_in_turn(&[first, second]),
        ["save", name, profile] => {
            let sealed = engine(name).sealed(Profile::from_name(profile).unwrap());
            std::io::stdout().write_all(&sealed).unwrap();
        }
        _ => panic!("unknown task {task}"),
    }
    true
}

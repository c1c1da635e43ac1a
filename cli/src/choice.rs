//! Which engines are meant.

use std::error::Error;
use std::fmt;

use chassis_engine_api::Profile;
use chassis_engine_api::compile::{ChildCompiler, CompilePolicy};
use chassis_engines::{ENGINES, ProxyWasmEngine, compiled_in, default_engine, open};
use clap::ValueEnum;

use crate::exit::{Exit, Failure};

/// An engine that was picked.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) engine: ProxyWasmEngine,
}

/// The engines of these names; `all` is every one that was compiled in, and no name the default one.
pub(crate) fn engines(names: &[String]) -> Result<Vec<Engine>, Failure> {
    let all = || compiled_in().into_iter().map(str::to_owned).collect();
    let names: Vec<String> = match names {
        [] => default_engine().map(str::to_owned).into_iter().collect(),
        names if names.iter().any(|name| name == "all") => all(),
        names => names.to_vec(),
    };
    let mut engines: Vec<Engine> = Vec::new();
    for name in &names {
        let engine = open(name, Profile::Deadline)?;
        let name = engine.capabilities().name;
        if engines.iter().all(|known| known.name != name) {
            engines.push(Engine { name, engine });
        }
    }
    if engines.is_empty() {
        return Err(NoEngine.into());
    }
    Ok(engines)
}

/// The engine that runs when none is named.
pub(crate) fn default() -> Result<ProxyWasmEngine, Box<dyn Error + Send + Sync>> {
    let name = default_engine().ok_or(NoEngine)?;
    Ok(open(name, Profile::Deadline)?)
}

/// There is no engine at all.
#[derive(Debug)]
pub(crate) struct NoEngine;

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ENGINES.map(|engine| format!("`--features {}`", engine.name)).join(" or ");
        write!(f, "no engine was compiled in; build with {names}")
    }
}

impl Error for NoEngine {}

impl From<NoEngine> for Failure {
    fn from(error: NoEngine) -> Self {
        Failure::new(Exit::NoEngine, error)
    }
}

/// Where modules are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compile {
    /// In a child process with limits on time and memory.
    Child,
    /// In this process, for modules that are trusted.
    InProcess,
}

impl Compile {
    /// The policy; the child process is this program again.
    pub(crate) fn policy(self) -> Result<CompilePolicy, Failure> {
        match self {
            Compile::InProcess => Ok(CompilePolicy::InProcess),
            Compile::Child => {
                let program = std::env::current_exe().map_err(|error| {
                    let error = anyhow::Error::new(error).context("this program cannot be found for compiling");
                    Failure::new(Exit::Invalid, error)
                })?;
                Ok(CompilePolicy::Child(ChildCompiler::new(program, ["compile", "--worker"])))
            }
        }
    }
}

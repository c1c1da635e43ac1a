//! `chassis compile --worker`: the child process in which a module is compiled.

use std::io;

use chassis_engine_api::{EngineError, Profile};
use chassis_engines::open;

/// Compile one module for the parent process.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Talk to the parent process by standard input and output.
    #[arg(long, required = true)]
    worker: bool,
    /// The engine.
    #[arg(long)]
    engine: String,
    /// The engine's settings: deadline, fuel or stream.
    #[arg(long)]
    profile: String,
}

/// The exit code is one of those that the parent process knows.
pub(crate) fn execute(args: &Args) -> u8 {
    let refused = |message: String| EngineError::Setup { engine: "compile", message };
    chassis_engine_api::compile::worker(io::stdin().lock(), io::stdout().lock(), |module| {
        let profile = Profile::from_name(&args.profile);
        let profile = profile.ok_or_else(|| refused(format!("there is no profile `{}`", args.profile)))?;
        let engine = open(&args.engine, profile).map_err(|error| refused(error.to_string()))?;
        engine.compile_to_artefact(module)
    })
}

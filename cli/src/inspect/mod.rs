//! `chassis inspect`: what a module is, what it wants from a host, and which engines can run it.

mod facts;
mod print;

use std::path::{Path, PathBuf};
use std::time::Instant;

use chassis_abi::Identity;
use chassis_engine_api::{CheckedModule, FrontLimits};
use chassis_host::{FailPolicy, Plugin, PluginError, PluginLimits, PluginSpec, read_module};
use serde::Serialize;

use self::facts::Facts;
use crate::choice::{self, Compile, Engine};
use crate::exit::{Ended, Exit, Failure};
use crate::style;

const AFTER: &str = "\
Examples:
  chassis inspect plugin.wasm
  chassis inspect plugin.wat --json

Exit codes:
  0  at least one of the engines can run it
  2  the command line is wrong
  4  it cannot be read, is not a module, or none of the engines can run it; what its bytes say is shown all the same
  5  the engine was not compiled in";

/// Show what a plugin is, what it wants from a host, and which engines can run it.
#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct Args {
    /// The plugin, `.wasm` or `.wat`.
    plugin: PathBuf,
    /// Engines to try it on: names with commas between them. All, unless given.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    engine: Vec<String>,
    /// Where the module is compiled; engines that do not compile have no part in this.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Compile::Child)]
    compile: Compile,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    file: String,
    /// What its bytes say; `null` if it is not a module.
    module: Option<Facts>,
    engines: Vec<Tried>,
    /// Everything that keeps it from being run.
    problems: Vec<String>,
}

/// An engine that the plugin was loaded on.
#[derive(Debug, Serialize)]
struct Tried {
    name: &'static str,
    version: &'static str,
    loads: bool,
    /// Why it does not load, if that is the engine's own reason.
    error: Option<String>,
    /// How long checking, compiling and linking took.
    load_ns: u64,
}

pub(crate) fn execute(args: &Args) -> Ended {
    let names = if args.engine.is_empty() { &["all".to_owned()][..] } else { &args.engine };
    let engines = choice::engines(names)?;
    let report = inspect(&args.plugin, &engines, args.compile)?;
    if args.json {
        style::print_json(&report)?;
    } else if report.module.is_some() {
        style::print(&print::report(&report))?;
    }
    if report.engines.iter().any(|engine| engine.loads) {
        return Ok(Exit::Success);
    }
    let problems = report.problems.join("; ");
    Err(Failure::new(Exit::Invalid, anyhow::anyhow!("{}: {problems}", report.file)))
}

fn inspect(file: &Path, engines: &[Engine], compile: Compile) -> Result<Report, Failure> {
    let mut report = Report {
        schema: "chassis/inspect/v1",
        file: file.display().to_string(),
        module: None,
        engines: Vec::new(),
        problems: Vec::new(),
    };
    let limits = FrontLimits::default();
    let bytes = read_module(file, limits.module_bytes).map_err(|error| Failure::new(Exit::Invalid, error))?;
    let module = match CheckedModule::new(bytes, &limits) {
        Ok(module) => module,
        Err(error) => {
            report.problems.push(error.to_string());
            return Ok(report);
        }
    };
    report.module = Some(Facts::of(&module));
    let policy = compile.policy()?;
    for Engine { name, engine } in engines {
        let spec = PluginSpec {
            identity: Identity::default(),
            file: file.to_owned(),
            limits: PluginLimits::default(),
            fail_policy: FailPolicy::Closed,
        };
        let began = Instant::now();
        let loaded = Plugin::load(spec, &**engine, &policy);
        let load_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let version = engine.capabilities().version;
        let mut tried = Tried { name, version, loads: loaded.is_ok(), error: None, load_ns };
        match loaded {
            Ok(_) => {}
            Err(PluginError::Module { problems, .. }) => {
                let known = &mut report.problems;
                problems.iter().map(ToString::to_string).for_each(|problem| add(known, problem));
            }
            Err(PluginError::Engine { error, .. }) => {
                add(&mut report.problems, format!("{name}: {error}"));
                tried.error = Some(error.to_string());
            }
            Err(error) => add(&mut report.problems, error.to_string()),
        }
        report.engines.push(tried);
    }
    Ok(report)
}

/// Adds a problem that is not known yet; most are the same on every engine.
fn add(problems: &mut Vec<String>, problem: String) {
    if !problems.contains(&problem) {
        problems.push(problem);
    }
}

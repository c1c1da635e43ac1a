//! `chassis validate`: whether a configuration would be served, without serving it.

use std::path::{Path, PathBuf};

use chassis_abi::LogLevel;
use chassis_engine_api::Profile;
use chassis_engines::open;
use chassis_gateway::config::{Config, ConfigError, Place, Problem};
use chassis_gateway::plugins::{PluginFailure, PluginsError};
use chassis_host::Stores;
use serde::Serialize;

use crate::choice::Compile;
use crate::exit::{Ended, Exit, Failure};
use crate::serve::{self, log};
use crate::style;

const LONG: &str = "\
Check a configuration as `serve` would before it listens: read it, compile all plugins, start those that are used and \
configure them. Nothing is listened on.";

const AFTER: &str = "\
Examples:
  chassis validate gateway.yaml
  chassis validate /usr/local/apisix/conf
  chassis validate gateway.yaml --json

JSON:
  --json prints { \"schema\": \"chassis/validate/v1\", \"valid\", \"plugins\", \"routes\", \"errors\", \"warnings\" }
  errors[]  \"file\", \"line\" and \"column\" (from 1; 0 is unknown), \"key\", \"message\"

Exit codes:
  0  it can be served
  2  the command line is wrong
  4  something in it is wrong
  5  an engine was not compiled in";

/// Check a configuration and its plugins without serving.
#[derive(clap::Args)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub(crate) struct Args {
    /// The configuration, YAML; or APISIX's config.yaml, or its directory, with apisix.yaml beside it.
    file: PathBuf,
    /// The engine of all plugins, whatever the file says.
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Where modules are compiled; engines that do not compile have no part in this.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Compile::Child)]
    compile: Compile,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    valid: bool,
    /// How many there are; 0 if the file could not be read.
    plugins: usize,
    routes: usize,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    file: String,
    line: u64,
    column: u64,
    key: String,
    message: String,
    #[serde(skip)]
    exit: Exit,
}

pub(crate) fn execute(args: &Args) -> Ended {
    log::start_plain();
    let forced = args.engine.as_deref().map(|name| open(name, Profile::Deadline)).transpose()?;
    let mut report = Report {
        schema: "chassis/validate/v1",
        valid: false,
        plugins: 0,
        routes: 0,
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    match Config::load(&args.file) {
        Err(error) => report.errors = of_config(&args.file, error),
        Ok(config) => {
            report.plugins = config.plugins.len();
            report.routes = config.routes.len();
            report.warnings = config.warnings.iter().map(|problem| of_problem(&config.file, problem)).collect();
            let policy = args.compile.policy()?;
            let loaded = serve::load(&config, forced, &policy, LogLevel::Warn, &Stores::new());
            report.errors = match loaded.and_then(|plugins| plugins.check(&config)) {
                Ok(()) => Vec::new(),
                Err(error) => of_plugins(&error),
            };
        }
    }
    report.valid = report.errors.is_empty();
    let exit = report.errors.iter().map(|finding| finding.exit).min().unwrap_or(Exit::Success);
    if args.json {
        style::print_json(&report)?;
        return Ok(exit);
    }
    for warning in &report.warnings {
        style::print_warning(&warning.line())?;
    }
    let errors = report.errors.iter().map(|finding| (finding.exit, anyhow::anyhow!(finding.line())));
    if let Some(failure) = Failure::several(errors) {
        return Err(failure);
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (plugins, routes) = (count(report.plugins, "plugin"), count(report.routes, "route"));
    style::print(&format!("{}: valid: {plugins}, {routes}\n", args.file.display()))?;
    Ok(exit)
}

impl Finding {
    fn of(file: &Path, place: Place, key: &str, message: String) -> Self {
        let Place { line, column } = place;
        Finding { file: file.display().to_string(), line, column, key: key.to_owned(), message, exit: Exit::Invalid }
    }

    fn line(&self) -> String {
        let Finding { file, line, column, key, message, .. } = self;
        let place = if *line == 0 { String::new() } else { format!("{line}:{column}: ") };
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        // What is wrong with a whole file begins with its name already.
        if *line == 0 && message.starts_with(file.as_str()) {
            message.clone()
        } else {
            format!("{file}:{place}{key}{message}")
        }
    }
}

fn of_problem(given: &Path, problem: &Problem) -> Finding {
    let file = problem.file.as_deref().unwrap_or(given);
    Finding::of(file, problem.place, &problem.key, problem.cause.clone())
}

fn of_config(given: &Path, error: ConfigError) -> Vec<Finding> {
    match error {
        ConfigError::Invalid { file, problems } => problems.iter().map(|problem| of_problem(&file, problem)).collect(),
        error => vec![Finding::of(given, Place::default(), "", error.to_string())],
    }
}

fn of_plugins(error: &PluginsError) -> Vec<Finding> {
    let finding = |failure: &PluginFailure| {
        let file = failure.file.as_deref().unwrap_or(&error.file);
        let exit = match serve::exit_of(failure) {
            Exit::NoEngine => Exit::NoEngine,
            _ => Exit::Invalid,
        };
        let message = format!("plugin `{}`: {}", failure.plugin, failure.error);
        Finding { exit, ..Finding::of(file, failure.place, "", message) }
    };
    error.failures.iter().map(finding).collect()
}

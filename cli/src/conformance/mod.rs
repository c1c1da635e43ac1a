//! `chassis conformance`: cases with what must be seen, on every engine.

mod text;

use std::path::PathBuf;

use chassis_conformance::{Suite, SuiteError, choose, junit, report, run_all, schema, trial_name};
use chassis_engines::ProxyWasmEngine;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::choice::{self, Compile};
use crate::exit::{Ended, Exit, Failure};
use crate::style;

const LONG: &str = "\
Run the conformance cases: what Proxy-Wasm 0.1.0 to 0.2.1 and WASI must do, on every engine.

A case is a guest, what is done to it, and what must be seen: callbacks with their parameters, host calls with their \
statuses, log lines, what the upstream saw and what the client got, how the guest ended. The cases are part of this \
program; --cases runs those of a folder instead. Time and random numbers are the same in each run, so that engines are \
also compared with each other, in what the case does not say too.

What an engine cannot do, by its own word (`chassis engines`), is ignored with that reason; so is a case whose plugin is \
not below --plugins, which are in the repository of Chassis and not in this program.";

const AFTER: &str = "\
Examples:
  chassis conformance
  chassis conformance --engine wasmtime,wasmi --filter headers/
  chassis conformance --filter lifecycle/order --format json
  chassis conformance --list
  chassis conformance --cases my-cases --plugins my-plugins
  chassis conformance --format junit > conformance.xml
  chassis conformance --schema > case.schema.json

JSON:
  --format json prints { \"schema\": \"chassis/conformance/v1\", \"summary\", \"engines\", \"cases\",
  \"disagreements\" }
  cases[].status    passed, failed, ignored, or deviates: as is known of this engine
  cases[].reason    why it was ignored, or deviates
  difference        at: what differs; line: of the case's file; expected and seen: its lines, of
                    which the first `first` are the same
  disagreements     where an engine did something else than the first one that ran the case

Exit codes:
  0  every case passed, deviates as is known, or was ignored; and the engines agree
  1  a case failed, engines do not agree, or every case was ignored
  2  the command line is wrong, or no case has the text of --filter in its name
  4  the cases cannot be read, or one has a mistake
  5  an engine was not compiled in";

/// Run the conformance cases on every engine.
#[derive(clap::Args)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub(crate) struct Args {
    /// Engines to run them on: names with commas between them, or `all`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all")]
    engine: Vec<String>,
    /// Run cases whose name, AREA/CASE::ENGINE, contains this text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    filter: String,
    /// Run the cases of this folder, as AREA/CASE.yaml, instead of the program's own.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Where the modules of plugins are.
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,
    /// Where modules of plugins and of --cases are compiled; the program's own guests are compiled in it.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Compile::Child)]
    compile: Compile,
    /// List the cases instead of running them.
    #[arg(long)]
    list: bool,
    /// How results are printed.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
    /// Print the JSON schema of case files.
    #[arg(long, conflicts_with_all = ["list", "format", "cases", "filter"])]
    schema: bool,
    /// Show no progress; there is none either where the standard error is no terminal.
    #[arg(long)]
    no_progress: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A matrix of areas and engines, and what differs.
    Text,
    /// JSON.
    Json,
    /// JUnit's XML.
    Junit,
}

pub(crate) fn execute(args: &Args) -> Ended {
    if args.schema {
        style::print(&schema())?;
        return Ok(Exit::Success);
    }
    if args.list && args.format == Format::Junit {
        let error = anyhow::anyhow!("--list is printed as text or json: there are no results for junit yet");
        return Err(Failure::new(Exit::Usage, error));
    }
    let suite = suite(args)?;
    let engines: Vec<ProxyWasmEngine> =
        choice::engines(&args.engine)?.into_iter().map(|engine| engine.engine).collect();
    if choose(&suite, &engines, &args.filter).is_empty() {
        let message = format!("--filter: no case has `{}` in its name; --list shows them", args.filter);
        return Err(Failure::new(Exit::Usage, anyhow::anyhow!(message)));
    }
    if args.list {
        return list(args, &suite, &engines);
    }
    let policy = args.compile.policy()?;
    let bar = progress(args.no_progress);
    let results = run_all(&suite, &engines, &args.filter, &policy, |through, total, name| {
        bar.set_length(total as u64);
        bar.set_position(through as u64);
        bar.set_message(name.to_owned());
    });
    bar.finish_and_clear();
    let versions: Vec<_> =
        engines.iter().map(|engine| (engine.capabilities().name, engine.capabilities().version)).collect();
    let report = report(&versions, &results);
    let summary = report.summary();
    match args.format {
        Format::Json => style::print_json(&report)?,
        Format::Junit => style::print(&junit(&versions, &results))?,
        Format::Text => style::print(&text::results(&versions, &results, &summary, args.cases.as_deref()))?,
    }
    let ran = summary.passed + summary.deviating + summary.failed;
    if ran == 0 {
        let error = anyhow::anyhow!("nothing was run: all {} were ignored, each with its reason", summary.ignored);
        return Err(Failure::new(Exit::No, error));
    }
    Ok(if summary.failed + summary.disagreements == 0 { Exit::Success } else { Exit::No })
}

fn suite(args: &Args) -> Result<Suite, Failure> {
    let suite = match &args.cases {
        Some(folder) => Suite::from_folder(folder, &args.plugins),
        None => Suite::embedded(&args.plugins),
    };
    suite.map_err(|error: SuiteError| Failure::new(Exit::Invalid, error))
}

fn list(args: &Args, suite: &Suite, engines: &[ProxyWasmEngine]) -> Ended {
    let chosen = choose(suite, engines, &args.filter);
    if args.format == Format::Json {
        let cases: Vec<_> = chosen.iter().map(|(case, engines)| listed(case, engines)).collect();
        style::print_json(&serde_json::json!({ "schema": "chassis/conformance-list/v1", "cases": cases }))?;
        return Ok(Exit::Success);
    }
    let mut out = String::new();
    for (case, engines) in &chosen {
        for engine in engines {
            let capabilities = engine.capabilities();
            out.push_str(&trial_name(case, capabilities.name));
            if let Some(reason) = suite.ignored(case, capabilities) {
                out.push_str(&format!("  ignored: {reason}"));
            }
            out.push('\n');
        }
    }
    style::print(&out)?;
    Ok(Exit::Success)
}

fn listed(case: &chassis_conformance::Case, engines: &[&ProxyWasmEngine]) -> serde_json::Value {
    let engines: Vec<&str> = engines.iter().map(|engine| engine.capabilities().name).collect();
    serde_json::json!({ "area": case.area, "name": case.name, "about": case.about, "engines": engines })
}

/// A line on the standard error, which is not there where that is no terminal.
fn progress(none: bool) -> ProgressBar {
    let target = if none { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("{pos}/{len} {bar:24} {elapsed} {wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

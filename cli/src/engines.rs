//! `chassis engines`: which engines there are and how well each meets what is promised.

use chassis_engine_api::{Capabilities, Profile, Support};
use chassis_engines::{ENGINES, compiled_in, default_engine, open};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::choice::NoEngine;
use crate::exit::{Ended, Exit};
use crate::style;

const AFTER: &str = "\
Examples:
  chassis engines
  chassis engines --json

JSON:
  --json prints { \"schema\": \"chassis/engines/v1\", \"engines\" }
  engines[].available     whether it was compiled in and works; `reason` says why not
  engines[].default       whether it runs when none is named
  engines[].capabilities  how each guarantee is met: `exact`, `coarse` or `none`, with a reason

Exit codes:
  0  at least one engine was compiled in
  2  the command line is wrong
  5  no engine was compiled in";

/// List the engines and what each can do.
#[derive(clap::Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    engines: Vec<EngineReport>,
}

#[derive(Debug, Serialize)]
struct EngineReport {
    name: &'static str,
    /// Whether it runs when none is named.
    default: bool,
    available: bool,
    /// What would make it available.
    reason: Option<String>,
    version: Option<&'static str>,
    capabilities: Option<Guarantees>,
}

#[derive(Debug, Serialize)]
struct Guarantees {
    native_code: bool,
    aot: Met,
    deadline: Met,
    /// By which factor a deadline may be missed on a quiet machine, at worst.
    deadline_scale: u32,
    fuel: Met,
    memory_limit: Met,
    table_limit: Met,
    depth_limit: Met,
    backtrace: Met,
    cheap_instances: Met,
}

/// How a guarantee is met.
#[derive(Debug, Serialize)]
struct Met {
    /// `exact`, `coarse` or `none`.
    support: &'static str,
    /// How, or why not.
    reason: Option<&'static str>,
}

pub(crate) fn execute(args: &Args) -> Ended {
    let report = Report { schema: "chassis/engines/v1", engines: ENGINES.iter().map(|entry| of(entry.name)).collect() };
    let none = compiled_in().is_empty();
    if args.json {
        style::print_json(&report)?;
    } else if !none {
        style::print(&table(&report))?;
    }
    // There is nothing to list, which is said as by every other command.
    if none { Err(NoEngine.into()) } else { Ok(Exit::Success) }
}

fn of(name: &'static str) -> EngineReport {
    let default = default_engine() == Some(name);
    match open(name, Profile::Deadline) {
        Ok(engine) => {
            let capabilities = engine.capabilities();
            EngineReport {
                name,
                default,
                available: true,
                reason: None,
                version: Some(capabilities.version),
                capabilities: Some(capabilities.into()),
            }
        }
        Err(error) => EngineReport {
            name,
            default,
            available: false,
            reason: Some(error.to_string()),
            version: None,
            capabilities: None,
        },
    }
}

impl From<&Capabilities> for Guarantees {
    fn from(capabilities: &Capabilities) -> Self {
        Guarantees {
            native_code: capabilities.native_code,
            aot: capabilities.aot.into(),
            deadline: capabilities.deadline.into(),
            deadline_scale: capabilities.deadline_scale,
            fuel: capabilities.fuel.into(),
            memory_limit: capabilities.memory_limit.into(),
            table_limit: capabilities.table_limit.into(),
            depth_limit: capabilities.depth_limit.into(),
            backtrace: capabilities.backtrace.into(),
            cheap_instances: capabilities.cheap_instances.into(),
        }
    }
}

impl From<Support> for Met {
    fn from(support: Support) -> Self {
        Met { support: support.as_str(), reason: support.reason() }
    }
}

impl Guarantees {
    /// Each guarantee with its name.
    fn rows(&self) -> [(&'static str, &Met); 8] {
        [
            ("deadline", &self.deadline),
            ("fuel", &self.fuel),
            ("memory limit", &self.memory_limit),
            ("table limit", &self.table_limit),
            ("depth limit", &self.depth_limit),
            ("backtrace", &self.backtrace),
            ("saved code", &self.aot),
            ("cheap instances", &self.cheap_instances),
        ]
    }
}

/// A column for each engine, and below it how or why where a guarantee is not met exactly.
fn table(report: &Report) -> String {
    let available: Vec<(&EngineReport, &Guarantees)> =
        report.engines.iter().filter_map(|engine| Some((engine, engine.capabilities.as_ref()?))).collect();
    let mut table = Table::new();
    table.load_style(NOTHING);
    let cells = |first: &str, cell: &dyn Fn(&EngineReport, &Guarantees) -> String| {
        let cells = available.iter().map(|(engine, guarantees)| cell(engine, guarantees));
        std::iter::once(first.to_owned()).chain(cells).collect::<Vec<String>>()
    };
    table.set_header(cells("", &|engine, _| engine.name.to_owned()));
    table.add_row(cells("version", &|engine, _| engine.version.unwrap_or_default().to_owned()));
    table.add_row(cells("default", &|engine, _| if engine.default { "yes" } else { "no" }.to_owned()));
    table.add_row(cells("runs", &|_, met| if met.native_code { "machine code" } else { "an interpreter" }.to_owned()));
    let names = available.first().map_or_else(Vec::new, |(_, met)| met.rows().map(|(name, _)| name).to_vec());
    for (row, name) in names.iter().enumerate() {
        table.add_row(cells(name, &|_, met| met.rows()[row].1.support.to_owned()));
    }
    if let Some(names) = table.column_mut(0) {
        names.set_padding((0, 1));
    }
    let mut out = if available.is_empty() { String::new() } else { format!("{}\n", table.trim_fmt()) };
    for (engine, guarantees) in &available {
        for (name, met) in guarantees.rows() {
            if let Some(reason) = met.reason {
                out.push_str(&format!("\n{}, {name} {}: {reason}", engine.name, met.support));
            }
        }
    }
    for engine in report.engines.iter().filter(|engine| !engine.available) {
        out.push_str(&format!("\n{}", engine.reason.as_deref().unwrap_or_default()));
    }
    format!("{}\n", out.trim_matches('\n'))
}

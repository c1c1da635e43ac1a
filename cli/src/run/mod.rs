//! `chassis run`: requests and TCP streams through one plugin, without a server.

mod input;
mod tcp;
mod timeline;
mod upstream;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Identity, LogLevel};
use chassis_conformance::drive::{
    self, Ask, Cut, LOAD, Origin, Outcome, Plan, Report, Run, SCHEMA, Scripted, Settings, Sharing, TcpEvent, Trip,
    Upstream,
};
use chassis_host::{FailPolicy, PluginLimits, PluginSpec};
use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};

use self::upstream::Remote;
use crate::choice::{self, Compile, Engine};
use crate::exit::{Ended, Exit, Failure};
use crate::style;
use crate::values::{self, Content, Field, Property};

const LONG: &str = "\
Run one request through one plugin, without a server.

The request passes the plugin, goes to the upstream (a scripted one, unless --upstream names a real one), and the \
response comes back through the plugin. What is printed is a timeline: each callback with the host calls and log lines \
in it, what changed, and the result.

Nothing is waited for. The plugin's time stands still but for a microsecond at each look at a clock; while the plugin \
holds something back, the time is put forward to its next tick, until it lets go or the pause limit is reached. A \
plugin without a timer that holds a request back for ever is answered at once. Time and random numbers are the same \
on each engine.";

const AFTER: &str = "\
Examples:
  chassis run prime-auth.wasm -H 'token: 32323'
  chassis run filter.wat --request 'POST /a?b=c' -H 'a: b' --body hello --chunk-size 2
  chassis run filter.wasm --config @filter.json --upstream-status 404 --upstream-body gone
  chassis run filter.wasm --upstream http://127.0.0.1:1980
  chassis run filter.wasm --engine all --repeat 3 --json
  chassis run tcp.wasm --tcp 'downstream: hello\\n' --tcp 'upstream_end: bye' --tcp 'downstream_close: remote'

JSON:
  --json prints { \"schema\": \"chassis/run/v1\", \"runs\": [...] }, one element per engine and
  repetition, and one per engine if the plugin does not start.
  outcome           response, local_response, crash, load_error, paused or reset; of a TCP stream
                    played, crash or reset
  error.kind        trap, deadline, exit, host (a host call that is forbidden), memory, start
                    (refused by the plugin), load (the module) or upstream
  upstream_request  what reached the upstream in whole, else null
  body              as text; one that is not UTF-8 has body_base64 beside it
  headers           of a byte that is not UTF-8 `\\xNN` is shown, and of a backslash two
  trailers          beside the body, if there were any
  wire              of a TCP stream, if there was anything: what the plugin let pass, in order
  omitted           how many host calls of a callback were too many to keep
  end_callbacks     those of the plugin's end, in the last run, if there were any

Exit codes:
  0  every run ended with a response, the upstream's or the plugin's, or a reset by the plugin
  1  the engines do not agree
  2  the command line is wrong
  3  the plugin failed: trap, deadline, exit, a start that failed, or a pause beyond its limit
  4  the module, or a file with a body or a configuration, cannot be read or is not valid, or
     the plugin refused its configuration
  5  the engine was not compiled in";

/// Run one request through one plugin, without a server.
#[derive(clap::Args)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub(crate) struct Args {
    /// The plugin, `.wasm` or `.wat`.
    plugin: PathBuf,

    /// Engines to run it on, one after the other: names with commas between them, or `all`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Engine")]
    engine: Vec<String>,
    /// Where the module is compiled; engines that do not compile have no part in this.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Compile::Child, help_heading = "Engine")]
    compile: Compile,

    /// The request line.
    #[arg(long, value_name = "'METHOD PATH'", default_value = "GET /", help_heading = "Request")]
    request: String,
    /// A request header; may be repeated. `:authority: localhost` and `:scheme: http` are there unless given.
    #[arg(short = 'H', long, value_name = "'NAME: VALUE'", value_parser = field(), help_heading = "Request")]
    header: Vec<Field>,
    /// The request body: a text, or a file as @FILE.
    #[arg(long, value_name = "TEXT|@FILE", value_parser = content(), help_heading = "Request")]
    body: Option<Content>,
    /// A request trailer; may be repeated.
    #[arg(long, value_name = "'NAME: VALUE'", value_parser = field(), help_heading = "Request")]
    trailer: Vec<Field>,
    /// Hand bodies, of requests and responses, to the plugin in pieces of this size; in one piece unless given.
    #[arg(long, value_name = "BYTES", value_parser = chunk_size, help_heading = "Request")]
    chunk_size: Option<u64>,
    /// In place of a request: something that happens to a TCP stream once the client has connected; may be repeated.
    /// `downstream: DATA` comes from the client, `upstream: DATA` from the upstream; `downstream_end: DATA` is the last;
    /// `downstream_close: PEER` ends the connection, closed by `remote`, `local` or `unknown`; `tick` is the plugin's
    /// timer. In data `\n` is a line's end and `\xNN` a byte.
    #[arg(long, value_name = "EVENT", value_parser = tcp_event(), help_heading = "Request")]
    #[arg(conflicts_with_all = ["request", "header", "body", "trailer", "chunk_size", "ticks", "pause_limit"])]
    #[arg(conflicts_with_all = ["upstream", "upstream_status", "upstream_header", "upstream_body", "upstream_trailer"])]
    tcp: Vec<TcpEvent>,
    /// How many requests to make, one after the other in the same VM.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    #[arg(help_heading = "Request")]
    repeat: u32,

    /// The server that answers, as http://HOST:PORT, in place of a scripted response. It is asked once per engine and
    /// request; `:authority` is its host and port unless given.
    #[arg(long, value_name = "URL", value_parser = upstream::authority, help_heading = "Upstream")]
    #[arg(conflicts_with_all = ["upstream_status", "upstream_header", "upstream_body", "upstream_trailer"])]
    upstream: Option<String>,
    /// The status of the upstream's response.
    #[arg(long, value_name = "STATUS", default_value_t = 200, help_heading = "Upstream")]
    upstream_status: u16,
    /// A header of the upstream's response; may be repeated.
    #[arg(long, value_name = "'NAME: VALUE'", value_parser = field(), help_heading = "Upstream")]
    upstream_header: Vec<Field>,
    /// The body of the upstream's response: a text, or a file as @FILE.
    #[arg(long, value_name = "TEXT|@FILE", value_parser = content(), help_heading = "Upstream")]
    upstream_body: Option<Content>,
    /// A trailer of the upstream's response; may be repeated.
    #[arg(long, value_name = "'NAME: VALUE'", value_parser = field(), help_heading = "Upstream")]
    upstream_trailer: Vec<Field>,

    /// The plugin's configuration: a text, or a file as @FILE.
    #[arg(long, value_name = "TEXT|@FILE", value_parser = content(), help_heading = "Plugin")]
    config: Option<Content>,
    /// The VM's configuration: a text, or a file as @FILE.
    #[arg(long, value_name = "TEXT|@FILE", value_parser = content(), help_heading = "Plugin")]
    vm_config: Option<Content>,
    /// The name of the plugin's root context, which property `plugin_root_id` tells. SDKs by which plugins register under
    /// a name, as AssemblyScript's and that of C++, find the plugin by it.
    #[arg(long, value_name = "NAME", default_value = "", help_heading = "Plugin")]
    root_id: String,
    /// A property, its path with dots; may be repeated.
    #[arg(long, value_name = "PATH=VALUE", value_parser = property(), help_heading = "Plugin")]
    property: Vec<Property>,
    /// How often the plugin's timer goes off during each request: while it is held back, the rest at its end. Unless
    /// given, only while it is held back, as often as it takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100_000), help_heading = "Plugin")]
    ticks: Option<u32>,
    /// Log lines below this level are dropped.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Level::Trace, help_heading = "Plugin")]
    log_level: Level,

    /// How much memory the plugin may have.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = memory, help_heading = "Limits")]
    max_memory: u64,
    /// How long a callback may run.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = values::duration, help_heading = "Limits")]
    deadline: Duration,
    /// How long each step of starting the plugin may run.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = values::duration)]
    #[arg(help_heading = "Limits")]
    start_deadline: Duration,
    /// For how long the plugin may hold a request or a response back, in its own time.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration, help_heading = "Limits")]
    pause_limit: Duration,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A log level, by the ABI's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

fn field() -> impl TypedValueParser<Value = Field> {
    OsStringValueParser::new().try_map(|text: OsString| values::field(&text))
}

fn tcp_event() -> impl TypedValueParser<Value = TcpEvent> {
    OsStringValueParser::new().try_map(|text: OsString| tcp::event(&text))
}

fn content() -> impl TypedValueParser<Value = Content> {
    OsStringValueParser::new().try_map(|text: OsString| values::content(&text))
}

fn property() -> impl TypedValueParser<Value = Property> {
    OsStringValueParser::new().try_map(|text: OsString| values::property(&text))
}

fn chunk_size(text: &str) -> Result<u64, String> {
    values::bytes(text).and_then(|size| if size == 0 { Err("must be at least 1".to_owned()) } else { Ok(size) })
}

fn memory(text: &str) -> Result<u64, String> {
    let size = values::bytes(text)?;
    if (64 << 10..=4 << 30).contains(&size) { Ok(size) } else { Err("must be 64KiB to 4GiB".to_owned()) }
}

pub(crate) fn execute(args: &Args) -> Ended {
    let plan = plan(args)?;
    let ask = ask(args)?;
    let mut upstream = upstream(args)?;
    let engines = choice::engines(&args.engine)?;
    let file = args.plugin.display().to_string();
    let mut exit = Exit::Success;
    let mut said = Vec::new();
    let mut shown = false;
    let mut runs: Vec<Vec<Run>> = Vec::new();
    for engine in &engines {
        let mut of_engine = Vec::new();
        let asks = std::iter::repeat_n(&ask, args.repeat as usize);
        let trips = drive::run(&engine.engine, &plan, asks, &mut *upstream)
            .map_err(|error| Failure::new(Exit::Invalid, error))?;
        for (index, trip) in trips.iter().enumerate() {
            exit = exit.max(code(trip));
            of_engine.push(Run::new(engine.name, &file, trip));
            if let Some(error) = trip.error.as_ref().filter(|error| error.kind == LOAD) {
                complain(&mut said, &error.message)?;
            } else if !args.json {
                if std::mem::replace(&mut shown, true) {
                    style::print("\n")?;
                }
                style::print(&timeline::timeline(&title(engine, args, &file, index), &ask, trip))?;
            }
        }
        runs.push(of_engine);
    }
    let verdict = verdict(&engines, &runs);
    if args.json {
        style::print_json(&Report { schema: SCHEMA, runs: runs.into_iter().flatten().collect() })?;
    }
    match verdict {
        Some(Err(difference)) => {
            style::print_error(&format!("the engines do not agree: {difference}"))?;
            Ok(exit.max(Exit::No))
        }
        Some(Ok(agree)) if !args.json && said.is_empty() => {
            style::print(&agree)?;
            Ok(exit)
        }
        _ => Ok(exit),
    }
}

fn upstream(args: &Args) -> Result<Box<dyn Upstream>, Failure> {
    if let Some(authority) = &args.upstream {
        return Ok(Box::new(Remote::new(authority)?));
    }
    let (fields, trailers) = (&args.upstream_header, &args.upstream_trailer);
    let response = input::response(args.upstream_status, fields, args.upstream_body.as_ref(), trailers)?;
    Ok(Box::new(Scripted(response)))
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    let name = args.plugin.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let vm_configuration = input::configuration(args.vm_config.as_ref())?;
    let limits = PluginLimits {
        deadline: args.deadline,
        start_deadline: args.start_deadline,
        memory_bytes: args.max_memory,
        pause: args.pause_limit,
        ..PluginLimits::default()
    };
    let properties =
        args.property.iter().map(|property| (property.path.clone(), Bytes::from(property.value.clone()))).collect();
    Ok(Plan {
        spec: PluginSpec {
            identity: Identity { name, root_id: args.root_id.clone(), vm_configuration, ..Identity::default() },
            file: args.plugin.clone(),
            limits,
            fail_policy: FailPolicy::Closed,
        },
        module: None,
        policy: args.compile.policy()?,
        origin: Origin::now(),
        configuration: input::configuration(args.config.as_ref())?,
        contexts: Vec::new(),
        properties: Arc::new(properties),
        level: args.log_level.into(),
        settings: Settings { ticks: args.ticks, pause_limit: args.pause_limit },
        sharing: Sharing::default(),
    })
}

/// The request, with bodies cut as it was said.
fn ask(args: &Args) -> Result<Ask, Failure> {
    if !args.tcp.is_empty() {
        return Ok(Ask { tcp: Some(args.tcp.clone().into()), ..Ask::default() });
    }
    let authority = args.upstream.as_deref().unwrap_or("localhost");
    let request = input::request(&args.request, authority, &args.header, args.body.as_ref(), &args.trailer)?;
    let piece = args.chunk_size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
    let cut = Cut { piece, late_end: false };
    Ok(Ask { request, request_cut: cut, response_cut: cut, ..Ask::default() })
}

/// The exit code that a request stands for.
fn code(trip: &Trip) -> Exit {
    match trip.outcome {
        Outcome::Response | Outcome::LocalResponse | Outcome::Reset | Outcome::Played => Exit::Success,
        Outcome::LoadError if trip.refused_configuration() => Exit::Invalid,
        Outcome::LoadError if trip.error.as_ref().is_some_and(|error| error.kind == LOAD) => Exit::Invalid,
        Outcome::Crash | Outcome::Paused | Outcome::LoadError => Exit::PluginFailed,
    }
}

fn title(engine: &Engine, args: &Args, file: &str, index: usize) -> String {
    let version = engine.engine.capabilities().version;
    let which = if args.repeat > 1 { format!(", request {} of {}", index + 1, args.repeat) } else { String::new() };
    format!("{file} on {} {version}{which}", engine.name)
}

/// Prints an error once, even if it is the same on several engines.
fn complain(said: &mut Vec<String>, message: &str) -> Result<(), Failure> {
    if !said.iter().any(|known| known == message) {
        style::print_error(message)?;
        said.push(message.to_owned());
    }
    Ok(())
}

/// Whether the engines agree, if there are several.
fn verdict(engines: &[Engine], runs: &[Vec<Run>]) -> Option<Result<String, String>> {
    let (first, others) = runs.split_first()?;
    let reference = engines.first()?.name;
    for (engine, other) in engines.iter().skip(1).zip(others) {
        if let Some(difference) = drive::difference(first, other) {
            return Some(Err(format!("{reference} against {}: {difference}", engine.name)));
        }
    }
    let names: Vec<&str> = engines.iter().map(|engine| engine.name).collect();
    (names.len() > 1).then(|| Ok(format!("\n{} agree in everything but time\n", names.join(" and "))))
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        }
    }
}

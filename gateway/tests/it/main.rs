//! The gateway on real sockets of the loopback: clients and upstreams are raw, so that they can misbehave.
#![allow(clippy::unwrap_used)]

/// Declares the cases of a module: those that run on each engine that was compiled in, named `<area>/<case>::<engine>`,
/// and those that have to do with none, named `<area>/<case>`.
macro_rules! cases {
    ($(each_engine: [$($each:ident),* $(,)?])? $(once: [$($once:ident),* $(,)?])?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            let mut trials = Vec::new();
            $($(
                for engine in chassis_engines::compiled_in() {
                    trials.push($crate::trial(module_path!(), stringify!($each), Some(engine), move || $each(engine)));
                }
            )*)?
            $(trials.extend([$($crate::trial(module_path!(), stringify!($once), None, $once)),*]);)?
            trials
        }
    };
}

mod answers;
mod apisix;
mod balancing;
mod bodies;
mod callouts;
mod client;
mod conditions;
mod endpoints;
mod failures;
mod faults;
mod frames;
mod grpc;
mod grpc_server;
mod heads;
mod health;
mod http2;
mod lifecycle;
mod limits;
mod loading;
mod paths;
mod pausing;
mod plugins;
mod proxying;
mod reload;
mod schemes;
mod sharing;
mod sink;
mod tcp;
mod tls;
mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use chassis_abi::{LogLevel, Services};
use chassis_engine_api::Profile;
use chassis_engine_api::compile::CompilePolicy;
use chassis_gateway::config::Config;
use chassis_gateway::plugins::{Plugins, PluginsError};
use chassis_gateway::{ServeError, Server, Settings};
use chassis_host::{HostServices, LogSink, Stores};
use libtest_mimic::{Arguments, Trial};

use crate::sink::Sink;

fn main() {
    let arguments = Arguments::from_args();
    let trials = [
        answers::trials(),
        apisix::trials(),
        balancing::trials(),
        bodies::trials(),
        callouts::trials(),
        conditions::trials(),
        endpoints::trials(),
        failures::trials(),
        faults::trials(),
        grpc::trials(),
        heads::trials(),
        health::trials(),
        http2::trials(),
        lifecycle::trials(),
        limits::trials(),
        loading::trials(),
        paths::trials(),
        pausing::trials(),
        plugins::trials(),
        proxying::trials(),
        reload::trials(),
        schemes::trials(),
        sharing::trials(),
        tcp::trials(),
        tls::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

fn trial(module: &str, case: &str, engine: Option<&str>, run: impl FnOnce() + Send + 'static) -> Trial {
    let area = module.rsplit("::").next().unwrap_or_default();
    let suffix = engine.map(|engine| format!("::{engine}")).unwrap_or_default();
    Trial::test(format!("{area}/{case}{suffix}"), move || {
        run();
        Ok(())
    })
}

/// A case that needs a program. Without it the case is ignored, with the program's name; `CHASSIS_REQUIRE=all` has it fail.
fn trial_with(tool: &str, module: &str, case: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let is_there = std::process::Command::new(tool).arg("--version").output().is_ok();
    let is_required = std::env::var("CHASSIS_REQUIRE").is_ok_and(|required| required == "all");
    let trial = trial(module, case, None, run);
    if is_there || is_required { trial } else { trial.with_kind(format!("needs {tool}")).with_ignored_flag(true) }
}

/// A gateway that is shut down when it is dropped.
struct Gateway {
    server: Option<Server>,
    address: SocketAddr,
    sink: Arc<Sink>,
}

impl Gateway {
    /// One worker, one route for everything, to this node.
    fn to(node: impl std::fmt::Display) -> Self {
        Self::routes(&format!("[{{ uri: /*, upstream: {{ nodes: {{ \"{node}\": 1 }} }} }}]"))
    }

    fn routes(routes: &str) -> Self {
        Self::with(routes, |_| {})
    }

    fn with(routes: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let text = format!("listen: [127.0.0.1:0]\nworkers: 1\nroutes: {routes}\n");
        let mut settings = Settings::new(Config::parse(&text, Path::new("test.yaml")).unwrap(), None);
        change(&mut settings);
        Self::start(settings, Arc::default()).unwrap()
    }

    /// One worker, and plugins on this engine; files are relative to `plugins/` of the repository.
    fn with_plugins(engine: &str, plugins: &str, routes: &str) -> Self {
        let (settings, sink) = settings(engine, &config(plugins, routes)).unwrap();
        Self::start(settings, sink).unwrap()
    }

    /// All requests pass this plugin, given as the rest of its entry (`file: ...`), on their way to a node.
    fn through(engine: &str, plugin: &str, conf: &str, node: impl std::fmt::Display) -> Self {
        Self::with_plugins(
            engine,
            &format!("[{{ name: tested, {plugin} }}]"),
            &format!(
                "[{{ uri: /*, plugins: {{ tested: {{ conf: {conf} }} }}, upstream: {{ nodes: {{ \"{node}\": 1 }}, timeout: {{ read: 1500ms, send: 1500ms }} }} }}]"
            ),
        )
    }

    fn start(settings: Settings, sink: Arc<Sink>) -> Result<Self, ServeError> {
        let server = Server::start(settings)?;
        let address = server.addresses()[0];
        Ok(Gateway { server: Some(server), address, sink })
    }
}

/// The guest that does what a request's header says; see its first lines.
const SCRIPT: &str = "file: ../gateway/tests/guests/script.wat";

/// A configuration's text.
fn config(plugins: &str, routes: &str) -> String {
    format!("listen: [127.0.0.1:0]\nworkers: 1\nwasm:\n  plugins: {plugins}\nroutes: {routes}\n")
}

/// `test.yaml:line:column: ` of where this is in a configuration's text, which is ASCII.
fn place(text: &str, what: &str) -> String {
    let at = text.find(what).unwrap();
    let line = text[..at].matches('\n').count() + 1;
    let column = at - text[..at].rfind('\n').map_or(0, |end| end + 1) + 1;
    format!("test.yaml:{line}:{column}: ")
}

/// A configuration with an upstream `side`.
fn config_with_side(plugins: &str, routes: &str, side: SocketAddr) -> String {
    let side = format!("{{ id: side, nodes: {{ \"{side}\": 1 }} }}");
    format!("{}upstreams: [{side}]\n", config(plugins, routes))
}

/// Loads the plugins of a configuration; each that names no engine gets this one.
fn settings(engine: &str, text: &str) -> Result<(Settings, Arc<Sink>), PluginsError> {
    settings_with(engine, text, |services| services)
}

/// The same, with other services in the place of the host's, or around them.
fn settings_with(
    engine: &str,
    text: &str,
    services: impl Fn(Box<dyn Services>) -> Box<dyn Services> + Send + Sync + 'static,
) -> Result<(Settings, Arc<Sink>), PluginsError> {
    settings_of(engine, Config::parse(text, &plugin_folder().join("test.yaml")).unwrap(), services)
}

/// `plugins/` of the repository.
fn plugin_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"))
}

/// The same, of a configuration that was read.
fn settings_of(
    engine: &str,
    config: Config,
    services: impl Fn(Box<dyn Services>) -> Box<dyn Services> + Send + Sync + 'static,
) -> Result<(Settings, Arc<Sink>), PluginsError> {
    let sink = Arc::new(Sink::default());
    let services: Arc<dyn Fn() -> Box<dyn Services> + Send + Sync> = {
        let (sink, stores): (Arc<dyn LogSink>, _) = (sink.clone(), Stores::new());
        Arc::new(move || {
            let own = HostServices::new(sink.clone(), LogLevel::Trace).with_stores(stores.clone());
            services(Box::new(own))
        })
    };
    let open = |name: Option<&str>| {
        chassis_engines::open(name.unwrap_or(engine), Profile::Deadline).map_err(|error| error.into())
    };
    let plugins = Plugins::load(&config, "test.yaml", &open, &CompilePolicy::InProcess, services, sink.clone())?;
    Ok((Settings::new(config, Some(plugins)), sink))
}

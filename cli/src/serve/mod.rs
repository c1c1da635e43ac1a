//! `chassis serve`: the gateway, with one configuration file.

pub(crate) mod log;

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis_abi::{LogLevel, Services};
use chassis_engine_api::Profile;
use chassis_engine_api::compile::CompilePolicy;
use chassis_engines::{OpenError, ProxyWasmEngine, open};
use chassis_gateway::config::{Config, ConfigError};
use chassis_gateway::logs::{GuestLines, LogWriter};
use chassis_gateway::plugins::{LoadFailure, PluginFailure, Plugins, PluginsError};
use chassis_gateway::{ServeError, Server, Settings};
use chassis_host::{HostServices, LogSink, Stores};

use self::log::{Format, Level};
use crate::choice::{self, Compile};
use crate::exit::{Ended, Exit, Failure};

const LONG: &str = "\
Serve requests as a configuration file says: listen, match routes, run plugins, proxy to upstreams.

Everything that is wrong with the file or with a plugin is said before anything is listened on. SIGTERM or SIGINT ends \
it when all requests that are running have ended; a second one ends it at once. What happens is logged to the standard \
error, or where the file says (nginx_config); SIGUSR1 has the files opened anew.";

const AFTER: &str = "\
Examples:
  chassis serve examples/prime-auth.yaml
  chassis serve gateway.yaml --engine wasmi --workers 2
  chassis serve gateway.yaml --log-format json --log-level debug

Exit codes:
  0  ended by a signal
  2  the command line is wrong
  3  a plugin failed at its start
  4  the configuration, a module or an address cannot be used
  5  the engine was not compiled in";

/// Serve requests as a configuration file says.
#[derive(clap::Args)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub(crate) struct Args {
    /// The configuration, YAML; or APISIX's config.yaml, or its directory, with apisix.yaml beside it.
    file: PathBuf,
    /// The engine of all plugins, whatever the file says.
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// How many threads serve. One per core, unless given here or in the file.
    #[arg(long, value_name = "N", value_parser = workers)]
    workers: Option<NonZeroUsize>,
    /// Where modules are compiled; engines that do not compile have no part in this.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Compile::Child)]
    compile: Compile,
    /// How log lines look, whatever the file says; as nginx's by default.
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// Log lines below this level are dropped, those of plugins too, whatever the file says; info by default.
    #[arg(long, value_enum, value_name = "LEVEL")]
    log_level: Option<Level>,
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let workers = text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= 1024);
    workers.ok_or_else(|| "must be a number from 1 to 1024".to_owned())
}

pub(crate) fn execute(args: &Args) -> Ended {
    // A wrong name is found even if the file has no plugin.
    let forced = args.engine.as_deref().map(|name| open(name, Profile::Deadline)).transpose()?;
    let mut config = Config::load(&args.file).map_err(refused)?;
    config.workers = args.workers.or(config.workers);
    let unwritable =
        |error: log::Unwritable| Failure::new(Exit::Invalid, anyhow::anyhow!("{}: {error}", args.file.display()));
    let access_log = log::access(&config.logs).map_err(unwritable)?;
    let errors = log::start(&config.logs, args.log_format, args.log_level).map_err(unwritable)?;
    let ended = serve(args, config, forced, access_log, &errors);
    errors.close();
    ended
}

fn serve(
    args: &Args,
    config: Config,
    forced: Option<ProxyWasmEngine>,
    access_log: Option<LogWriter>,
    errors: &log::ErrorLog,
) -> Ended {
    let stores = Stores::new();
    for warning in &config.warnings {
        tracing::warn!("{}", warning.line(&config.file));
    }
    let policy = args.compile.policy()?;
    let level = errors.level_of_plugins;
    let plugins = load(&config, forced, &policy, level, &stores).map_err(not_loaded)?;
    for plugin in plugins.plugins() {
        tracing::info!(
            plugin = plugin.name(),
            engine = plugin.engine(),
            abi = plugin.abi_version().as_str(),
            file = %plugin.spec().file.display(),
            "plugin loaded"
        );
    }
    let given = config.file.clone();
    let mut settings = Settings::new(config, Some(plugins));
    settings.access_log = access_log;
    settings.logs.push(errors.writer.clone());
    settings.metrics.set_stores(stores);
    let server = Server::start(settings);
    let server = server.map_err(|error| not_started(&given, error))?;
    server.run().map_err(|error| Failure::new(Exit::Invalid, error))?;
    Ok(Exit::Success)
}

/// Loads the plugins of a configuration, on the engine that is forced, or the one that each names.
pub(crate) fn load(
    config: &Config,
    forced: Option<ProxyWasmEngine>,
    policy: &CompilePolicy,
    level: LogLevel,
    stores: &Arc<Stores>,
) -> Result<Plugins, PluginsError> {
    let engine = |name: Option<&str>| -> Result<ProxyWasmEngine, Box<dyn Error + Send + Sync>> {
        match (&forced, name) {
            (Some(engine), _) => Ok(engine.clone()),
            (None, Some(name)) => Ok(open(name, Profile::Deadline)?),
            (None, None) => choice::default(),
        }
    };
    let sink: Arc<dyn LogSink> = Arc::new(GuestLines);
    let services = {
        let (sink, stores) = (Arc::clone(&sink), Arc::clone(stores));
        Arc::new(move || {
            let services = HostServices::new(Arc::clone(&sink), level);
            Box::new(services.with_stores(Arc::clone(&stores))) as Box<dyn Services>
        })
    };
    Plugins::load(config, &config.file, &engine, policy, services, sink)
}

/// An error for each problem, so that each is on a line of its own.
fn refused(error: ConfigError) -> Failure {
    let errors: Vec<ConfigError> = match error {
        ConfigError::Invalid { file, problems } => {
            let alone = |problem| ConfigError::Invalid { file: file.clone(), problems: vec![problem] };
            problems.into_iter().map(alone).collect()
        }
        error => vec![error],
    };
    several(errors.into_iter().map(|error| (Exit::Invalid, error.into())))
}

fn not_loaded(error: PluginsError) -> Failure {
    let PluginsError { file, failures } = error;
    several(failures.into_iter().map(|failure| {
        let exit = exit_of(&failure);
        (exit, PluginsError { file: file.clone(), failures: vec![failure] }.into())
    }))
}

fn several(errors: impl IntoIterator<Item = (Exit, anyhow::Error)>) -> Failure {
    let none = || Failure::new(Exit::Invalid, anyhow::anyhow!("something is wrong that was not told"));
    Failure::several(errors).unwrap_or_else(none)
}

/// With which code a plugin ends a command that does not start.
pub(crate) fn exit_of(failure: &PluginFailure) -> Exit {
    match &failure.error {
        // An unknown name is the file's mistake.
        LoadFailure::Engine(error) if matches!(error.downcast_ref(), Some(OpenError::Unknown { .. })) => Exit::Invalid,
        LoadFailure::Engine(_) => Exit::NoEngine,
        LoadFailure::Start { error, .. } => Exit::from(error),
        _ => Exit::Invalid,
    }
}

fn not_started(file: &Path, error: ServeError) -> Failure {
    match error {
        ServeError::Plugins(error) => not_loaded(error),
        ServeError::Listen { .. } => Failure::new(Exit::Invalid, anyhow::anyhow!("{}: {error}", file.display())),
        error => Failure::new(Exit::Invalid, error),
    }
}

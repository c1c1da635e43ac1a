//! The configuration file: read once, judged whole, and turned into types that cannot be wrong.

mod apisix;
mod chain;
mod endpoints;
mod environment;
mod error;
mod file;
mod limits;
mod listen;
mod logs;
mod near;
mod parser;
mod plugin;
mod route;
mod schema;
mod section;
mod service;
mod shape;
mod stream;
mod tls;
mod upstream;
mod values;
mod vars;
mod yaml;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use chassis_abi::Dialect;

pub use chain::{GlobalRuleConfig, PluginUse};
pub use endpoints::EndpointConfig;
pub use error::{ConfigError, Place, Problem};
pub use limits::{EscapedSlashes, PathRules, WorkerLimits};
pub use logs::{AccessLogConfig, ErrorLogForm, LogConfig, LogLevel};
pub(crate) use near::nearest;
pub use plugin::{FailPolicy, Phase, PluginConfig, PluginLimits};
pub use route::{HostPattern, RouteConfig, Segment, UriPattern};
pub use schema::schema;
pub use stream::{StreamConfig, StreamRouteConfig};
pub use tls::{CertificateConfig, Pem, SslConfig};
pub use upstream::{
    ActiveCheck, Balancing, CheckKind, Checks, HashKey, KeyPart, NamedUpstream, NodeAddress, NodeConfig, PassHost,
    PassiveCheck, Scheme, Thresholds, Timeouts, UpstreamConfig, UpstreamTls,
};
pub use vars::{Condition, Literal, Number, Pattern, Test, Variable};

/// The most bytes that a configuration file may have.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration that makes sense. Whether the plugin files can be loaded is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The file that this was read from; `config.yaml` itself if its directory was given.
    pub file: PathBuf,
    /// Addresses to listen on; at least one, each once.
    pub listen: Vec<SocketAddr>,
    /// Listeners that speak TLS, and their certificates.
    pub ssl: SslConfig,
    /// How many workers serve; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// How paths of requests are taken.
    pub paths: PathRules,
    /// What each worker may hold.
    pub limits: WorkerLimits,
    /// Where operators ask and tell.
    pub endpoints: EndpointConfig,
    /// What is logged, and where.
    pub logs: LogConfig,
    /// The plugins, names unique, in the order of the file.
    pub plugins: Vec<PluginConfig>,
    /// Upstreams that plugins may call by their ids, which are unique, in the order of the file.
    pub upstreams: Vec<NamedUpstream>,
    /// The routes that are switched on, ids unique, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// Plugins that all requests pass which a route takes, in the order of the file.
    pub global_rules: Vec<GlobalRuleConfig>,
    /// TCP streams.
    pub stream: StreamConfig,
    /// APISIX's file of routes, if this was read from `config.yaml` and `apisix.yaml`.
    pub routes_file: Option<RoutesFile>,
    /// What the file says without effect.
    pub warnings: Vec<Problem>,
}

/// A file that has the routes of a configuration, and what they refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutesFile {
    /// Where it is.
    pub path: PathBuf,
}

impl Config {
    /// Reads a configuration file; or APISIX's `config.yaml`, or the directory that it is in, with `apisix.yaml` beside it.
    /// A `config.yaml` that has `routes` or `stream_routes` itself is one file, and may have no `apisix.yaml` beside it.
    ///
    /// # Errors
    /// [`ConfigError`]: unreadable, too large, or all that is wrong in it.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let given = if file.is_dir() { file.join("config.yaml") } else { file.to_owned() };
        let text = read(&given)?;
        if given.file_name().is_none_or(|name| name != "config.yaml") {
            return Self::parse(&text, &given);
        }
        let routes = given.with_file_name("apisix.yaml");
        match read(&routes) {
            Ok(second) => Self::parse_apisix(&text, &given, &second, &routes),
            Err(ConfigError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !needs_routes(&text) =>
            {
                Self::parse(&text, &given)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the text of a configuration file; `file` names it in errors, and relative paths start from its directory.
    /// `${{NAME}}` is taken from the environment of the process.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all that is wrong.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::Invalid { file: file.to_owned(), problems };
        let given = part(text).map_err(invalid)?;
        file::config(file::Files { file, given, routes: None }).map_err(invalid)
    }

    /// Reads the texts of APISIX's two files, as [`parse`](Config::parse) does. Plugins have the dialect `apisix` unless
    /// they name another one. The second text must end with a line `#END`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all that is wrong; problems of the second file name it.
    pub fn parse_apisix(text: &str, file: &Path, routes: &str, routes_file: &Path) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::Invalid { file: file.to_owned(), problems };
        let of_routes = |problems| ConfigError::Invalid { file: routes_file.to_owned(), problems };
        let given = part(text).map_err(invalid)?;
        check_end(routes).map_err(|problem| of_routes(vec![problem]))?;
        let routes = (part(routes).map_err(of_routes)?, routes_file.to_owned());
        file::config(file::Files { file, given, routes: Some(routes) }).map_err(invalid)
    }
}

impl Config {
    /// The plugins that a request of a route passes, in their order: those of a phase before those of the next one, and of
    /// a phase those of global rules first.
    pub fn chain<'c>(&'c self, route: &'c RouteConfig) -> Vec<&'c PluginUse> {
        let global = self.global_rules.iter().flat_map(|rule| &rule.plugins);
        let mut chain: Vec<_> = global.chain(&route.plugins).collect();
        chain.sort_by_key(|plugin_use| self.plugins.get(plugin_use.plugin).map(|plugin| plugin.phase));
        chain
    }

    /// Whether a route, a stream route or a global rule has a plugin.
    pub fn uses_plugins(&self) -> bool {
        self.global_rules.iter().any(|rule| !rule.plugins.is_empty())
            || self.routes.iter().any(|route| !route.plugins.is_empty())
            || self.stream.routes.iter().any(|route| !route.plugins.is_empty())
    }

    /// How many chains of plugins there are: one for each route, and for each stream route after them.
    pub(crate) fn chains(&self) -> usize {
        self.routes.len() + self.stream.routes.len()
    }
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
    let mut text = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge { file: file.to_owned(), limit: MAX_FILE_BYTES });
    }
    String::from_utf8(text).map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))
}

/// Whether a file is in order but for what is to be served, which it leaves to another one.
fn needs_routes(text: &str) -> bool {
    part(text).is_ok_and(|file| file.routes.is_none() && file.stream_routes.is_none())
}

fn part(text: &str) -> Result<file::File, Vec<Problem>> {
    part_with(text, &|name| std::env::var(name).ok())
}

fn part_with(text: &str, environment: environment::Environment<'_>) -> Result<file::File, Vec<Problem>> {
    let replaced = environment::substituted(text, environment)?;
    let file = yaml::read(&replaced).map_err(|problem| vec![problem])?;
    if let Cow::Owned(replaced) = replaced
        && !environment::keeps_shape(text, &replaced)
    {
        let cause = "a value of the environment would be more than a part of the value that it stands in; put quotes \
                     around the whole of that";
        return Err(vec![Problem::new(environment::first_place(text), "${{", cause)]);
    }
    Ok(file)
}

/// What has no end may have been read while it was written.
fn check_end(text: &str) -> Result<(), Problem> {
    let last = text.trim_end().lines().last().unwrap_or_default();
    if last.trim() == "#END" {
        return Ok(());
    }
    let place = Place { line: text.trim_end().lines().count().max(1) as u64, column: 1 };
    Err(Problem::new(place, "", "the last line must be #END, which says that the file is whole"))
}

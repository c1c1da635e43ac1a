//! The configuration file: read once, judged whole, and turned into types that cannot be wrong.

mod error;
mod near;
mod parse;
mod raw;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
pub use chassis_abi::Dialect;
use http::Method;

pub use error::{ConfigError, Place, Problem};

/// The most bytes that a configuration file may have.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration that makes sense. Whether the plugin files can be loaded is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Addresses to listen on; at least one, each once.
    pub listen: Vec<SocketAddr>,
    /// How many workers serve; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// How paths of requests are taken.
    pub paths: PathRules,
    /// What each worker may hold.
    pub limits: WorkerLimits,
    /// The plugins, names unique, in the order of the file.
    pub plugins: Vec<PluginConfig>,
    /// Upstreams that plugins may call by their ids, which are unique, in the order of the file.
    pub upstreams: Vec<NamedUpstream>,
    /// The routes, ids unique, in the order of the file.
    pub routes: Vec<RouteConfig>,
}

/// How the paths of requests are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathRules {
    /// What becomes of `%2f` and `%5c`.
    pub escaped_slashes: EscapedSlashes,
}

/// What each worker may hold for all its clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLimits {
    /// Connections of clients: 1 to 1,000,000, 4096 by default. Above it no further one is accepted until one ends.
    pub connections: usize,
    /// Bytes of bodies that are in chains of plugins or have passed them and not left yet: 64 KiB to 1 TiB, 256 MiB by
    /// default. Above it a stream that holds back more is refused.
    pub buffered_body: u64,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        WorkerLimits { connections: 4096, buffered_body: 256 << 20 }
    }
}

/// What becomes of encoded slashes and backslashes in a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// 400.
    #[default]
    Reject,
    /// They are a part of their segment, for routes and plugins, and forwarded as they came.
    Keep,
}

/// A plugin: a module and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginConfig {
    /// Its name, as routes use it; not empty.
    pub name: String,
    /// The module; relative paths were resolved against the directory of the configuration file.
    pub file: PathBuf,
    /// Plugins of higher priority see a request first.
    pub priority: i32,
    /// The engine asked for, not judged here; `None` is the default engine.
    pub engine: Option<String>,
    /// The space in which it shares data and queues with others; empty unless given.
    pub vm_id: String,
    /// Whose names for properties it uses.
    pub dialect: Dialect,
    /// The name of its root context, as plugins know it that register under one; often empty.
    pub root_id: String,
    /// What the VM gets at its start.
    pub vm_config: Bytes,
    /// Limits that the file sets.
    pub limits: PluginLimits,
    /// What a request gets when the plugin fails.
    pub fail_policy: FailPolicy,
    /// What it may call beside the upstreams that have an id: `host:port`.
    pub allowed_upstreams: Vec<String>,
    /// Where the plugin is in the file, for errors that show up later.
    pub place: Place,
}

/// Limits of a plugin; `None` is the host's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginLimits {
    /// Bytes of linear memory per instance: 64 KiB to 4 GiB.
    pub memory: Option<u64>,
    /// The most that one callback may run: 1 ms to 60 s.
    pub deadline: Option<Duration>,
    /// The most that each step of starting and configuring it may run: 1 ms to 1 h.
    pub start_deadline: Option<Duration>,
    /// The longest that a request may be paused: 1 ms to 1 h.
    pub pause: Option<Duration>,
    /// Callouts under way at once: 0 to 1,000,000.
    pub callouts: Option<usize>,
    /// Callouts under way that one stream has started: 0 to 1,000,000.
    pub callouts_per_stream: Option<usize>,
    /// Bytes that callouts under way send together: 1 KiB to 4 GiB.
    pub callout_bytes: Option<u64>,
    /// How long a callout may take for which the plugin gives no timeout: 1 ms to 1 h.
    pub callout_timeout: Option<Duration>,
    /// Bytes of shared data that it set last, keys included: at most 1 GiB.
    pub shared_data: Option<u64>,
    /// Bytes of the queues that it made, and of its items in any: at most 1 GiB.
    pub queues: Option<u64>,
    /// How many metrics it may define: at most 100,000.
    pub metrics: Option<u64>,
}

/// What a request gets when a plugin fails on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailPolicy {
    /// 503.
    #[default]
    Closed,
}

/// A route: which requests, through which plugins, to which upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Its id; the position in the file, counted from 1, if it was not given.
    pub id: String,
    /// The paths.
    pub uri: UriPattern,
    /// The methods; empty is all.
    pub methods: Vec<Method>,
    /// The hosts; empty is all.
    pub hosts: Vec<HostPattern>,
    /// Among routes of the same `uri`, higher priority is tried first.
    pub priority: i32,
    /// The chain, in the order in which it sees the request.
    pub plugins: Vec<PluginUse>,
    /// Where requests go.
    pub upstream: UpstreamConfig,
}

/// A plugin in the chain of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginUse {
    /// The plugin, an index into [`Config::plugins`].
    pub plugin: usize,
    /// What it gets as its configuration; often empty.
    pub conf: Bytes,
    /// Where it is in the file, for errors that show up later.
    pub place: Place,
}

/// The paths that a route is for; compared with the normalised path of a request, decoded and its slashes merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UriPattern {
    /// This path.
    Exact(String),
    /// All paths that begin so; `/a/*` is the prefix `/a/`.
    Prefix(String),
}

/// The hosts that a route is for, in lower case and without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// All hosts that end so: `*.example.com` is the suffix `.example.com`.
    Suffix(String),
}

/// An upstream with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedUpstream {
    /// Its id; not empty.
    pub id: String,
    /// Where its requests go.
    pub upstream: UpstreamConfig,
}

/// The upstream of a route, or one with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// The nodes among which requests are shared out by weight; at least one, no weight 0, addresses unique.
    pub nodes: Vec<NodeConfig>,
    /// How long it may take.
    pub timeout: Timeouts,
}

/// One node of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where it is.
    pub address: NodeAddress,
    /// Its share: 1 to 65,535.
    pub weight: u16,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    /// In this process: answers with the request it got, as JSON.
    Echo,
    /// `host:port`; the host is a name or an address.
    Tcp(String),
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// To accept a connection: 1 ms to 1 h, 60 s by default.
    pub connect: Duration,
    /// Between two pieces of the request that it takes: 1 ms to 1 h, 60 s by default.
    pub send: Duration,
    /// Between two pieces of the response: 1 ms to 1 h, 60 s by default.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Timeouts { connect: minute, send: minute, read: minute }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`]: unreadable, too large, or all that is wrong in it.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
        let mut text = Vec::new();
        let opened = File::open(file).map_err(unreadable)?;
        opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge { file: file.to_owned(), limit: MAX_FILE_BYTES });
        }
        let text = String::from_utf8(text)
            .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
        Self::parse(&text, file)
    }

    /// Reads the text of a configuration file; `file` names it in errors, and relative paths start from its directory.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all that is wrong.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::Invalid { file: file.to_owned(), problems };
        let raw = yaml::read(text).map_err(|problem| invalid(vec![problem]))?;
        parse::config(raw, file.parent().unwrap_or(Path::new(""))).map_err(invalid)
    }
}

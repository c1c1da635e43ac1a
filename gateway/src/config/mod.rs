//! The configuration file: read once, judged whole, and turned into types that cannot be wrong.

mod endpoints;
mod error;
mod file;
mod limits;
mod listen;
mod logs;
mod near;
mod parser;
mod plugin;
mod route;
mod stream;
mod tls;
mod upstream;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;

pub use chassis_abi::Dialect;

pub use endpoints::EndpointConfig;
pub use error::{ConfigError, Place, Problem};
pub use limits::{EscapedSlashes, PathRules, WorkerLimits};
pub use logs::{AccessLogConfig, ErrorLogForm, LogConfig, LogLevel};
pub(crate) use near::nearest;
pub use plugin::{FailPolicy, PluginConfig, PluginLimits};
pub use route::{HostPattern, PluginUse, RouteConfig, UriPattern};
pub use stream::{Network, StreamConfig, StreamRouteConfig};
pub use tls::{CertificateConfig, Pem, SslConfig};
pub use upstream::{
    ActiveCheck, Balancing, CheckKind, Checks, HashKey, KeyPart, NamedUpstream, NodeAddress, NodeConfig, PassHost,
    PassiveCheck, Scheme, Thresholds, Timeouts, UpstreamConfig, UpstreamTls,
};

/// The most bytes that a configuration file may have.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration that makes sense. Whether the plugin files can be loaded is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
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
    /// The routes, ids unique, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// TCP streams.
    pub stream: StreamConfig,
}

impl Config {
    /// The plugins of each route, and of each stream route after them.
    pub(crate) fn plugins_of_routes(&self) -> impl Iterator<Item = &[PluginUse]> {
        let routes = self.routes.iter().map(|route| &route.plugins[..]);
        routes.chain(self.stream.routes.iter().map(|route| &route.plugins[..]))
    }

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
        file::config(raw, file.parent().unwrap_or(Path::new(""))).map_err(invalid)
    }
}

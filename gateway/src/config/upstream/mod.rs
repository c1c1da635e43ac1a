//! Section `upstreams`, and the upstream of a route.

mod checks;
mod parse;
pub(super) mod raw;
mod scheme;

use std::time::Duration;

use http::HeaderName;
use http::header::HeaderValue;

pub(super) use parse::node_address;

pub use scheme::{Scheme, UpstreamTls};

pub use checks::{ActiveCheck, CheckKind, Checks, PassiveCheck, Thresholds};

/// The upstream of a route, or one with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// What it is called where its health is told: `upstreams/ID`, or `routes/ID` if it is a route's own.
    pub name: String,
    /// The nodes among which requests are shared out; at least one, no weight 0, addresses unique.
    pub nodes: Vec<NodeConfig>,
    /// How they are shared out.
    pub balance: Balancing,
    /// How often a request that failed is sent to another node; `None` is once to each of the others.
    pub retries: Option<u32>,
    /// How long after its begin a request is sent to another node; `None` is without end.
    pub retry_timeout: Option<Duration>,
    /// How long it may take.
    pub timeout: Timeouts,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The host that it is told.
    pub pass_host: PassHost,
    /// How it is found out which nodes serve.
    pub checks: Option<Checks>,
}

impl UpstreamConfig {
    /// An upstream of one node, with all defaults.
    pub(crate) fn single(address: NodeAddress) -> Self {
        UpstreamConfig {
            name: String::new(),
            nodes: vec![NodeConfig { address, weight: 1, priority: 0 }],
            balance: Balancing::RoundRobin,
            retries: None,
            retry_timeout: None,
            timeout: Timeouts::default(),
            scheme: Scheme::HTTP,
            pass_host: PassHost::Pass,
            checks: None,
        }
    }
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

/// One node of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where it is.
    pub address: NodeAddress,
    /// Its share: 1 to 65,535.
    pub weight: u16,
    /// Nodes get requests when none of a higher priority can take them; 0 by default.
    pub priority: i32,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    /// In this process: answers with the request it got, as JSON.
    Echo,
    /// `host:port`; the host is a name or an address.
    Tcp(String),
}

impl NodeAddress {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            NodeAddress::Echo => "builtin:echo",
            NodeAddress::Tcp(name) => name,
        }
    }
}

/// How requests are shared out among nodes, always by weight.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balancing {
    /// In turns.
    RoundRobin,
    /// What has the same key goes to the same node, as long as that is there.
    Hash(HashKey),
    /// To the node with the fewest requests that are under way.
    LeastConnections,
}

/// What requests have in common that go to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashKey(pub Vec<KeyPart>);

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPart {
    /// The same for all.
    Text(String),
    /// The client's address.
    RemoteAddr,
    /// The client's port.
    RemotePort,
    /// The path.
    Uri,
    /// The path and the query.
    RequestUri,
    /// The query.
    Args,
    /// The host, without port.
    Host,
    /// The method.
    Method,
    /// A parameter of the query.
    Arg(String),
    /// A header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
}

/// The host that an upstream is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassHost {
    /// The client's.
    Pass,
    /// The node's, with its port unless that is 80.
    Node,
    /// This one.
    Rewrite(HeaderValue),
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

//! What a case file may say. The JSON schema is made from these types.

use std::collections::BTreeMap;

use chassis_engine_api::{Capabilities, Support};
use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{Bytes, Content, Fields, Reached, Size, Text, Time};
use super::yaml::At;
use crate::drive;

/// A conformance case: a guest, what is done to it, and what must be seen.
///
/// What `expect` says is compared exactly and in whole; a key that is left out is not compared. Without `outcome` the
/// response must have passed, and without `error` there must be none.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Conformance case of Chassis")]
pub struct CaseFile {
    /// What must hold, in one sentence, with the part of a specification that says so where there is one.
    pub about: String,
    /// What the engine must be able to do; one that cannot is reported as ignored, with its reason.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The guest.
    #[schemars(with = "Guest")]
    pub guest: At<Guest>,
    /// The plugin's configuration.
    #[serde(default)]
    pub config: Content,
    /// The VM's configuration.
    #[serde(default)]
    pub vm_config: Content,
    /// The name of the root context, which property `plugin_root_id` tells; empty unless given.
    #[serde(default)]
    pub root_id: String,
    /// Whose names for properties the plugin uses; Envoy's unless given.
    #[serde(default)]
    pub dialect: Dialect,
    /// Further plugin contexts of the same VM. Requests go to the first one alone.
    #[serde(default)]
    pub contexts: Vec<PluginContext>,
    /// Environment variables of the guest.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The plugin's `vm_id`, within which data and queues are shared; empty unless given.
    #[serde(default)]
    pub vm_id: String,
    /// Properties by their paths with dots; they go before what the request says.
    #[serde(default)]
    pub properties: BTreeMap<String, Content>,
    /// Shared data of the plugin's `vm_id` that is there before it starts, by key.
    #[serde(default)]
    pub shared_data: BTreeMap<String, Content>,
    /// Foreign functions that there are besides the host's own, by name.
    #[serde(default)]
    pub foreign_functions: BTreeMap<String, ForeignFunction>,
    /// Another plugin in the same worker, which starts first. No request passes it; what it does is seen with what the
    /// plugin does.
    pub beside: Option<Beside>,
    /// Log lines below it are dropped; `trace` unless given.
    #[serde(default)]
    pub log_level: Level,
    /// How often the plugin's timer goes off during each request; unless given, only while the request is held back.
    pub ticks: Option<u32>,
    /// What the guest may use.
    #[serde(default)]
    pub limits: Limits,
    /// The request; `GET /` unless given.
    pub request: Option<Request>,
    /// What the upstream answers.
    #[serde(default)]
    pub upstream: Response,
    /// What other servers answer to callouts, by the names that the guest calls them by: to the first call, to the second
    /// one, and so on; the last answer serves for all that follow. Others cannot be called.
    #[serde(default)]
    pub callouts: BTreeMap<String, Vec<CalloutAnswer>>,
    /// In place of a request: what happens to a TCP stream once the client has connected.
    pub tcp: Option<Vec<Event>>,
    /// What must be seen.
    pub expect: Expect,
    /// Further requests in the same VM, and what must be seen of each.
    #[serde(default)]
    pub then: Vec<Then>,
}

/// A plugin context besides the first.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PluginContext {
    /// The name of its root context; that of the first unless given.
    pub root_id: Option<String>,
    /// Its configuration.
    pub config: Content,
}

/// A guest: one of `script`, `wat`, `file` and `plugin`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// What it does in each callback that it exports: a statement per line, such as
    /// `proxy_get_header_map_value(request_headers, "token")`, `return 1`, or an instruction in parentheses.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub script: Option<BTreeMap<String, At<String>>>,
    /// The ABI version that a script is marked with; `0.2.1` unless given.
    pub abi: Option<Abi>,
    /// Its module in the text format.
    #[schemars(with = "Option<String>")]
    pub wat: Option<At<String>>,
    /// A `.wat` file beside the case.
    #[schemars(with = "Option<String>")]
    pub file: Option<At<String>>,
    /// A module below `plugins/`, as `rust/prime-auth` or `wat/loop`.
    #[schemars(with = "Option<String>")]
    pub plugin: Option<At<String>>,
}

/// A second plugin.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Its guest.
    #[schemars(with = "Guest")]
    pub guest: At<Guest>,
    /// Its configuration.
    #[serde(default)]
    pub config: Content,
    /// Its `vm_id`; empty unless given.
    #[serde(default)]
    pub vm_id: String,
}

/// What a foreign function does.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForeignFunction {
    /// It answers this.
    Answers(Content),
    /// It answers its arguments.
    Echoes,
    /// It fails with this.
    Fails(ForeignFailure),
    /// It answers nothing, and calls the plugin back with this number and its own arguments.
    CallsBack(u32),
}

/// How a foreign function fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForeignFailure {
    /// `not_found`.
    NotFound,
    /// `bad_argument`.
    BadArgument,
    /// `serialization_failure`.
    SerializationFailure,
    /// `internal_failure`.
    InternalFailure,
}

/// A version of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Abi {
    /// 0.1.0: headers callbacks have two parameters.
    #[serde(rename = "0.1.0")]
    V010,
    /// 0.2.0.
    #[serde(rename = "0.2.0")]
    V020,
    /// 0.2.1.
    #[default]
    #[serde(rename = "0.2.1")]
    V021,
}

/// What an engine must be able to do, exactly or coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Stop a call at its deadline.
    Deadline,
    /// Hold the memory limit.
    MemoryLimit,
    /// Hold the table limit.
    TableLimit,
    /// End endless recursion.
    DepthLimit,
}

impl Need {
    /// Why an engine cannot do it, if it cannot.
    pub fn unmet(self, capabilities: &Capabilities) -> Option<&'static str> {
        let support = match self {
            Need::Deadline => capabilities.deadline,
            Need::MemoryLimit => capabilities.memory_limit,
            Need::TableLimit => capabilities.table_limit,
            Need::DepthLimit => capabilities.depth_limit,
        };
        match support {
            Support::None(reason) => Some(reason),
            Support::Exact | Support::Coarse(_) => None,
        }
    }
}

/// What the guest may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How long a callback may run; 10 s unless given, so that a slow machine changes no result.
    pub deadline: Option<Time>,
    /// How long each step of the start may run; 30 s unless given.
    pub start_deadline: Option<Time>,
    /// For how long something may be held back, in the guest's time; 5 s unless given.
    pub pause: Option<Time>,
    /// Memory; 64 MiB unless given.
    pub memory: Option<Size>,
    /// Elements of each table; 10,000 unless given.
    pub table_elements: Option<u32>,
    /// Body that may be held back in one direction; 16 MiB unless given.
    pub buffered_body: Option<Size>,
    /// Callouts under way at once; 1,024 unless given.
    pub callouts: Option<usize>,
    /// Callouts under way that one stream has started; 32 unless given.
    pub callouts_per_stream: Option<usize>,
    /// Bytes that callouts under way send together; 64 MiB unless given.
    pub callout_bytes: Option<Size>,
    /// Shared data that the plugin set last, keys and 64 bytes for each included; 16 MiB unless given.
    pub shared_data: Option<Size>,
    /// Queues of the plugin, 256 bytes for each included, and its items in any, 64 bytes for each included; 4 MiB unless
    /// given.
    pub queues: Option<Size>,
    /// Metrics that it may define; 1,000 unless given.
    pub metrics: Option<usize>,
}

/// A request. `:authority` is `localhost` and `:scheme` is `http`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// `GET` unless given.
    pub method: String,
    /// `/` unless given.
    pub path: String,
    /// Its fields, in order.
    pub headers: Fields,
    /// Its body; without one the request ends with its headers.
    pub body: Option<Content>,
    /// The bytes of each piece in which the body comes; in one piece unless given.
    pub piece: Option<Size>,
    /// Whether the end comes after the last piece, with no bytes.
    pub late_end: bool,
    /// Its trailers.
    pub trailers: Option<Fields>,
    /// HTTP/2 metadata behind its headers: how many entries each frame has.
    pub metadata: Vec<u32>,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Fields::default(),
            body: None,
            piece: None,
            late_end: false,
            trailers: None,
            metadata: Vec::new(),
        }
    }
}

/// A response of the upstream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    /// 200 unless given.
    pub status: u16,
    /// Its fields, in order.
    pub headers: Fields,
    /// Its body; without one the response ends with its headers.
    pub body: Option<Content>,
    /// The bytes of each piece in which the body comes; in one piece unless given.
    pub piece: Option<Size>,
    /// Whether the end comes after the last piece, with no bytes.
    pub late_end: bool,
    /// Its trailers.
    pub trailers: Option<Fields>,
    /// HTTP/2 metadata behind its headers: how many entries each frame has.
    pub metadata: Vec<u32>,
}

impl Default for Response {
    fn default() -> Self {
        Response {
            status: 200,
            headers: Fields::default(),
            body: None,
            piece: None,
            late_end: false,
            trailers: None,
            metadata: Vec::new(),
        }
    }
}

/// What comes of a callout.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CalloutAnswer {
    /// 200 unless given.
    pub status: u16,
    /// Its fields, in order.
    pub headers: Fields,
    /// Its body.
    pub body: Option<Content>,
    /// Its trailers.
    pub trailers: Option<Fields>,
    /// There is no response, for this reason. A gRPC call or stream that is not answered by `grpc` is unavailable.
    pub fails: Option<Failure>,
    /// What a gRPC call or stream is answered; the rest is of HTTP.
    pub grpc: Option<GrpcReply>,
    /// How long it takes, in the guest's time; longer than the call's timeout is a timeout. No time unless given.
    pub after: Option<Time>,
}

impl Default for CalloutAnswer {
    fn default() -> Self {
        CalloutAnswer {
            status: 200,
            headers: Fields::default(),
            body: None,
            trailers: None,
            fails: None,
            grpc: None,
            after: None,
        }
    }
}

/// What a gRPC server answers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcReply {
    /// Its initial metadata, in order; without any a stream is told of none.
    pub metadata: Option<Fields>,
    /// Its messages; a call that goes well has one.
    pub messages: Vec<Content>,
    /// Its trailing metadata, in order; without any a stream is told of none.
    pub trailers: Option<Fields>,
    /// Its status, 0 to 16.
    pub status: u8,
    /// The words for it.
    pub message: String,
    /// The stream stays open behind its messages: neither trailing metadata nor a status come.
    pub stays_open: bool,
}

/// Something that happens to a TCP stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Data comes from the client.
    Downstream(Content),
    /// The last data comes from the client, which may be none.
    DownstreamEnd(Content),
    /// Data comes from the upstream.
    Upstream(Content),
    /// The last data comes from the upstream, which may be none.
    UpstreamEnd(Content),
    /// The client's connection is gone, closed by this peer.
    DownstreamClose(Peer),
    /// The upstream's connection is gone, closed by this peer.
    UpstreamClose(Peer),
    /// The plugin's timer goes off.
    Tick,
}

impl Event {
    /// The data that it brings.
    pub(super) fn data(&self) -> Option<&Content> {
        match self {
            Event::Downstream(data) | Event::DownstreamEnd(data) | Event::Upstream(data) | Event::UpstreamEnd(data) => {
                Some(data)
            }
            Event::DownstreamClose(_) | Event::UpstreamClose(_) | Event::Tick => None,
        }
    }
}

/// A further request, or TCP stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Then {
    /// The request; the same one as the first unless given.
    pub request: Option<Request>,
    /// In place of a request: what happens to a TCP stream; the same as at first unless given.
    pub tcp: Option<Vec<Event>>,
    /// What must be seen.
    pub expect: Expect,
}

/// What must be seen. Each key is compared exactly and in whole; one that is left out is not compared.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// How the request ended; `response` unless given, `played` for a TCP stream.
    pub outcome: Option<Outcome>,
    /// Why the guest ended, which it must not have unless this is given.
    pub error: Option<ErrorSeen>,
    /// Callbacks and host calls of the start, as `trace` has them.
    #[schemars(with = "Option<Text>")]
    pub start: Option<At<Text>>,
    /// Callbacks and host calls of the plugin's end, after the last request, as `trace` has them.
    #[schemars(with = "Option<Text>")]
    pub end: Option<At<Text>>,
    /// Callbacks after the start, each on a line, `proxy_on_tick(1)`, and below each its host calls, indented:
    /// `proxy_get_header_map_value(request_headers, "token") -> ok "32323"`.
    #[schemars(with = "Option<Text>")]
    pub trace: Option<At<Text>>,
    /// The callbacks alone.
    #[schemars(with = "Option<Text>")]
    pub callbacks: Option<At<Text>>,
    /// The host calls alone.
    #[schemars(with = "Option<Text>")]
    pub calls: Option<At<Text>>,
    /// Log lines, those of the start included: `info: text`.
    #[schemars(with = "Option<Text>")]
    pub logs: Option<At<Text>>,
    /// How often callbacks and host functions were called, the start included.
    #[schemars(with = "Option<BTreeMap<String, u64>>")]
    pub counts: Option<At<BTreeMap<String, u64>>>,
    /// The metrics that plugins have defined, at the end of the request, in the text format of Prometheus.
    #[schemars(with = "Option<Text>")]
    pub metrics: Option<At<Text>>,
    /// The request that reached the upstream in whole, or `none`.
    #[schemars(with = "Option<Reached<RequestSeen>>")]
    pub upstream: Option<At<Reached<RequestSeen>>>,
    /// What reached other servers, in order, a line each: `http_call("upstream", [headers], "body", [trailers],
    /// milliseconds)`, `grpc_call("upstream", "service", "method", [metadata], "message", milliseconds)`,
    /// `grpc_stream("upstream", "service", "method", [metadata])`, `grpc_send("message", end)`, `grpc_close()` for an end
    /// by itself, and `cancel` for each one that was given up.
    #[schemars(with = "Option<Text>")]
    pub callouts: Option<At<Text>>,
    /// What the client got, or `none`.
    #[schemars(with = "Option<Reached<ResponseSeen>>")]
    pub client: Option<At<Reached<ResponseSeen>>>,
    /// What was seen on the connections of a TCP stream, in order, each on a line: `to upstream "data"`, `to client end`,
    /// `close downstream`, `reset`.
    #[schemars(with = "Option<Text>")]
    pub wire: Option<At<Text>>,
}

/// Why a guest ended. Of what is given each is compared.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorSeen {
    /// What kind of end it was.
    #[schemars(with = "ErrorKind")]
    pub kind: At<ErrorKind>,
    /// In which export; empty if in none.
    #[schemars(with = "Option<String>")]
    pub callback: Option<At<String>>,
    /// What happened. Of a trap without the engine's own words.
    #[schemars(with = "Option<String>")]
    pub message: Option<At<String>>,
}

/// A request as the upstream saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSeen {
    /// `:method`.
    pub method: Option<String>,
    /// `:path`.
    pub path: Option<Bytes>,
    /// `:authority`.
    pub authority: Option<Bytes>,
    /// `:scheme`.
    pub scheme: Option<Bytes>,
    /// All fields in order, without pseudo-headers.
    pub headers: Option<Fields>,
    /// The body; an empty text where there is none.
    pub body: Option<Content>,
    /// All trailers in order; an empty list where there are none.
    pub trailers: Option<Fields>,
}

/// A response as the client saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseSeen {
    /// The status.
    pub status: Option<u16>,
    /// All fields in order.
    pub headers: Option<Fields>,
    /// The body; an empty text where there is none.
    pub body: Option<Content>,
    /// All trailers in order; an empty list where there are none.
    pub trailers: Option<Fields>,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// How a request ended.
    Outcome {
        /// The upstream's response passed.
        #[default]
        Response "response",
        /// The plugin answered.
        LocalResponse "local_response",
        /// The guest was stopped.
        Crash "crash",
        /// The plugin could not be loaded or started.
        LoadError "load_error",
        /// The plugin held it back for too long.
        Paused "paused",
        /// The client gets no further answer.
        Reset "reset",
        /// A TCP stream was played to its end.
        Played "played",
    }
}

named! {
    /// Who closed a connection.
    Peer {
        /// It is not known.
        #[default]
        Unknown "unknown",
        /// The proxy.
        Local "local",
        /// The other end.
        Remote "remote",
    }
}

named! {
    /// What kind of end a guest had.
    ErrorKind {
        /// It did what Wasm forbids.
        #[default]
        Trap "trap",
        /// It passed its deadline.
        Deadline "deadline",
        /// It used up its fuel.
        Fuel "fuel",
        /// It exited.
        Exit "exit",
        /// It called a host function where that is not allowed, or the host gave up.
        Host "host",
        /// It needs more memory than its limit to start with.
        Memory "memory",
        /// It refused to start, or its configuration.
        Start "start",
        /// Its module cannot be loaded.
        Load "load",
    }
}

named! {
    /// Why there is no answer to a callout.
    Failure {
        /// There is no connection.
        #[default]
        Connect "connect",
        /// The connection broke off.
        Reset "reset",
        /// It took too long.
        Timeout "timeout",
    }
}

named! {
    /// A host for which plugins are written.
    Dialect {
        /// Envoy.
        #[default]
        Envoy "envoy",
        /// Kong.
        Kong "kong",
        /// APISIX.
        Apisix "apisix",
    }
}

impl From<Dialect> for chassis_abi::Dialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Envoy => Self::Envoy,
            Dialect::Kong => Self::Kong,
            Dialect::Apisix => Self::Apisix,
        }
    }
}

named! {
    /// A log level.
    Level {
        /// Finest detail.
        #[default]
        Trace "trace",
        /// For debugging.
        Debug "debug",
        /// For information.
        Info "info",
        /// Something odd.
        Warn "warn",
        /// Something failed.
        Error "error",
        /// Something failed badly.
        Critical "critical",
    }
}

impl From<&ForeignFunction> for drive::Function {
    fn from(function: &ForeignFunction) -> Self {
        match function {
            ForeignFunction::Answers(answer) => Self::Answers(answer.bytes().into()),
            ForeignFunction::Echoes => Self::Echoes,
            ForeignFunction::Fails(failure) => Self::Fails((*failure).into()),
            ForeignFunction::CallsBack(number) => Self::CallsBack(*number),
        }
    }
}

impl From<ForeignFailure> for chassis_abi::ForeignError {
    fn from(failure: ForeignFailure) -> Self {
        match failure {
            ForeignFailure::NotFound => Self::NotFound,
            ForeignFailure::BadArgument => Self::BadArgument,
            ForeignFailure::SerializationFailure => Self::SerializationFailure,
            ForeignFailure::InternalFailure => Self::InternalFailure,
        }
    }
}

impl From<drive::Outcome> for Outcome {
    fn from(outcome: drive::Outcome) -> Self {
        match outcome {
            drive::Outcome::Response => Outcome::Response,
            drive::Outcome::LocalResponse => Outcome::LocalResponse,
            drive::Outcome::Crash => Outcome::Crash,
            drive::Outcome::LoadError => Outcome::LoadError,
            drive::Outcome::Paused => Outcome::Paused,
            drive::Outcome::Reset => Outcome::Reset,
            drive::Outcome::Played => Outcome::Played,
        }
    }
}

impl From<Peer> for chassis_abi::PeerType {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Unknown => Self::Unknown,
            Peer::Local => Self::Local,
            Peer::Remote => Self::Remote,
        }
    }
}

impl From<Failure> for chassis_host::CalloutFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connect => Self::Connect,
            Failure::Reset => Self::Reset,
            Failure::Timeout => Self::Timeout,
        }
    }
}

impl From<Level> for chassis_abi::LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

//! The Proxy-Wasm ABI (0.1.0, 0.2.0, 0.2.1) and WASI preview 1 as a host sees them.
//!
//! Everything a guest may import is one row of [`TABLE`]; everything it may export is one row of [`CALLBACKS`]. A host
//! call decides at once and acts later: it answers from the [`Board`] and from [`Services`], and leaves what touches a
//! stream or a socket as an [`Effect`], to be carried out when the guest has returned.
//!
//! This crate never opens a socket, reads a clock, spawns a thread or names an engine.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod board;
mod buffer;
mod call;
mod callbacks;
mod callouts;
mod context;
mod dialect;
mod effects;
mod entry;
mod exchange;
mod functions;
mod grpc_service;
mod headers;
mod observer;
mod pairs;
mod services;
mod slab;
mod state;
mod status;
mod table;
mod types;
mod version;

pub use board::Board;
pub use buffer::Buffer;
pub use callbacks::{CALLBACKS, Callback, EXPORTS};
pub use callouts::{
    Callout, CalloutAnswer, CalloutId, CalloutKind, CalloutRules, Callouts, GrpcCall, HttpCall, message_bytes,
};
pub use context::{Context, ContextId, Contexts};
pub use dialect::Dialect;
pub use effects::{Effect, LocalResponse};
pub use entry::{Argument, Entry, EntryError, begin, enter};
pub use exchange::{Direction, Exchange, Half, Lane, LaneHalf, Properties, StreamKind};
pub use functions::ProxyWasm;
pub use headers::{HeaderList, InvalidHeader};
pub use observer::{HostCall, Observer};
pub use pairs::{MAX_MAP_BYTES, MAX_PAIRS, PairsError};
pub use services::{
    DefineMetricError, DequeueError, EnqueueError, ForeignCall, ForeignCallback, ForeignError, ForeignSink, LogRecord,
    MetricError, MetricId, NoRandomness, Property, QueueConsumer, QueueId, QueueItem, Quotas, Services,
    SharedDataError, SharedServices, SharedValue,
};
pub use slab::{Key, SecondaryMap, Slab};
pub use state::{Configuration, Identity, Phase, VmState};
pub use status::{Errno, Status};
pub use table::{Allowed, Answer, Group, Param, Row, TABLE, Versions};
pub use types::{Action, BufferType, LogLevel, MapType, MetricType, PeerType, StreamType};
pub use version::{AbiVersion, HIGRESS_MARKER, MARKERS};
